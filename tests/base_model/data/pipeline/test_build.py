"""A build keeps what it should, once, whatever happens to it and however many work at it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from munro.base_model.data.config import DataConfig
from munro.base_model.data.errors import DataError
from munro.base_model.data.pipeline.build import build
from munro.base_model.data.pipeline.funnel import SourceFunnel, table
from munro.base_model.data.pipeline.steps import plan
from munro.base_model.data.shards.files import ShardFolder
from tests.base_model.data.texts import dropped, edited, prose, recipe, texts_of, write_jsonl

ORIGINALS = 30


def digest(out: Path) -> str:
    """Of every shard, manifest and the tokenizer."""
    files = [*out.glob("*/*.tokens"), *out.glob("*/*.ends"), *out.glob("*/*.learned")]
    files += [*out.glob("*/shards.json"), out / "tokenizer" / "tokenizer.json"]
    found = sha256()
    for file in sorted(files):
        found.update(file.relative_to(out).as_posix().encode() + file.read_bytes())
    return found.hexdigest()


def planted(folder: Path) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Two sources with known duplicates, and what must stay of each."""
    first = [prose(seed) for seed in range(ORIGINALS)]
    second = [prose(seed) for seed in range(1000, 1000 + ORIGINALS)]
    contaminated = f"{prose(2000)}\n{prose(3000, 60)}\n{prose(2001)}"
    write_jsonl(folder / "eval.jsonl", [{"question": prose(3000, 60), "id": 1}])
    write_jsonl(folder / "first.jsonl", [*first[:20], first[3].upper() + "\n\n", *first[20:]])
    write_jsonl(
        folder / "second.jsonl",
        [
            edited(first[0], 1, 0.005),
            *second[:10],
            first[7],
            contaminated,
            *second[10:],
            edited(second[4], 2, 0.005),
            edited(second[5], 3, 0.2),
        ],
    )
    sources = [
        {"name": name, "paths": [str(folder / f"{name}.jsonl")], "stages": STAGES}
        for name in ("first", "second")
    ]
    return sources, {"first": first, "second": [*second, edited(second[5], 3, 0.2)]}


STAGES = ["quality", "exact", "fuzzy", "decontaminate"]


def small(folder: Path, out: Path, **more: Any) -> DataConfig:
    sources, _ = planted(folder)
    files = {"files": [str(folder / "eval.jsonl")], "fields": ["question"]}
    return recipe(out, sources, **{"decontamination": files, "part_mb": 0.03, **more})


def test_a_duplicate_stays_in_the_first_source_and_evaluation_text_in_none(tmp_path: Path) -> None:
    _, expected = planted(tmp_path)
    funnels = build(small(tmp_path, tmp_path / "out"))
    assert {name: texts_of(tmp_path / "out", name) for name in expected} == expected
    assert dropped(funnels[0]) == {"exact/equal to another": 1}
    assert dropped(funnels[1]) == {
        "exact/equal to another": 1,
        "fuzzy/nearly equal to another": 2,
        "decontaminate/holds evaluation text": 1,
    }
    for funnel in funnels:
        for before, after in zip(funnel.levels, funnel.levels[1:], strict=False):
            assert before.documents - after.documents == sum(after.dropped.values())
        assert funnel.num_documents == funnel.levels[-1].documents
        assert funnel.num_tokens == ShardFolder(tmp_path / "out" / funnel.source).num_tokens


def test_the_order_of_sources_decides_where_a_duplicate_stays(tmp_path: Path) -> None:
    config = small(tmp_path, tmp_path / "out")
    turned = config.model_copy(update={"sources": config.sources[::-1]})
    build(turned)
    first = texts_of(tmp_path / "out", "first")
    assert prose(7) not in first
    assert prose(0) not in first
    assert {prose(7), edited(prose(0), 1, 0.005)} <= set(texts_of(tmp_path / "out", "second"))


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    build(small(tmp_path, tmp_path / "one", part_mb=0.01))
    funnels = build(small(tmp_path, tmp_path / "two", part_mb=0.01, workers=2))
    assert len(list((tmp_path / "one" / "second").glob("*.tokens"))) > 3
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    assert table(funnels) == table(build(small(tmp_path, tmp_path / "one", part_mb=0.01)))


KILLED = """
import os, signal, sys
from munro.base_model.data.pipeline import steps
from munro.base_model.data.pipeline.build import build
from munro.base_model.data.config import DataConfig

last, said = int(sys.argv[2]), 0

def progress(line):
    global said
    said += 1
    if said == last:
        os.kill(os.getpid(), signal.SIGKILL)

build(DataConfig.model_validate_json(sys.argv[1]), on_progress=progress)
"""


@pytest.mark.parametrize(
    "last", [3, *(pytest.param(last, marks=pytest.mark.slow) for last in (1, 5, 7, 9))]
)
def test_a_killed_build_goes_on_where_it_stopped_and_ends_the_same(
    tmp_path: Path, last: int
) -> None:
    build(small(tmp_path, tmp_path / "whole"))
    config = small(tmp_path, tmp_path / "killed")
    command = [sys.executable, "-c", KILLED, config.model_dump_json()]
    done = subprocess.run([*command, str(last)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    cleaned = list((tmp_path / "killed" / "work").glob("*/clean-*/*.json"))
    assert cleaned
    times = {file: file.stat().st_mtime_ns for file in cleaned}
    build(config)
    assert {file: file.stat().st_mtime_ns for file in cleaned} == times
    assert digest(tmp_path / "whole") == digest(tmp_path / "killed")


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    config = small(tmp_path, tmp_path / "out")
    said: list[str] = []
    first = build(config, on_progress=said.append)
    assert said
    said.clear()
    assert build(config, on_progress=said.append) == first
    assert said == []
    other = config.model_copy(update={"fuzzy": config.fuzzy.model_copy(update={"threshold": 1.0})})
    found = build(other, on_progress=said.append)
    assert "fuzzy/nearly equal to another" in dropped(first[1])
    assert "fuzzy/nearly equal to another" not in dropped(found[1])
    assert not [line for line in said if "cleaning" in line]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    config = small(tmp_path, tmp_path / "out", keep_work=False)
    build(config)
    assert not (tmp_path / "out" / "work").exists()
    write_jsonl(tmp_path / "first.jsonl", [prose(500)])
    build(config)
    assert texts_of(tmp_path / "out", "first") == [prose(500)]


def test_the_state_before_a_change_is_not_learned(tmp_path: Path) -> None:
    before = "\n".join(f"line {number}" for number in range(30))
    record = {
        "title": "Say it anew",
        "files": [{"path": "a.txt", "before": before, "after": before.replace("line 7", "seven")}],
    }
    write_jsonl(tmp_path / "changes.jsonl", [record])
    source = {"name": "changes", "paths": [str(tmp_path / "changes.jsonl")], "format": "changes"}
    funnels = build(recipe(tmp_path / "out", [source]))
    token_ids, learned = ShardFolder(tmp_path / "out" / "changes").document(0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "out" / "tokenizer")
    assert learned is not None
    assert tokenizer.decode(token_ids[~learned]) == f"=== a.txt\n{before}\n"
    assert tokenizer.decode(token_ids[learned]).startswith("Say it anew\n\n--- a/a.txt")
    assert learned[-1]
    assert token_ids[-1] == tokenizer.eos_token_id
    assert funnels[0].num_learned == learned.sum() < funnels[0].num_tokens
    assert "of which" in table(funnels)


def test_control_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["before <eos> after <pad>"])
    build(
        recipe(
            tmp_path / "out", [{"name": "a", "paths": [str(tmp_path / "a.jsonl")], "stages": []}]
        )
    )
    token_ids, _ = ShardFolder(tmp_path / "out" / "a").document(0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "out" / "tokenizer")
    assert (token_ids == tokenizer.eos_token_id).sum() == 1
    assert tokenizer.pad_token_id not in token_ids


def test_a_folder_that_no_build_made_is_never_touched(tmp_path: Path) -> None:
    config = small(tmp_path, tmp_path)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "precious").touch()
    with pytest.raises(DataError, match="second is there already and was not made by a build"):
        build(config)
    (tmp_path / "second").rename(tmp_path / "kept")
    build(config)
    (tmp_path / "kept").rename(tmp_path / "third")
    sources = [*config.sources, config.sources[0].model_copy(update={"name": "third"})]
    with pytest.raises(DataError, match="third was not made by a build"):
        build(config.model_copy(update={"sources": tuple(sources)}))
    assert (tmp_path / "third" / "precious").exists()


def test_a_source_of_which_nothing_stays_has_empty_shards(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["the same text"])
    write_jsonl(tmp_path / "b.jsonl", ["The same text "])
    sources = [
        {"name": n, "paths": [str(tmp_path / f"{n}.jsonl")], "stages": ["exact"]} for n in "ab"
    ]
    build(recipe(tmp_path / "out", sources))
    assert ShardFolder(tmp_path / "out" / "b").num_documents == 0


def test_an_evaluation_file_without_text_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "eval.jsonl", [{"q": "x"}])
    config = small(
        tmp_path,
        tmp_path / "out",
    )
    files = {"files": [str(tmp_path / "eval.jsonl")], "fields": ["answer"]}
    wrong = DataConfig.model_validate({**config.model_dump(), "decontamination": files})
    with pytest.raises(DataError, match="holds no text in the fields answer"):
        build(wrong)


def test_two_builds_do_not_write_into_one_folder(tmp_path: Path) -> None:
    from munro.base_model.data.pipeline.steps import Build

    config = small(tmp_path, tmp_path / "out")
    with Build(config), pytest.raises(DataError, match="another process is building"):
        build(config)


def test_the_plan_reads_nothing_and_does_not_depend_on_workers(tmp_path: Path) -> None:
    one, two = (small(tmp_path, tmp_path / "out", workers=w) for w in (1, 7))
    assert plan(one) == plan(two)
    assert sum(planned.size_bytes for planned in plan(one)) == sum(
        (tmp_path / f"{name}.jsonl").stat().st_size for name in ("first", "second")
    )
    assert not (tmp_path / "out").exists()


def test_the_funnel_file_is_the_funnel(tmp_path: Path) -> None:
    funnels = build(small(tmp_path, tmp_path / "out"))
    report = json.loads((tmp_path / "out" / "funnel.json").read_text())
    assert [SourceFunnel.of_json(one) for one in report["sources"]] == funnels
    assert np.all([funnel.num_tokens > 0 for funnel in funnels])
