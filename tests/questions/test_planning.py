"""The recipes of questions: what a dry run says of them, and what a build with tiers leaves."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from munro.envs.problem_set import ProblemSet
from munro.machine.cli.main import munro
from munro.machine.loading import load, load_as
from munro.questions.config import QuestionsConfig
from munro.questions.planning import planned
from munro.rewards.judge.config import JudgeConfig
from tests.command_line import models_in
from tests.rewards.judges import Reply, ScriptedJudge

ROOT = Path(__file__).parents[2]
TEXT = """Chapter 1
Exercises
1. What is 20 + 3?
2. What is 4 * 14?
3. Prove that 7 + 2 is a square.
Answers
1. 23
2. 56
3. 7 + 2 = 9, which is 3 times 3.
"""


def said(*words: str) -> str:
    done = CliRunner().invoke(munro, ["questions", "build", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_full_recipe_says_what_it_would_do_and_all_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # ports of nobody, so that the answer does not depend on who else is on the machine
    closed = "http://127.0.0.1:9/v1"
    names = ("scans.address", "models.reader", "models.judge")
    told = said("questions", "--dry-run", *(w for n in names for w in (f"--{n}.base_url", closed)))
    assert "ocr        pages that are pictures by address, allenai/olmOCR-2-7B-1025\n" in told
    assert "mark, pair rules; what they leave open by Qwen/Qwen3-32B\n" in told
    assert "score      8 attempts by each of small, middle, large, strongest; doubts" in told
    lacks = [line.removeprefix("lacks      ") for line in told.split("\n") if line[:5] == "lacks"]
    assert "source textbooks: there is no file data/textbooks. Mend `paths`." in lacks
    assert "source lecture-notes: there is no file data/notes. Mend `paths`." in lacks
    assert any("heldout/*.jsonl" in line for line in lacks)
    for whose in ("scans.address", "models.reader", "models.judge"):
        assert any(line.startswith(f"{whose}: nobody answers at {closed}") for line in lacks)
    assert list(tmp_path.iterdir()) == []


def test_the_small_recipe_lacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = said("questions_tiny", "--dry-run")
    assert "lacks" not in told
    assert "documents  samples: " in told
    assert "mark, pair rules alone\n" in told
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_names_keys_checkpoints_and_readers_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    config = QuestionsConfig.model_validate(
        {
            "out": str(tmp_path / "out"),
            "sources": [{"name": "s", "paths": [str(tmp_path)]}],
            "scans": {"reader": "tesserakt"},
            "models": {"reader": {"model": str(tmp_path / "none"), "temperature": 0.5}},
            "tiers": [
                {
                    "name": "a",
                    "model": "m",
                    "base_url": "http://127.0.0.1:9/v1",
                    "api_key_env": "NOT_THERE_",
                }
            ],
        }
    )
    lacks = planned(config).lacks
    assert len(lacks) == 4
    assert "There is no reader of scans 'tesserakt'" in lacks[0]
    assert "tier a: api_key_env names 'NOT_THERE_'" in lacks[1]
    assert "tier a: nobody answers at http://127.0.0.1:9/v1" in lacks[2]
    assert lacks[3].startswith("models.reader: ")
    assert not any("\n" in line for line in lacks)


SKIPPED = {"models.judge", "models.reader", "tiers"}
"""Tables whose keys stand elsewhere: in docs/rewards.md, and in the first of several tiers."""


def keys_of(model: type[BaseModel], at: str = "") -> set[str]:
    """Dotted keys of a tree; a judge's own are told in docs/rewards.md."""
    found = set()
    for name, field in model.model_fields.items():
        inner = [one for one in models_in(field.annotation) if one is not JudgeConfig]
        if inner and name != "tiers":
            found |= keys_of(inner[0], f"{at}{name}.")
        else:
            found.add(f"{at}{name}")
    return found


def test_the_full_recipe_shows_every_key() -> None:
    """With its comments taken off it is a whole config, and no key is left out of it."""
    text = (ROOT / "configs" / "questions.toml").read_text()
    bare = re.sub(r"(?m)^# (?=\w+ = )", "", text)
    whole = tomllib.loads(bare)
    QuestionsConfig.model_validate(whole)

    def written(table: dict[str, Any], at: str = "") -> set[str]:
        found = set()
        for name, value in table.items():
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, dict) and first and f"{at}{name}" not in SKIPPED:
                found |= written(first, f"{at}{name}.")
            else:
                found.add(f"{at}{name}")
        return found

    assert keys_of(QuestionsConfig) - written(whole) == set()


def test_stem_s_shares_are_the_report_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": f"{kind}{n}", "question": f"{kind} {n}?", "answer": "1", "type": kind}
        | ({} if kind == "proof" else {"bracket": bracket})
        for kind in ("open", "choice", "proof")
        for n, bracket in enumerate(["easy", "medium", "hard"] * 20)
    ]
    for place in (Path("data/stem"), Path("data/stem/scored")):
        place.mkdir(parents=True)
        kept = [row for row in rows if place.name == "stem" or row["type"] != "proof"]
        (place / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    config = load("stem")
    assert {env.args["judge"] for env in config.env if "judge" in env.args} == set(config.judge)
    problems = ProblemSet(config.env, seed=0)
    drawn = [problems.task(at) for at in range(1000)]
    counts = Counter(re.sub(r"\d", "", task.id) for task in drawn)
    assert {kind: round(count / 10, 1) for kind, count in counts.items()} == {
        "open": pytest.approx(56.1, abs=0.2),
        "proof": pytest.approx(33.3, abs=0.2),
        "choice": pytest.approx(10.6, abs=0.2),
    }
    assert not any(row["bracket"] == "easy" for row in rows if row["id"] in {t.id for t in drawn}
                   and row["type"] != "proof")  # fmt: skip


def test_a_build_with_tiers_scores_what_rules_can_check(tmp_path: Path) -> None:
    """Proofs stay unrated: of a tier's attempts no rule could say right or wrong."""
    (tmp_path / "book.txt").write_text(TEXT)
    recipe = tmp_path / "recipe.toml"

    def answer(body: Any) -> Reply:
        asked = body["messages"][-1]["content"]
        return Reply(f"<answer>{23 if '20 + 3' in asked else 7}</answer>")

    with ScriptedJudge(answer) as server:
        recipe.write_text(
            f'out = "{tmp_path}/out"\ncurate.types = ["open", "proof"]\npair.evidence = "waived"\n'
            f'sources = [{{ name = "s", paths = ["{tmp_path}/book.txt"] }}]\n'
            f'scoring.attempts = 2\ntiers = [{{ name = "one", model = "m", '
            f'base_url = "{server.url}" }}]\n'
        )
        assert load_as(QuestionsConfig, str(recipe)).score is not None
        told = said(str(recipe))
        assert len(server.requests) == 4
    built = (tmp_path / "out" / "questions.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(row)["type"] for row in built] == ["open", "open", "proof"]
    scored = (tmp_path / "out" / "scored" / "questions.jsonl").read_text().split("\n")[:-1]
    assert [json.loads(row)["bracket"] for row in scored] == ["easy", "hard", "unrated"]
    assert json.loads(scored[2])["unrated"] == {"one": "no rule compares an answer of type 'proof'"}
    assert f"wrote {tmp_path / 'out' / 'scored' / 'questions.jsonl'}" in told


def test_a_dry_run_of_scoring_says_who_is_asked_how_often(tmp_path: Path) -> None:
    file, tiers, out = tmp_path / "rows.jsonl", tmp_path / "tiers.toml", tmp_path / "out"
    types = ["algebra", "open", "proof"]  # a column of one's own may be called so too
    rows = [{"question": "1 + 1?", "answer": "2", "type": kind} for kind in types]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiers.write_text('[[tiers]]\nname = "one"\nmodel = "/nowhere/at/all"\n')
    words = ["questions", "score", str(file), "--tiers", str(tiers), "--out", str(out), "--dry-run"]
    done = CliRunner().invoke(munro, words)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        f"out        {out}",
        "questions  2; 1 proofs and words stay unrated",
        "tier       one: 8 attempts at each, 16 in all",
        "doubts     judged by nobody",
        "lacks      tier one: there is no checkpoint /nowhere/at/all, and no base_url.",
    ]
    assert not out.exists()
