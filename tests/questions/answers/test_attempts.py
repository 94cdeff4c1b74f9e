"""Attempts: made again where they failed, never taken for wrong answers, told as what they are."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from munro.questions.answers.attempts import Attempts
from munro.questions.answers.config import ScoreConfig
from munro.questions.answers.votes import Tally, missing
from munro.questions.errors import QuestionsError
from tests.questions.answers.scoring import Scoring, lines, number, rows, strong, weak
from tests.rewards.judges import Body, Reply, fails


class Flaky:
    """Fails each attempt so many times, then answers."""

    def __init__(self, times: int, failure: Reply) -> None:
        self.times, self.failure = times, failure
        self.seen: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    def __call__(self, body: Body) -> Reply:
        with self._lock:
            ask = (number(body), body["seed"])
            self.seen[ask] += 1
            return self.failure if self.seen[ask] <= self.times else strong(body)


NOT_A_COMPLETION = Reply(raw=b'{"choices": []}')


@pytest.mark.parametrize("failure", [NOT_A_COMPLETION, fails(503), Reply(drops=True)])
def test_a_failed_attempt_is_made_again(scored: Scoring, failure: Reply) -> None:
    flaky = Flaky(2, failure)
    patient = scored.tier(0, flaky) | {"retries": 2}
    done, out = scored(flaky, by=None, tiers=[patient])
    assert (done.brackets["unrated"], done.warnings) == (0, [])
    assert set(flaky.seen.values()) == {3}
    assert lines(out / "questions.jsonl")[1]["pass_rates"] == {"t0": 1.0}


def test_it_is_made_again_a_bounded_number_of_times(scored: Scoring) -> None:
    seen: Counter[int] = Counter()

    def never(body: Body) -> Reply:
        if number(body) != 4:
            return strong(body)
        seen[body["seed"]] += 1
        return fails(503, "down")

    patient = scored.tier(0, never) | {"retries": 3}
    done, out = scored(never, by=None, tiers=[patient])
    assert set(seen.values()) == {4}
    row = lines(out / "questions.jsonl")[4]
    assert (row["pass_rates"], row["bracket"]) == ({}, "unrated")
    assert row["unrated"] == {"t0": "4 of 4 attempts failed: HTTP 503: down"}
    assert done.warnings == [
        "4 attempts of tier t0 failed, however often they were made (HTTP 503: down): 1 questions "
        "have no pass rate of it; the same command tries them again."
    ]


def test_what_the_service_refuses_for_good_is_sent_once(scored: Scoring) -> None:
    seen: Counter[int] = Counter()

    def refuses(body: Body) -> Reply:
        if number(body) != 4:
            return strong(body)
        seen[body["seed"]] += 1
        return fails(400) if body["seed"] % 2 else Reply(None, finish_reason="content_filter")

    patient = scored.tier(0, refuses) | {"retries": 3}
    _, out = scored(refuses, by=None, tiers=[patient])
    assert set(seen.values()) == {1}
    why = lines(out / "questions.jsonl")[4]["unrated"]["t0"]
    assert why == "4 of 4 attempts failed: the service's filter refused it"


def test_the_same_command_tries_again_what_failed_and_nothing_else(scored: Scoring) -> None:
    is_down = [True]
    asked: list[tuple[int, int]] = []

    def shaky(body: Body) -> Reply:
        asked.append((number(body), body["seed"]))
        return fails(503) if is_down and asked[-1] in [(4, 2), (6, 0)] else strong(body)

    done, out = scored(shaky, by=None)
    assert (len(asked), done.brackets["unrated"]) == (40, 2)
    is_down.clear()
    asked.clear()
    done, _ = scored(shaky, by=None)
    assert {name for name, _ in asked} == {4, 6}
    assert (done.brackets["unrated"], done.warnings) == (0, [])
    whole = (out / "questions.jsonl").read_bytes()
    asked.clear()
    scored(shaky, by=None)
    assert (asked, (out / "questions.jsonl").read_bytes()) == ([], whole)


def test_a_service_that_went_away_is_not_taken_for_thousands_of_failures(scored: Scoring) -> None:
    scored.write([row | {"question": f"What is {n} + {n}?"} for n, row in enumerate(rows() * 4)])
    is_down: list[int] = []

    def leaves(body: Body) -> Reply:
        return fails(503) if number(body) >= 32 and not is_down else strong(body)

    with pytest.raises(QuestionsError, match=r"answers nothing \(HTTP 503.*the same command goes"):
        scored(leaves, by=None)
    is_down.append(0)
    done, _ = scored(leaves, by=None)
    assert done.brackets["unrated"] == 0


def test_fewer_attempts_than_wanted_are_told_as_that() -> None:
    nothing = Tally(id="1", tier="t")
    made = Attempts(id="1", tier="t", answers=("1", "1"))
    assert missing(made, nothing, 3) == "only 2 of 3 attempts were made"
    failed = Attempts(id="1", tier="t", answers=("1", "1"), failed=("HTTP 500",))
    assert missing(failed, nothing, 3) == "1 of 3 attempts failed: HTTP 500"
    assert missing(made, nothing, 2) == ""
    unread = Tally(id="1", tier="t", ungraded="the reference answer cannot be read: '('")
    assert missing(made, unread, 2) == "the reference answer cannot be read: '('"


def test_tiers_that_make_other_numbers_of_attempts_are_refused() -> None:
    one = {"name": "a", "model": "m", "base_url": "http://h/v1", "attempts": 4}
    with pytest.raises(ValueError, match=r"attempts = 4 of a tier: .* Set scoring\.attempts\."):
        ScoreConfig.model_validate({"tiers": [one]})


def test_a_weakest_tier_that_failed_makes_nothing_hard(scored: Scoring) -> None:
    def shaky(body: Body) -> Reply:
        return fails(400) if number(body) == 1 and body["seed"] == 0 else weak(body)

    _, out = scored(shaky, strong, by=None)
    row = lines(out / "questions.jsonl")[1]
    assert (row["pass_rates"], row["bracket"]) == ({"t1": 1.0}, "unrated")
    assert lines(out / "questions.jsonl")[9]["bracket"] == "easy"


def test_a_stored_answer_that_cannot_be_read_is_told_as_that(scored: Scoring) -> None:
    scored.write([*rows(), {"id": 11, "question": "What is 11 + 11?", "answer": r"\frac{2}{"}])
    done, out = scored(strong, by=None)
    row = lines(out / "questions.jsonl")[11]
    assert row["bracket"] == "unrated"
    assert "cannot be read" in row["unrated"]["t0"]
    assert "1 stored answers are none that rules can read" in done.warnings[0]


def test_models_of_one_name_at_two_addresses_are_two(scored: Scoring, tmp_path: Path) -> None:
    tiers = [scored.tier(0, weak), scored.tier(1, strong)]
    for tier in tiers:
        tier["model"] = "default"
    _, out = scored(weak, strong, by=None, tiers=tiers, cache=str(tmp_path / "cache"))
    assert lines(out / "questions.jsonl")[2]["pass_rates"] == {"t0": 0.0, "t1": 1.0}


def test_a_file_that_was_scored_before_is_scored_anew(scored: Scoring) -> None:
    scored(weak, by=None)
    old = [*lines(scored.out / "questions.jsonl").values()]
    assert [row for row in old if "doubt" in row]
    scored.write(old)
    _, out = scored(strong)
    kept = lines(out / "questions.jsonl")
    assert kept[2] == rows()[1] | {"pass_rates": {"t0": 1.0}, "bracket": "easy"}


def test_no_rows_are_nothing_to_score(scored: Scoring) -> None:
    scored.write([])
    with pytest.raises(QuestionsError, match="has no rows: there is nothing to score"):
        scored(strong, by=None)


def test_what_the_disk_refuses_is_one_sentence(scored: Scoring) -> None:
    scored.out = scored.file
    with pytest.raises(QuestionsError, match=r"rows\.jsonl: .* a file where a folder is wanted"):
        scored(strong, by=None)


def test_a_tier_is_run_or_asked() -> None:
    one = {"name": "a", "model": "m"}
    with pytest.raises(ValueError, match="tier a is at an address, and is run there"):
        ScoreConfig.model_validate({"tiers": [one | {"base_url": "http://h/v1", "serve": {}}]})
    with pytest.raises(ValueError, match="tier a has no address that could ask for a key"):
        ScoreConfig.model_validate({"tiers": [one | {"api_key_env": "KEY"}]})
    with pytest.raises(ValueError, match="nothing_of_it"):
        ScoreConfig.model_validate({"tiers": [one | {"serve": {"engine": "nothing_of_it"}}]})


def test_a_checkpoint_that_is_none_is_told_before_anything_is_asked(scored: Scoring) -> None:
    tiers = [scored.tier(0, strong), {"name": "large", "model": "no/such/folder"}]
    with pytest.raises(QuestionsError, match="'no/such/folder' is no folder of a checkpoint"):
        scored(strong, by=None, tiers=tiers)
    tiers[1]["model"] = str(scored.file.parent)
    with pytest.raises(QuestionsError, match=r"tier large: .*config\.json"):
        scored(strong, by=None, tiers=tiers)
