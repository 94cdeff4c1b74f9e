"""Every format is read; what is broken is passed over or said in one line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from munro.base_model.data.errors import DataError
from munro.base_model.data.pipeline.build import build
from tests.base_model.data.texts import COMMON, dropped, prose, recipe, texts_of, write_jsonl


def test_every_format_gives_the_same_documents(tmp_path: Path) -> None:
    texts = [prose(seed) + "\n" for seed in range(6)]
    write_jsonl(tmp_path / "lines.jsonl", texts)
    with gzip.open(tmp_path / "packed.jsonl.gz", "wt") as file:
        file.write((tmp_path / "lines.jsonl").read_text())
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet", row_group_size=2)
    (tmp_path / "files").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "files" / f"{number}.txt").write_text(text)
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(tmp_path / "saved")
    names = {"lines": "lines.jsonl", "packed": "packed.jsonl.gz", "rows": "rows.parquet"}
    sources = [
        {"name": name, "paths": [str(tmp_path / path)], "stages": []}
        for name, path in [*names.items(), ("files", "files")]
    ]
    saved = {"name": "saved", "paths": [str(tmp_path / "saved")], "format": "huggingface"}
    sources.append({**saved, "stages": []})
    build(recipe(tmp_path / "out", sources, part_mb=0.003))
    assert len(list((tmp_path / "out" / "lines").glob("*.tokens"))) > 1
    assert [texts_of(tmp_path / "out", str(one["name"])) for one in sources] == [texts] * 5


def test_pages_of_one_template_are_one_document_of_main_text(tmp_path: Path) -> None:
    pytest.importorskip("trafilatura")
    (tmp_path / "pages").mkdir()
    frame = prose(9, 48).split()
    for number in range(3):
        words = [word for word in prose(number, 700).split() if word.rstrip(".") not in COMMON]
        facts = iter(words)
        rows = "".join(f"<p>{word} {next(facts)}</p>" for word in frame * 4)
        page = f"<html><body><nav><a href=/>Menu</a></nav><article>{rows}</article></body></html>"
        (tmp_path / "pages" / f"{number}.html").write_text(page)
    (tmp_path / "pages" / "nothing.html").write_text("<html><body></body></html>")
    source = {
        "name": "pages",
        "paths": [str(tmp_path / "pages")],
        "format": "html",
        "stages": ["html", "exact", "fuzzy", "template"],
    }
    (funnel,) = build(recipe(tmp_path / "out", [source]))
    assert [level.documents for level in funnel.levels] == [4, 3, 3, 3, 1]
    (text,) = texts_of(tmp_path / "out", "pages")
    assert frame[0] in text
    assert "Menu" not in text


def test_broken_documents_are_counted_and_passed_over(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b'{"text": ""}',
        b'{"text": "   "}',
        b'{"text": "bad \xff byte"}',
        b'{"text": "half a pair \\ud800"}',
        b"{not json",
        b"[1, 2]",
        b'{"other": 1}',
        b'{"text": 5}',
        b"[" * 100_000,
        b'{"text": "' + b"x" * 3_000_000 + b'"}',
        b'{"text": "last, without a newline"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    source = {"name": "a", "paths": [str(tmp_path / "a.jsonl")], "stages": []}
    (funnel,) = build(recipe(tmp_path / "out", [source], limits={"document_mb": 1}))
    assert texts_of(tmp_path / "out", "a") == ["good", "last, without a newline"]
    assert dropped(funnel) == {
        "read/empty": 2,
        "read/invalid UTF-8": 2,
        "read/malformed JSON": 3,
        "read/no text in text": 2,
        "read/too large": 1,
    }


def test_files_of_a_repository_become_one_document_depth_first(tmp_path: Path) -> None:
    for path in ("one/b.py", "one/a/c.py", "two/d.py"):
        file = tmp_path / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {file.stem}\n")
    source = {
        "name": "s",
        "paths": [str(tmp_path / "src")],
        "format": "code",
        "layout": "repository",
    }
    (funnel,) = build(recipe(tmp_path / "out", [source]))
    root = tmp_path / "src"
    assert texts_of(tmp_path / "out", "s") == [
        f"=== {root}/one/a/c.py\n# c\n\n=== {root}/one/b.py\n# b\n",
        f"=== {root}/two/d.py\n# d\n",
    ]
    assert (funnel.levels[-1].documents, funnel.num_documents) == (3, 2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"paths": ["{tmp}/none.txt"]}, "there is no file or folder"),
        ({"paths": ["{tmp}/a.bin"]}, "unknown format"),
        ({"paths": ["{tmp}/broken.parquet"]}, "is not a whole Parquet file"),
        ({"paths": ["{tmp}/none"], "format": "huggingface"}, "cannot load the data set"),
        ({"paths": ["{tmp}/other.parquet"], "field": "texts"}, "no column 'texts'; it has other"),
        ({"paths": ["{tmp}/a.jsonl.gz"]}, "cannot read"),
        ({"paths": ["{tmp}/bomb.txt.gz"]}, "unpacks to more than 50 times"),
        ({"paths": ["{tmp}/bomb.parquet"]}, "unpacks to more than 50 times"),
        ({"paths": ["{tmp}/empty"]}, "no source has a file to read"),
    ],
)
def test_a_wrong_input_is_one_sentence(
    tmp_path: Path, source: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "a.bin").write_bytes(b"\x00")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "a.jsonl.gz").write_bytes(b"\x1f\x8b no gzip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bomb.txt.gz").write_bytes(gzip.compress(b"a" * 8_000_000))
    pq.write_table(pa.table({"other": ["x"]}), tmp_path / "other.parquet")
    bomb = pa.table({"text": pa.array(["b" * 100_000] * 1000).dictionary_encode()})
    pq.write_table(bomb, tmp_path / "bomb.parquet")
    paths = [path.format(tmp=tmp_path) for path in source["paths"]]
    config = recipe(
        tmp_path / "out",
        [{"name": "a", "stages": [], **source, "paths": paths}],
        limits={"expansion": 50},
    )
    with pytest.raises(DataError, match=message) as caught:
        build(config)
    assert "\n" not in str(caught.value)


def test_a_path_that_may_be_missing_is_passed_over(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ["something"])
    paths = [str(tmp_path / "none"), str(tmp_path / "a.jsonl")]
    build(recipe(tmp_path / "out", [{"name": "a", "paths": paths, "optional": True, "stages": []}]))
    assert texts_of(tmp_path / "out", "a") == ["something"]


def test_an_unknown_stage_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="there is no stage 'fuzy': did you mean 'fuzzy'"):
        recipe(Path("out"), [{"name": "a", "paths": ["x"], "stages": ["fuzy"]}])
