"""What decides whether an answer is to be believed: equality, votes, a judge who is blind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from munro.questions.answers import equality, warnings
from munro.questions.answers.classes import can_be_read, consensus, equal
from munro.rewards.errors import GraderError
from tests.questions.answers.scoring import HARD, WRONG, Scoring, judge, lines, number, strong
from tests.questions.reading import flat
from tests.rewards.judges import Body, Reply, last_user, says

WORDS = {"two cows": "2", "a pair of cows": "2", "a couple of cows": "2", "three cows": "3"}


def parts(body: Body) -> dict[str, str]:
    return dict(re.findall(r"\[BEGIN ([\w ]+?) \w+\]\n(.*?)\n\[END", last_user(body), re.S))


def test_other_words_go_to_the_judge_once_for_each_pair_of_classes(scored: Scoring) -> None:
    scored.write([{"question": "How many cows?", "answer": "three cows"}])
    said = ["two cows", "a pair of cows", "two cows", "a couple of cows"]
    pairs: list[frozenset[str]] = []

    def tier(body: Body) -> Reply:
        return Reply(f"<answer>{said[body['seed']]}</answer>")

    def by(body: Body) -> Reply:
        shown = parts(body)
        if "REFERENCE" not in shown:
            return says(right="neither")
        pair = (shown["REFERENCE"], shown["RESPONSE"])
        pairs.append(frozenset(pair))
        return says(verdict="yes" if len({WORDS[text] for text in pair}) == 1 else "no")

    done, out = scored(tier, by=by)
    (row,) = map(json.loads, (out / "questions.jsonl").read_text().splitlines())
    assert (row["pass_rates"], row["bracket"]) == ({"t0": 0.0}, "hard")
    assert (row["consensus"], row["votes"], row["doubt"]) == ("two cows", "4 of 4", "neither")
    assert done.doubts == {"neither": 1}
    assert len(pairs) == len(set(pairs))
    assert {"two cows", "a pair of cows"} in pairs
    scored.write([{"question": "How many cows?", "answer": "a couple of cows"}])
    _, out = scored(tier, by=by)
    (row,) = map(json.loads, (out / "questions.jsonl").read_text().splitlines())
    assert (row["pass_rates"], row["bracket"]) == ({"t0": 1.0}, "easy")


def test_without_a_judge_other_words_are_other_answers() -> None:
    with equality.Equality(None) as by_rules:
        assert by_rules.passed("?", ["two cows", "a pair of cows", "2.50"], "two cows") == [1, 0, 0]
        assert by_rules.passed("?", ["1/2", "0.50", "2"], "0.5") == [1, 1, 0]


@pytest.mark.parametrize(
    "text", [r"\frac{1}{", "((((", "x" * 5000, "[" * 40 + "1" + "]" * 40, r"\begin{cases", "", " "]
)
def test_what_cannot_be_read_never_wins(text: str) -> None:
    assert not can_be_read(text)
    found = consensus([text] * 6 + ["7", "7.0"])
    assert (found.answer, found.votes, found.members) == ("7", 2, (6, 7))
    assert consensus([text] * 8).answer == ""


@pytest.mark.parametrize(
    "text", ["7", "1/2", r"\frac{a}{b}", "two cows", "B", "yes", "5 km", "x>2"]
)
def test_what_is_an_answer_is_read(text: str) -> None:
    assert can_be_read(text)
    assert consensus([text, text, "0"]).answer == text


def test_a_machine_that_is_too_busy_to_compare_says_nothing_of_two_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy(*_: object) -> Any:
        raise GraderError("the machine is too busy to check answers")

    monkeypatch.setattr("munro.questions.answers.classes.verify", busy)
    with pytest.raises(GraderError, match="too busy"):
        equal("x^2 + 1", "1 + x^2")


def test_half_of_the_attempts_win_in_six_notations_where_strings_are_split() -> None:
    half = ["1/2", r"\frac{1}{2}", "0.5", "0.500", "50%", r"$x = \dfrac{3}{6}$"]
    others = ["7", "8", "8", "9", r"\frac{", r"\frac{"]
    found = consensus([*others[:3], *half, *others[3:]])
    assert (found.answer, found.votes) == ("1/2", 6)
    assert consensus([*others, *half], lambda one, other: one == other).answer == "8"
    assert consensus([*half[:2], "7", "7.0"]).answer == ""  # two halves: nobody wins


def test_the_judge_is_shown_two_bare_answers(scored: Scoring) -> None:
    some = [
        {"question": "What is 3 + 3?", "answer": "3 and 3 make seven, so\n#### 7"},
        {"question": "What is 4 + 4?", "answer": r"Therefore $\boxed{9}$."},
    ]
    scored.write(some)
    shown: list[dict[str, str]] = []

    def by(body: Body) -> Reply:
        shown.append(parts(body))
        return says(right="neither")

    scored(strong, by=by)
    seen = {tuple(sorted((one["ANSWER A"], one["ANSWER B"]))) for one in shown}
    assert len(shown) == 4
    assert seen == {("6", "7"), ("8", "9")}


def test_one_doubt_without_a_verdict_is_kept_and_asked_about_again(scored: Scoring) -> None:
    rambles = [True]
    asked: list[int] = []

    def by(body: Body) -> Reply:
        asked.append(number(body))
        return Reply("Well, well.") if rambles and number(body) == 3 else judge(body)

    done, out = scored(strong, by=by)
    assert done.doubts == {"consensus": 1, "stored": 1, "no verdict": 1}
    assert lines(out / "questions.jsonl")[3]["doubt"] == "no verdict"
    assert "the judge gave no verdict on 1 doubts" in done.warnings[-1]
    rambles.clear()
    asked.clear()
    done, out = scored(strong, by=by)
    assert done.doubts == {"consensus": 2, "stored": 1}
    assert lines(out / "dropped.jsonl").keys() == WRONG
    asked.clear()
    scored(strong, by=by)
    assert asked == []


def test_a_judge_that_gives_no_verdict_at_all_stops_it(scored: Scoring) -> None:
    with pytest.raises(GraderError, match="answered twice without the JSON asked for"):
        scored(strong, by=lambda _: Reply("Well, well."))
    done, _ = scored(strong)
    assert done.doubts == {"consensus": 2, "stored": 1}


def test_several_samples_of_the_judge_decide_by_majority(scored: Scoring) -> None:
    config = scored.config(strong)
    assert config.judge is not None
    seen: list[int] = []

    def wavers(body: Body) -> Reply:
        seen.append(body["seed"])
        return says(right="neither") if body["seed"] == 1 else judge(body)

    told = config.judge.model_dump() | {"samples": 3, "temperature": 1.0}
    done, _ = scored(strong, by=None, judge=told | {"base_url": scored.url(wavers)})
    assert done.doubts == {"consensus": 2, "stored": 1}
    assert sorted(seen) == [0] * 6 + [1] * 6 + [2] * 6


def test_one_answer_for_everything_is_warned_of_in_whatever_notation(scored: Scoring) -> None:
    many = [
        {"id": n, "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(2, 32)
    ]
    scored.write(many)
    ways = ["42", "42.0", "84/2", "$42$", "042"]
    by_number = lambda body: Reply(f"<answer>{ways[number(body) % 5]}</answer>")  # noqa: E731
    done, _ = scored(by_number, by=None, scoring={"attempts": 2})
    assert re.match(
        r"tier t0 agrees on '\S+' for 30 of 30 questions, of which 1 have that answer: its "
        "consensus says nothing", done.warnings[0]
    )  # fmt: skip


def test_a_set_of_one_answer_is_no_fault_of_the_tier(scored: Scoring) -> None:
    scored.write([{"question": f"Is {n} even?", "answer": "yes"} for n in range(0, 80, 2)])
    done, _ = scored(lambda _: Reply("<answer>yes</answer>"), by=None, scoring={"attempts": 2})
    assert done.warnings == []


@pytest.mark.parametrize(
    ("tier", "by"), [("scripted", "scripted"), ("openai/GPT-9", "gpt-9"), ("a/b", "B/")]
)
def test_a_judge_of_its_own_answers_is_warned_of(scored: Scoring, tier: str, by: str) -> None:
    config = scored.config(strong)
    assert config.judge is not None
    one = config.tiers[-1].model_copy(update={"model": tier})
    told = config.judge.model_copy(update={"model": by})
    warned = warnings.of_config(config.model_copy(update={"tiers": (one,), "judge": told}))
    assert "the judge and the strongest tier are one model" in warned[0]
    other = told.model_copy(update={"model": "else"})
    assert not warnings.of_config(config.model_copy(update={"tiers": (one,), "judge": other}))


def test_nothing_tells_the_judge_whose_answer_is_whose(scored: Scoring) -> None:
    seen: list[Body] = []

    def first(body: Body) -> Reply:
        seen.append(body)
        return says(right="A")

    done, _ = scored(strong, by=first)
    assert done.doubts == {"undecided": len(WRONG | HARD)}
    pairs = sorted(orders(seen))
    assert pairs == sorted((other, one) for one, other in pairs)
    told = flat(json.dumps([body["messages"] for body in seen])).casefold()
    hints = ("stored", "consensus", "tier", "reference", "vote", "m0", "t0")
    assert not [word for word in hints if word in told]


def orders(bodies: list[Body]) -> Iterator[tuple[str, str]]:
    for body in bodies:
        yield parts(body)["ANSWER A"], parts(body)["ANSWER B"]
