"""Tiers that try, answers in doubt, and a judge who does not know whose answer is whose."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro
from munro.questions.answers.config import ScoreConfig
from munro.questions.answers.score import Scored, score
from munro.questions.errors import QuestionsError
from tests.questions.reading import flat
from tests.rewards.judges import Body, Reply, ScriptedJudge, config_for, fails, last_user, says

WRONG, HARD = {3, 7}, {5}
"""Rows whose stored answer is wrong; rows whose right answer nobody finds."""


def rows() -> list[dict[str, Any]]:
    return [
        {"id": n, "question": f"What is {n} + {n}?", "answer": str(2 * n + (n in WRONG))}
        for n in range(1, 11)
    ]


def number(body: Body) -> int:
    found = re.search(r"What is (\d+)", last_user(body))
    assert found is not None
    return int(found[1])


def strong(body: Body) -> Reply:
    """Right in one notation or another; on hard ones all agree on something else."""
    n = number(body)
    value = 2 * n + 9 if n in HARD else 2 * n
    return Reply(f"<answer>{value}{'.0' if body['seed'] % 2 else ''}</answer>")


def weak(body: Body) -> Reply:
    """Right every other time, and never on even ones."""
    n = number(body)
    return Reply(f"<answer>{2 * n if n % 2 and body['seed'] % 2 else 42}</answer>")


def judge(body: Body) -> Reply:
    """Can add."""
    parts = dict(re.findall(r"\[BEGIN ([\w ]+?) \w+\]\n(.*?)\n\[END", last_user(body), re.S))
    right = float(2 * number(body))
    same = [label for label in ("A", "B") if float(parts[f"ANSWER {label}"]) == right]
    return says(right=same[0] if same else "neither")


@pytest.fixture
def scored(tmp_path: Path) -> Iterator[Callable[..., tuple[Scored, Path]]]:
    """Scores the rows with scripted tiers and judge."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    with ExitStack() as servers:

        def run(
            *tiers: Callable[[Body], Reply], by: Callable[[Body], Reply] | None = judge, **more: Any
        ) -> tuple[Scored, Path]:
            config: dict[str, Any] = {"cache": "", "scoring": {"attempts": 4}, "tiers": []} | more
            for at, tier in enumerate(tiers):
                url = servers.enter_context(ScriptedJudge(tier)).url
                one = {"name": f"t{at}", "model": f"m{at}", "base_url": url, "retries": 0}
                config["tiers"].append(one)
            if by is not None:
                url = servers.enter_context(ScriptedJudge(by)).url
                config["judge"] = config_for(url).model_dump()
            out = tmp_path / "out"
            return score(file, str(out), ScoreConfig.model_validate(config)), out

        yield run


def lines(file: Path) -> dict[int, dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().split("\n")[:-1]]
    return {(row.get("row") or row)["id"]: row for row in found}


def test_wrong_answers_go_and_hard_ones_stay(scored: Callable[..., tuple[Scored, Path]]) -> None:
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
    scored: Callable[..., tuple[Scored, Path]],
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
    scored: Callable[..., tuple[Scored, Path]],
) -> None:
    done, out = scored(strong, by=None)
    assert done.doubts == {"not judged": 3}
    assert lines(out / "questions.jsonl")[3]["doubt"] == "not judged"


def test_an_attempt_that_failed_is_no_wrong_answer(
    scored: Callable[..., tuple[Scored, Path]],
) -> None:
    def shaky(body: Body) -> Reply:
        return fails(400) if number(body) == 4 and body["seed"] == 2 else strong(body)

    done, out = scored(shaky, by=None)
    row = lines(out / "questions.jsonl")[4]
    assert (row["pass_rates"], row["bracket"]) == ({}, "unrated")
    assert "1 pass rates are missing" in done.warnings[0]


def test_what_is_done_is_not_asked_again(scored: Callable[..., tuple[Scored, Path]]) -> None:
    asked: list[int] = []

    def counted(body: Body) -> Reply:
        asked.append(number(body))
        return strong(body)

    _, out = scored(counted, by=None)
    before = (out / "questions.jsonl").read_bytes()
    scored(counted, by=None)
    assert len(asked) == 40
    assert (out / "questions.jsonl").read_bytes() == before


def test_one_answer_for_everything_and_a_judge_of_itself_are_warned_of(
    scored: Callable[..., tuple[Scored, Path]], tmp_path: Path
) -> None:
    many = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 41)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in many))
    done, _ = scored(lambda _: Reply("<answer>42</answer>"), by=lambda _: says(right="neither"))
    assert "tier t0 agrees on '42' for 40 of 40 questions" in done.warnings[0]
    (tmp_path / "out").rename(tmp_path / "other")
    one = {"name": "t", "model": "scripted"}
    with ScriptedJudge(strong) as tier, ScriptedJudge(judge) as other:
        config = {
            "cache": "",
            "scoring": {"attempts": 1},
            "tiers": [one | {"base_url": tier.url}],
            "judge": config_for(other.url).model_dump(),
        }
        whole = ScoreConfig.model_validate(config)
        done = score(tmp_path / "rows.jsonl", str(tmp_path / "out"), whole)
    assert "the judge and the strongest tier are one model, scripted" in done.warnings[0]


def test_mistakes_are_one_sentence(
    scored: Callable[..., tuple[Scored, Path]], tmp_path: Path
) -> None:
    with pytest.raises(QuestionsError, match=r"tier t0 at http://.* answers nothing \(Error code"):
        scored(lambda _: fails(400), by=None)
    (tmp_path / "rows.jsonl").write_text('{"question": "What?"}\n')
    with pytest.raises(QuestionsError, match=r"rows\.jsonl:1 has no question or no answer"):
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
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
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
        done = CliRunner().invoke(munro, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "kept: 7 easy, 1 hard" in done.output
    assert "by what the judge takes for right: 2 consensus, 1 stored" in done.output
    assert "dropped: 2" in done.output
