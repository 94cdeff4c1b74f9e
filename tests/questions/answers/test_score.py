"""Tiers that try, answers in doubt, and a judge who does not know whose answer is whose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro
from munro.questions.answers.config import ScoreConfig
from munro.questions.errors import QuestionsError
from tests.questions.answers.scoring import (
    WRONG,
    Scoring,
    judge,
    lines,
    number,
    rows,
    strong,
    weak,
)
from tests.questions.reading import flat
from tests.rewards.judges import Body, Reply, ScriptedJudge, fails, says


def test_wrong_answers_go_and_hard_ones_stay(scored: Scoring) -> None:
    done, out = scored(weak, strong)
    kept, dropped = lines(out / "questions.jsonl"), lines(out / "dropped.jsonl")
    assert dropped.keys() == WRONG
    assert {row["reason"] for row in dropped.values()} == {
        "its answer is wrong, says the blind judge"
    }
    assert dropped[3]["consensus"] == "6"
    assert dropped[3]["votes"] == "4 of 4"
    assert kept[5]["bracket"] == "hard"
    assert kept[5]["doubt"] == "stored"
    assert kept[1] == rows()[0] | {"pass_rates": {"t0": 0.5, "t1": 1.0}, "bracket": "easy"}
    assert (kept[2]["pass_rates"], kept[2]["bracket"]) == ({"t0": 0.0, "t1": 1.0}, "medium")
    assert done.doubts == {"consensus": 2, "stored": 1}


def test_a_judge_with_a_taste_for_a_place_decides_nothing(
    scored: Scoring,
) -> None:
    seen: list[str] = []

    def first(body: Body) -> Reply:
        seen.append(json.dumps(body["messages"]))
        return says(right="A")

    done, out = scored(strong, by=first)
    assert done.doubts == {"undecided": 3}
    assert (done.dropped, len(lines(out / "questions.jsonl"))) == (0, 10)
    assert len(seen) == 6
    told = flat(" ".join(seen)).casefold()
    assert not [word for word in ("stored", "consensus", "tier", "reference", "m0") if word in told]


def test_without_a_judge_doubts_are_kept_and_named(
    scored: Scoring,
) -> None:
    done, out = scored(strong, by=None)
    assert done.doubts == {"not judged": 3}
    assert lines(out / "questions.jsonl")[3]["doubt"] == "not judged"


def test_an_attempt_that_failed_is_no_wrong_answer(
    scored: Scoring,
) -> None:
    def shaky(body: Body) -> Reply:
        return fails(400) if number(body) == 4 and body["seed"] == 2 else strong(body)

    done, out = scored(shaky, by=None)
    row = lines(out / "questions.jsonl")[4]
    assert (row["pass_rates"], row["bracket"]) == ({}, "unrated")
    assert row["unrated"] == {"t0": "1 of 4 attempts failed: HTTP 400: no"}
    assert done.warnings[0].startswith("1 attempts of tier t0 failed, however often they were made")


def test_what_is_done_is_not_asked_again(scored: Scoring) -> None:
    asked: list[int] = []

    def counted(body: Body) -> Reply:
        asked.append(number(body))
        return strong(body)

    _, out = scored(counted, by=None)
    before = (out / "questions.jsonl").read_bytes()
    scored(counted, by=None)
    assert len(asked) == 40
    assert (out / "questions.jsonl").read_bytes() == before


def test_mistakes_are_one_sentence(scored: Scoring, tmp_path: Path) -> None:
    with pytest.raises(QuestionsError, match=r"tier t0 at http://.* answers nothing \(HTTP 400"):
        scored(lambda _: fails(400), by=None)
    (tmp_path / "rows.jsonl").write_text('{"question": "What?"}\n')
    with pytest.raises(QuestionsError, match=r"rows\.jsonl:1 .* it has question\. Name the col"):
        scored(strong, by=None)
    (tmp_path / "rows.jsonl").write_text(
        '{"question": "What is 1 \\ud800+ 1?", "answer": "\\ud800"}\n'
    )
    with pytest.raises(QuestionsError, match="judge 'judge': api_key_env names 'NO_SUCH_KEY'"):
        scored(
            lambda _: Reply("<answer>2</answer>"),
            by=None,
            judge={"model": "m", "base_url": "http://h/v1", "api_key_env": "NO_SUCH_KEY"},
        )
    done, _ = scored(lambda _: Reply("<answer>2</answer>"), by=None)
    assert done.brackets == {"unrated": 1}
    one = {"name": "a", "model": "m", "base_url": "http://h/v1"}
    with pytest.raises(ValueError, match="the name 'a' is taken"):
        ScoreConfig.model_validate({"tiers": [one, one]})
    with pytest.raises(ValueError, match=r"it must hold \{question\}"):
        ScoreConfig.model_validate({"tiers": [one | {"prompt": "?"}]})


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    named = [{"problem": row["question"], "solution": row["answer"]} for row in rows()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    with ScriptedJudge(strong) as tier, ScriptedJudge(judge) as other:
        (tmp_path / "tiers.toml").write_text(
            f"""cache = "{tmp_path}/cache"
            [[tiers]]
            name = "strong"
            model = "m"
            base_url = "{tier.url}"
            [scoring]
            attempts = 2
            [judge]
            model = "j"
            base_url = "{other.url}"
            cache = ""
            """
        )
        words = ["questions", "score", str(tmp_path / "rows.jsonl")]
        words += ["--tiers", str(tmp_path / "tiers.toml"), "--out", str(tmp_path / "out")]
        words += ["--question", "problem", "--answer", "solution"]
        done = CliRunner().invoke(munro, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "kept: 7 easy, 1 hard" in done.output
    assert "by what the judge takes for right: 2 consensus, 1 stored" in done.output
    assert "dropped: 2" in done.output


def test_a_proof_is_nobodys_to_try(scored: Scoring) -> None:
    proof = {"id": 11, "question": "Prove it.", "answer": "Clear.", "type": "proof"}
    scored.write([*rows()[:2], proof])
    _, out = scored(strong)
    kept = lines(out / "questions.jsonl")
    assert {kept[n]["bracket"] for n in (1, 2)} == {"easy"}
    why = {"t0": "no rule compares an answer of type 'proof'"}
    assert kept[11] == proof | {"pass_rates": {}, "bracket": "unrated", "unrated": why}
