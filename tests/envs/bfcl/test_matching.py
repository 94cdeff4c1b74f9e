"""Calls of one turn are compared as a multiset; and where none is right, any call fails."""

from __future__ import annotations

import asyncio
import json

import pytest

from munro.envs import Message, ToolCall
from munro.envs.bfcl.matching import gold_call, num_right
from munro.envs.bfcl.schemas import tool_of
from munro.envs.bfcl.written import call_of
from munro.envs.check import played
from munro.envs.loader import load
from tests.envs.bfcl.stand_in import made, single

FIELDS = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "heat": {"type": "float"},
    "dry": {"type": "boolean"},
    "at": {"type": "array"},
    "who": {"type": "dict"},
    "any": {"type": "any"},
}
SCHEMAS = {"sky_weather": {"properties": FIELDS, "required": []}}


def right(options, given, required=()):
    schemas = {"sky_weather": {"properties": FIELDS, "required": required}}
    return num_right([{"sky.weather": options}], [("sky_weather", given)], schemas) == 1


@pytest.mark.parametrize(
    ("options", "good", "bad"),
    [
        ({"city": ["St. Gall, CH"]}, ["st gall ch", "St Gall/CH"], ["Gall", 3, None, ["St. Gall"]]),
        ({"days": [3]}, [3], [4, 3.0, "3", True, [3]]),
        ({"days": [1]}, [1], [True]),
        ({"heat": [3.0]}, [3, 3.0], ["3", 3.1, False]),
        ({"dry": [True]}, [True], [1, "true", False]),
        (
            {"at": [["a", "B"], [1, 2]]},
            [["A", "b"], [1, 2]],
            [["b", "a"], [1], [1, 2, 3], [True, 2]],
        ),
        (
            {"who": [{"name": ["Ann"], "age": ["", 7]}]},
            [{"name": "ann"}, {"name": "Ann", "age": 7}],
            [{"age": 7}, {"name": "Ann", "age": 8}, {"name": "Ann", "sex": "f"}, "Ann"],
        ),
        ({"at": [[{"x": [1], "y": ["", 2]}]]}, [[{"x": 1}]], [[{"y": 2}], [{"x": 1}, {"x": 1}]]),
        ({"any": [None]}, [None], ["", 0, False]),
    ],
)
def test_values_are_right_or_wrong(options, good, bad):
    ((name, _),) = options.items()
    for value in good:
        assert right(options, {name: value}), value
    for value in bad:
        assert not right(options, {name: value}), value
    assert right(options, gold_call({"sky.weather": options}, SCHEMAS)[1])


def test_what_may_be_left_out_and_what_not():
    options = {"city": ["Bern"], "days": ["", 1]}
    assert right(options, {"city": "Bern"})
    assert not right(options, {"city": "Bern"}, required=["days"])
    assert not right(options, {"days": 1})
    assert not right(options, {"city": "Bern", "dry": True})
    assert gold_call({"sky.weather": {"city": [""]}}, SCHEMAS) == ("sky_weather", {})
    needed = {"sky_weather": {"properties": FIELDS, "required": ["city"]}}
    assert gold_call({"sky.weather": {"city": [""]}}, needed) == ("sky_weather", {"city": ""})


def test_calls_are_matched_so_that_as_many_as_can_be_are_right():
    wanted = [{"sky.weather": {"city": ["Bern", "Basel"]}}, {"sky.weather": {"city": ["Bern"]}}]
    bern, basel = ("sky_weather", {"city": "Bern"}), ("sky_weather", {"city": "Basel"})
    assert num_right(wanted, [bern, basel], SCHEMAS) == 2
    assert num_right(wanted, [basel, bern], SCHEMAS) == 2
    assert num_right(wanted, [basel, basel], SCHEMAS) == 1
    assert num_right(wanted, [("other", {}), bern], SCHEMAS) == 1


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    folder = made(tmp_path_factory.mktemp("package"))
    return load("bfcl", data=str(folder), categories=["parallel", "irrelevance"], test_share=0)


def graded(env, task_id, text, *calls):
    task = next(task for task in env.tasks("train") if task.id == task_id)
    made = tuple(
        ToolCall(id=f"c{n}", name=name, arguments=arguments, error="" if name else "no call")
        for n, (name, arguments) in enumerate(calls)
    )
    turn = Message(role="assistant", content=text, tool_calls=made, is_sampled=True)
    return asyncio.run(played(env, task, [turn])).grade


BERN, BASEL = json.dumps({"city": "bern"}), json.dumps({"city": "Basel", "days": 3})


@pytest.mark.parametrize(
    ("calls", "reward", "matched"),
    [
        ([("sky_weather", BASEL), ("sky_weather", BERN)], 1.0, 1.0),
        ([("sky_weather", BERN)], 0.0, 2 / 3),
        ([("sky_weather", BERN), ("sky_weather", BASEL), ("sky_weather", BERN)], 0.0, 0.8),
        ([("sky_weather", BERN), ("", "")], 0.0, 0.5),
        ([("sky_weather", BERN), ("sky_weather", "[1]")], 0.0, 0.5),
        ([("sky_weather", BERN), ("sky_weather", '{"city": NaN}')], 0.0, 0.5),
        ([("sky.weather", BERN), ("sky_weather", BASEL)], 0.0, 0.5),
        ([], 0.0, 0.0),
    ],
)
def test_one_turn_must_hold_exactly_the_calls_that_are_wanted(env, calls, reward, matched):
    grade = graded(env, "parallel_0", "", *calls)
    assert grade.reward == reward
    assert grade.parts["matched"] == pytest.approx(matched)


def test_where_no_tool_fits_any_call_fails_and_so_does_silence(env):
    assert graded(env, "irrelevance_0", "None of them can.").passed
    assert not graded(env, "irrelevance_0", "").passed
    assert not graded(env, "irrelevance_0", "<think>None of them can.</think>").passed
    assert not graded(env, "irrelevance_0", "So.", ("sky_weather", BERN)).passed
    assert not graded(env, "irrelevance_0", "So.", ("", "")).passed


def test_a_task_whose_own_answer_cannot_be_given_is_left_out(env):
    assert env.left_out == ["parallel_1"]


def test_a_tool_is_shown_in_the_openai_shape():
    (function,) = single("x")["function"]
    shown = tool_of(function)["function"]
    assert shown["name"] == "sky_weather"
    assert shown["parameters"] == {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    }
    fields = {"type": {"type": "tuple", "items": {"type": "float"}}, "x": {"type": "any"}}
    made = tool_of({"name": "f", "parameters": {"type": "dict", "properties": fields}})
    assert made["function"]["parameters"]["properties"] == {
        "type": {"type": "array", "items": {"type": "number"}},
        "x": {},
    }


PARAMETERS = {"sort": ("file_name", "order")}


def test_gold_calls_are_read_and_never_run():
    assert call_of("sort('a', order=-1)", PARAMETERS) == ("sort", {"file_name": "a", "order": -1})
    for text in ("sort(open('x'))", "a.sort('x')", "sort(*['x'])", "sort(**{})", "1 + 1", "sort("):
        with pytest.raises(ValueError, match=r".+"):
            call_of(text, PARAMETERS)
    with pytest.raises(ValueError, match="nobody knows the names"):
        call_of("sort('a', 1, 2)", PARAMETERS)
