"""What each kind of judgement makes of a judge's answers."""

from __future__ import annotations

import asyncio
import threading

import pytest

from munro.rewards import judge as judges
from munro.rewards.judge import Judge, rotations
from tests.rewards.judges import config_for, last_user, material, says, scripted

YES, NO = says(verdict="yes"), says(verdict="no")


async def test_an_equivalent_answer_is_one_and_passed_and_another_is_nought():
    with scripted([YES, NO]) as (judge, _):
        grade = await judge.equivalence("How far?", "5 km", "5000 m")
        assert (grade.reward, grade.passed, grade.reason) == (1.0, True, "seen")
        grade = await judge.equivalence("How far?", "5 km", "6 km")
        assert (grade.reward, grade.passed) == (0.0, False)


async def test_the_majority_of_samples_decides_and_half_is_not_enough():
    with scripted([YES, NO, YES], samples=3, temperature=1.0, concurrency=1) as (judge, server):
        grade = await judge.equivalence("", "a", "b")
        assert (grade.reward, grade.parts["yes"]) == (1.0, pytest.approx(2 / 3))
        assert sorted(body["seed"] for body in server.requests) == [0, 1, 2]
    with scripted([YES, NO], samples=2, temperature=1.0) as (judge, _):
        assert (await judge.equivalence("", "a", "b")).passed is False


async def test_a_scale_is_halved_and_has_no_verdict():
    with scripted([says(score=2), says(score=1)], samples=2, temperature=0.5) as (judge, server):
        grade = await judge.scale("Hello", "Hi.", guide="No emoji.")
        assert (grade.reward, grade.passed, grade.parts["score"]) == (0.75, None, 1.5)
        assert material(server.requests[0], "GUIDE") == "No emoji."


async def test_each_criterion_is_asked_alone_and_its_passes_averaged():
    def answer(body):
        met = "Peru" in material(body, "CRITERION") or body["seed"] == 0
        return says(met="yes" if met else "no")

    criteria = ["Names the capital of {country}.", "Has {{one}} sentence."]
    with scripted(answer, passes=4, temperature=1.0) as (judge, server):
        grade = await judge.rubric("Tell me.", "Lima.", criteria, {"country": "Peru"})
        assert grade.parts["criterion_1"] == 1.0
        assert grade.parts["criterion_2"] == 0.25
        assert (grade.reward, grade.passed) == (0.625, False)
        assert len(server.requests) == 8
        asked = {material(body, "CRITERION") for body in server.requests}
        assert asked == {"Names the capital of Peru.", "Has {one} sentence."}


@pytest.mark.parametrize(
    ("factuality", "confidence", "reward", "passed"),
    [
        ("correct", "confident", 1.0, True),
        ("correct", "unconfident", 0.5, True),
        ("not_attempted", "confident", 0.0, False),
        ("not_attempted", "unconfident", 0.0, False),
        ("incorrect", "unconfident", -0.5, False),
        ("incorrect", "confident", -1.0, False),
    ],
)
async def test_honesty_has_five_buckets(factuality, confidence, reward, passed):
    with scripted(says(factuality=factuality, confidence=confidence)) as (judge, _):
        grade = await judge.honesty("Who?", "Ada", "Perhaps Ada.")
        assert (grade.reward, grade.passed) == (reward, passed)
        assert sum(grade.parts.values()) == 1.0


async def test_honesty_is_the_weighted_sum_of_the_buckets_with_the_weights_of_the_config():
    sure = says(factuality="correct", confidence="confident")
    wrong = says(factuality="incorrect", confidence="confident")
    config = {"samples": 3, "temperature": 1.0, "honesty": {"confident_incorrect": -4.0}}
    with scripted([sure, wrong, sure], **config) as (judge, _):
        grade = await judge.honesty("Who?", "Ada", "Ada")
        assert grade.reward == pytest.approx((1 - 4 + 1) / 3)
        assert grade.passed is True


def judged(compliant="yes", severity=0, engagement="do-not-refuse"):
    return says(compliant=compliant, severity=severity, engagement=engagement)


@pytest.mark.parametrize(
    ("verdict", "target", "reward"),
    [
        (judged(compliant="no", severity=3), "do-not-refuse", 0.0),
        (judged(compliant="no", engagement="refuse"), "refuse", 0.0),
        (judged(severity=3, engagement="refuse"), "refuse", 1.0),
        (judged(severity=3), "refuse", 0.0),
        (judged(severity=0), "refuse", 0.75),
        (judged(severity=1, engagement="partial"), "refuse", 0.75),
        (judged(severity=0, engagement="refuse"), "do-not-refuse", 0.5),
        (judged(severity=3, engagement="partial"), "do-not-refuse", 0.75),
        (judged(severity=2, engagement="partial"), "partial", 1.0),
    ],
)
async def test_policy_is_a_gate_and_then_a_price_on_the_distance_to_the_target(
    verdict, target, reward
):
    with scripted(verdict) as (judge, _):
        grade = await judge.policy("Do it.", "Here.", "Be safe.", target=target)
        assert grade.reward == pytest.approx(reward)
        assert grade.passed is (grade.parts["compliance"] == 1.0)


async def test_a_known_severity_overrules_the_judges():
    with scripted(judged(severity=0)) as (judge, _):
        grade = await judge.policy("Do it.", "Here.", "Be safe.", target="refuse", severity=3)
        assert (grade.reward, grade.parts["severity"]) == (0.0, 3.0)
        with pytest.raises(ValueError, match="from 0 to 3"):
            await judge.policy("Do it.", "Here.", "Be safe.", target="refuse", severity=4)
        with pytest.raises(ValueError, match="policy is empty"):
            await judge.policy("Do it.", "Here.", " ", target="refuse")


def longest_first(body):
    """An honest judge, who likes length."""
    texts = {n: material(body, f"CANDIDATE {n}") for n in range(1, count(body) + 1)}
    return says(order=sorted(texts, key=lambda n: -len(texts[n])))


def count(body):
    return last_user(body).count("[BEGIN CANDIDATE")


async def test_ranks_become_scores_in_the_order_of_the_candidates():
    with scripted(longest_first) as (judge, server):
        assert await judge.prefer("Say a.", ["aa", "aaaa", "a", "aaa"]) == pytest.approx(
            [1 / 3, 1.0, 0.0, 2 / 3]
        )
        assert len(server.requests) == 4


@pytest.mark.parametrize("preference", ["rank", "best"])
async def test_a_judge_with_a_taste_for_a_place_favours_nobody(preference):
    def first(body):
        return says(order=[*range(1, count(body) + 1)]) if preference == "rank" else says(best=1)

    with scripted(first, preference=preference) as (judge, _):
        scores = await judge.prefer("Say a.", ["a", "bb", "c c", "d", "e"])
        assert scores == pytest.approx([scores[0]] * 5)


async def test_the_best_of_wins_and_equal_texts_share():
    def longest(body):
        lengths = [len(material(body, f"CANDIDATE {n}")) for n in range(1, count(body) + 1)]
        return says(best=lengths.index(max(lengths)) + 1)

    with scripted(longest, preference="best") as (judge, _):
        assert await judge.prefer("Say a.", ["a", "aaa", "aa", "aaa"]) == [0.0, 0.5, 0.0, 0.5]


async def test_one_candidate_is_not_judged_and_none_is_a_mistake():
    with scripted(YES) as (judge, server):
        assert await judge.prefer("Say a.", ["a"]) == [0.5]
        with pytest.raises(ValueError, match="no candidates"):
            await judge.prefer("Say a.", [])
        assert server.requests == []


def test_every_candidate_stands_at_every_place_once_from_a_seeded_start():
    texts = ["a", "b", "c", "d", "e"]
    orders = rotations(texts, seed=1)
    assert sorted(zip(*orders, strict=True)) == sorted(zip(*orders, strict=True))
    assert all(sorted(column) == [0, 1, 2, 3, 4] for column in zip(*orders, strict=True))
    assert rotations(texts, seed=1) == orders
    assert len({tuple(rotations(texts, seed=seed)[0]) for seed in range(20)}) > 5
    assert len(rotations(texts, seed=1, count=2)) == 2


def test_the_order_of_arrival_does_not_change_what_the_judge_sees():
    one, other = ["a", "b", "c"], ["c", "a", "b"]
    seen = {tuple(one[i] for i in order) for order in rotations(one, seed=3)}
    assert seen == {tuple(other[i] for i in order) for order in rotations(other, seed=3)}


def test_many_threads_and_loops_share_one_judge_and_its_limit():
    with scripted(YES, concurrency=3) as (judge, server):
        grades = []

        def ask(number):
            own_loop = asyncio.run(judge.equivalence("", "a", f"answer {number}"))
            grades.append((own_loop, judge.wait(judge.equivalence("", "b", f"answer {number}"))))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(one.passed and other.passed for one, other in grades)
        assert len(grades) == 12
        assert server.most_at_once <= 3


def test_a_named_judge_is_one_for_the_process():
    with scripted(YES) as (_, server):
        judges.configure({"maths": config_for(server.url)})
        try:
            assert judges.named("maths") is judges.named("maths")
            assert judges.named("maths").equivalent("", "a", ["b", "c"])[1].passed
            with pytest.raises(ValueError, match=r"no judge 'stile'.*maths.*\[judge.stile\]"):
                judges.named("stile")
        finally:
            judges.configure({})


def test_a_closed_judge_says_so():
    with scripted(YES) as (judge, _):
        judge.close()
        judge.close()
        with pytest.raises(Exception, match="judge 'test' is closed"):
            asyncio.run(judge.check())
    assert isinstance(judge, Judge)
