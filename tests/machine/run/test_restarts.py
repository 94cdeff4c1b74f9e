"""When a climb restarts from a distillation, from which traces, onto which base."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.base_model.model.tokenizer import train_tokenizer
from munro.machine.climb.rebase import refuse_foreign
from munro.machine.climb.start import resume
from munro.machine.loading import BadConfig, from_overrides
from munro.machine.run.folder import RunFolder
from munro.machine.run.restarts import (
    Request,
    Restart,
    drop_request,
    due,
    plain,
    read_request,
    read_restarts,
    write_request,
)
from munro.rl.collapse import Watch
from munro.rl.state import ClimbState
from tests.rollout.tiny_llama import CONTEXT, VOCAB, tiny_llama

MODEL = "base"
OURS, OTHER = "ours, with some text", "another text altogether"


def config(**keys):
    given = [("num_steps", "100"), ("env", "arithmetic"), ("length.stages", "[8, 16]")]
    given += [(key.replace("__", "."), value) for key, value in keys.items()]
    return from_overrides(given)


EVERY_10 = config(distill__every="10")
ON_ALL = config(distill__on='["collapse", "stage", "new_base"]')


def at(step, **fields):
    return replace(ClimbState.first(EVERY_10.clip), step=step, **fields)


def made(step, *, first=1, last=None, **fields):
    return Restart(
        step=step,
        cause="a test",
        base=MODEL,
        first_step=first,
        last_step=last or step,
        checkpoint=f"distilled/step-{step:06d}",
        state=at(step).restarted().to_json(),
        **fields,
    )


COLLAPSED = Watch(counts={"entropy_low": 6})
REQUEST = Request(base="newer", id="first")


@pytest.mark.parametrize(
    ("how", "state", "request_", "cause"),
    [
        (EVERY_10, at(9), None, None),
        (EVERY_10, at(10), None, "every 10 steps"),
        (EVERY_10, at(15, began_step=7), None, None),
        (EVERY_10, at(17, began_step=7), None, "every 10 steps"),
        (EVERY_10, at(100), None, None),
        (EVERY_10, at(20, began_step=20), None, None),
        (EVERY_10, at(3, stage=1), None, None),
        (ON_ALL, at(3, stage=1), None, "length cap 16"),
        (ON_ALL, at(3, stage=1, began_stage=1), None, None),
        (EVERY_10, at(3), REQUEST, "a new base"),
        (config(distill__on="[]"), at(3), REQUEST, None),
        (EVERY_10, at(8, watch=COLLAPSED), None, None),
        (ON_ALL, at(8, watch=COLLAPSED), None, "collapse: policy/entropy under 0.002 for 5 steps"),
        (ON_ALL, at(8, watch=Watch(failure="no signal")), None, "collapse: no signal"),
        (ON_ALL, at(6, watch=COLLAPSED), None, None),
    ],
)
def test_a_distillation_is_due(how, state, request_, cause):
    plan = due(how, state, (), model=MODEL, request=request_)
    assert (plan and plan.cause) == cause


def test_traces_come_from_the_window_of_the_steps_so_far():
    plan = due(EVERY_10, at(10), (), model=MODEL)
    assert (plan.first_step, plan.last_step, plan.base) == (6, 10, MODEL)
    whole = config(distill__every="10", distill__select__window="[0.0, 1.0]")
    plan = due(whole, at(10), (), model=MODEL)
    assert (plan.first_step, plan.last_step) == (1, 10)


def test_after_a_collapse_only_traces_from_before_it_are_taken():
    plan = due(ON_ALL, at(46, watch=COLLAPSED), (), model=MODEL)
    assert plan.is_collapse
    assert (plan.first_step, plan.last_step) == (21, 40)


def test_traces_of_a_collapse_are_never_taken_later_either():
    collapse = made(46, first=21, last=40, is_collapse=True)
    plan = due(EVERY_10, at(56, began_step=46), (collapse,), model=MODEL)
    assert (plan.first_step, plan.last_step) == (52, 56)


def test_a_climb_that_collapses_again_at_once_goes_back_to_what_was_good_before():
    collapse = made(46, first=21, last=40, is_collapse=True)
    watch = Watch(counts={"entropy_low": 6})
    plan = due(ON_ALL, at(52, began_step=46, watch=watch), (collapse,), model=MODEL)
    assert (plan.first_step, plan.last_step) == (21, 40)


@given(st.integers(1, 200), st.floats(0, 0.99), st.floats(0.01, 1.0), st.lists(st.integers(1, 200)))
def test_every_window_holds_a_step_that_was_taken(step, low, length, collapses):
    low_high = [low, min(1.0, low + length)]
    how = config(distill__every="1", distill__select__window=str(low_high), num_steps="1000")
    before = tuple(made(at, is_collapse=True) for at in sorted(set(collapses)) if at < step)
    plan = due(how, at(step), before, model=MODEL)
    assert 1 <= plan.first_step <= plan.last_step <= step


def test_the_base_is_the_last_one_asked_for_then_the_configs_then_the_climbs_own():
    asked = replace(made(5, request="first"), base="newer")
    plain_one = made(7)
    assert due(EVERY_10, at(20), (asked, plain_one), model=MODEL).base == "newer"
    named = config(distill__every="10", distill__onto="named")
    assert due(named, at(20), (plain_one,), model=MODEL).base == "named"
    assert due(named, at(20), (asked,), model=MODEL, request=Request(base="b", id="2")).base == "b"


def test_a_request_that_was_answered_is_not_answered_again():
    asked = made(5, request=REQUEST.id)
    assert due(ON_ALL, at(9), (asked,), model=MODEL, request=REQUEST) is None


def test_a_request_lies_in_the_folder_until_it_is_dropped(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert read_request(run) is None
    write_request(run, REQUEST)
    assert read_request(run) == REQUEST
    drop_request(run, Request(base="newer", id="second"))
    assert read_request(run) == REQUEST
    drop_request(run, REQUEST)
    assert read_request(run) is None


# what a run goes on with


def folder(path, texts=OURS, template=None):
    tokenizer = train_tokenizer([texts] * 9, vocab_size=VOCAB, max_context=CONTEXT)
    if template:
        tokenizer.chat_template = template
    tiny_llama(tied=True).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def restarted_run(tmp_path, restart):
    run = RunFolder(tmp_path / "run")
    run.begin({"name": "run"}, seed=0, provenance={"model": MODEL})
    info = run.read_info()
    run.write_info(replace(info, restarts=(plain(restart),)))
    folder(run.path / restart.checkpoint)
    return run


def test_a_restart_is_read_as_it_was_written(tmp_path):
    restart = made(4, is_collapse=True, request="r")
    assert read_restarts(restarted_run(tmp_path, restart)) == (restart,)


def test_a_run_goes_on_from_its_last_distillation_until_there_is_a_later_checkpoint(tmp_path):
    run = restarted_run(tmp_path, made(4))
    folder(run.checkpoint(4))
    start = resume(run, EVERY_10)
    assert (start.state, start.checkpoint) == (at(4).restarted(), None)
    assert start.model == run.path / "distilled" / "step-000004"
    later = folder(run.checkpoint(6))
    state = replace(at(4).restarted(), step=6)
    written = json.dumps({"climb_state": state.to_json()})
    (later / "provenance.json").write_text(written)
    start = resume(run, EVERY_10)
    assert (start.state, start.checkpoint) == (state, later)
    assert start.model == run.path / "distilled" / "step-000004"


@pytest.mark.parametrize(
    ("texts", "template", "how", "said"),
    [
        (OURS, None, {}, None),
        (OTHER, None, {}, "another vocabulary"),
        (OTHER, None, {"distill__template": "chat"}, None),
        (OURS, "{{ messages }}", {"rollout__template": "chat"}, "another chat template"),
        (OURS, "{{ messages }}", {"rollout__template": "plain"}, None),
    ],
)
def test_a_base_must_read_what_the_climb_wrote(tmp_path, texts, template, how, said):
    ours, theirs = folder(tmp_path / "ours"), folder(tmp_path / "theirs", texts, template)
    if said is None:
        refuse_foreign(ours, theirs, config(**how))
        return
    with pytest.raises(BadConfig, match=said):
        refuse_foreign(ours, theirs, config(**how))
