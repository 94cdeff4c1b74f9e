"""A judge under the names that a TOML file and `munro grade` use."""

from __future__ import annotations

import pytest

from munro.rewards.judge import close, configure
from munro.rewards.kinds import check_item, make
from tests.rewards.judges import ScriptedJudge, config_for, last_user, material, says


def keys(server, **changes):
    return config_for(server.url, **changes).model_dump(exclude_unset=True)


def longest_first(body):
    """An honest judge, who likes length."""
    count = last_user(body).count("[BEGIN CANDIDATE")
    texts = {n: material(body, f"CANDIDATE {n}") for n in range(1, count + 1)}
    return says(order=sorted(texts, key=lambda n: -len(texts[n])))


ITEMS = {
    "equivalence": ({"answer": "5 km"}, says(verdict="yes"), 1.0),
    "proof": ({"answer": "2a + 2b = 2(a + b)"}, says(proves="yes"), 1.0),
    "honesty": ({"answer": "Ada"}, says(factuality="correct", confidence="unconfident"), 0.5),
    "scale": ({"guide": "No emoji."}, says(score=1), 0.5),
    "rubric": ({"criteria": ["Names {city}."], "city": "Lima"}, says(met="yes"), 1.0),
    "policy": (
        {"rules": "Be safe.", "target": "refuse", "severity": 1},
        says(compliant="yes", severity=3, engagement="do-not-refuse"),
        0.5,
    ),
}


@pytest.mark.parametrize("ask", ITEMS)
def test_an_item_brings_what_its_question_needs(ask):
    fields, reply, reward = ITEMS[ask]
    item = {"response": "Here.", "prompt": "Well?", **fields}
    check_item("judge", item)
    with ScriptedJudge([reply]) as server, make("judge", ask=ask, judge=keys(server)) as grader:
        assert grader.grade(item).reward == reward
        label = "REQUEST" if ask == "policy" else "QUESTION"
        assert material(server.requests[0], label) == "Well?"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ask": "taste"}, "ask = 'taste': there are equivalence"),
        ({"judge": {"model": "m", "base_url": "nowhere"}}, r"judge.base_url: .*address such as"),
        ({"judge": {"modle": "m"}}, "judge.model"),
        ({"judge": "nobody"}, "no judge 'nobody' is configured"),
        ({"ask": "rubric", "criteria": [" "]}, "criterion 1 of the rubric is empty"),
        ({"ask": "policy", "target": "perhaps"}, "perhaps"),
        ({"ask": "rubric", "score": "most"}, "score = 'most': give 'all' or 'share'"),
        (
            {"ask": "scale", "score": "all"},
            "is of ask = 'rubric', and ask is 'scale'",
        ),
    ],
)
def test_a_mistake_is_named_before_anybody_is_asked(options, message):
    with pytest.raises(ValueError, match=message):
        make("judge", **options)


@pytest.mark.parametrize(("score", "reward"), [(None, 0.5), ("share", 0.5), ("all", 0.0)])
def test_a_rubric_pays_the_share_met_or_only_all_of_it(score, reward):
    """AdvancedIF's figure is all or nothing; the verdict is the same either way."""
    options = {} if score is None else {"score": score}
    item = {"prompt": "Well?", "response": "Lima.", "criteria": ["Names Lima.", "Is polite."]}
    polite = {"Names Lima.": "yes", "Is polite.": "no"}

    def judges(body):
        return says(met=polite[material(body, "CRITERION")])

    with ScriptedJudge(judges) as server:
        with make("judge", ask="rubric", judge=keys(server), **options) as grader:
            grade = grader.grade(item)
        assert (grade.reward, grade.passed) == (reward, False)
        assert (grade.parts["criterion_1"], grade.parts["criterion_2"]) == (1.0, 0.0)
        with make("judge", ask="rubric", judge=keys(server), **options) as grader:
            assert grader.grade({**item, "criteria": ["Names Lima."]}).reward == 1.0


@pytest.mark.parametrize(
    ("ask", "name"), [("equivalence", "answer"), ("proof", "answer"), ("policy", "rules")]
)
def test_an_item_with_nothing_to_go_by_is_refused(ask, name):
    with (
        ScriptedJudge([]) as server,
        make("judge", ask=ask, judge=keys(server)) as grader,
        pytest.raises(ValueError, match=f"'{name}' is missing"),
    ):
        grader.grade({"response": "Here."})


def test_a_group_is_compared_in_heats_and_every_response_gets_a_score():
    texts = ["a" * (n + 1) for n in range(7)]
    items = [{"prompt": "Say a.", "response": text} for text in texts]
    with ScriptedJudge(longest_first) as server:
        configure({"long": config_for(server.url)})
        try:
            with make("judge_preference", judge="long", size=3, rounds=2) as grader:
                rewards = [grade.reward for grade in grader.grade_group(items)]
                assert rewards[0] == 0.0
                assert rewards[-1] == 1.0
                assert max(last_user(b).count("[BEGIN CANDIDATE") for b in server.requests) == 3
            with make("judge_preference", judge="long", size=7) as grader:
                whole = [grade.reward for grade in grader.grade_group(items)]
                assert whole == pytest.approx([n / 6 for n in range(7)])
                assert grader.grade({**items[2], "others": texts[3:5]}).reward == 0.0
        finally:
            close()
            configure({})
    with pytest.raises(ValueError, match="size = 1"):
        make("judge_preference", judge="long", size=1)
