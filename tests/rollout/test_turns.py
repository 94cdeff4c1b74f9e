"""A turn may be cut, an episode's time may end, and every call is on record."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.envs import Answer, CallRecord
from munro.envs.types import Ending, KeptTokens, Message
from munro.rollout.branches import way
from munro.rollout.engine import Completion
from munro.rollout.episode import CUT, Limits, begun, play
from munro.rollout.render import renderer
from munro.rollout.stream import Stream
from munro.rollout.vllm.outputs import routing
from tests.builders import make_task
from tests.rollout.branching.rewritten import FORGETFUL
from tests.rollout.builders import CHATML, ScriptedEngine, make_tokenizer

LIMITS = Limits(max_response_tokens=4000, max_context=8000, max_turns=4, turn_tokens=20)
GO_ON = [Message(role="user", content="go on")]


def made(template=CHATML, kind="chat"):
    tokenizer = make_tokenizer(template, added=("<think>", "</think>"))
    return tokenizer, renderer(tokenizer, kind)


def written(tokenizer, render, *texts):
    """An engine that writes one text a turn, each ended by what ends a turn."""
    end = render.stop_token_ids[-1]
    return ScriptedEngine(lambda r: [*tokenizer.encode(texts[r.key[-1]]), end])


def observes(*answers):
    rest = list(answers)

    async def reply(message):
        return [Message(role="user", content=rest.pop(0))] if rest else None

    return reply


async def told(engine, render, reply, limits=LIMITS, **more):
    return await play(
        make_task(), reply, engine.generate, render, limits, seed=7, key=(5, 2, 0), **more
    )


LONG = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("kind", ["chat", "plain", "r1_zero"])
async def test_a_turn_that_is_too_long_is_closed_by_a_token_that_nobody_sampled(kind):
    tokenizer, render = made(kind=kind)
    seen = []

    async def reply(message):
        seen.append(message.text.removeprefix("<think>"))

    one = await told(written(tokenizer, render, LONG, "42"), render, reply)
    assert (one.ending, seen) == (Ending.ANSWERED, ["42"])
    assert [m.role for m in one.messages] == ["assistant", "user", "assistant"]
    assert one.messages[1].content == CUT.format(20)
    runs = np.flatnonzero(np.diff(np.concatenate([[0], one.sampled.astype(int)])) == 1)
    first = int(runs[0])
    assert tokenizer.decode(one.token_ids[first : first + 20]) == LONG[:20]
    assert one.sampled[first : first + 20].all()
    assert one.token_ids[first + 20] == render.stop_token_ids[-1]
    assert not one.sampled[first + 20]
    assert (one.versions[first + 20], one.behaviour_logp[first + 20]) == (-1, 0)
    assert one.kept.starts[first + 20] == one.kept.starts[first + 21]
    # an ended turn has the same token, sampled, and no second one
    assert one.token_ids[one.sampled][-1] == render.stop_token_ids[-1]
    assert (one.token_ids == render.stop_token_ids[-1]).sum() == (4 if kind == "chat" else 2)


async def test_a_cut_turn_in_a_template_that_forgets_thoughts():
    tokenizer, render = made(FORGETFUL)
    texts = (f"<think>{LONG}", "<think>so</think>41", "42")
    one = await told(written(tokenizer, render, *texts), render, observes("no"))
    assert one.ending is Ending.ANSWERED
    assert one.messages[1].content == CUT.format(20)
    last = one.token_ids[way(len(one.token_ids) - 1, one.forks)]
    shown = tokenizer.decode(last)
    assert f"{CUT.format(20)}<|im_end|>" in shown
    assert shown.endswith("<|im_start|>user\nno<|im_end|>\n<|im_start|>assistant\n42<|im_end|>")


async def test_nothing_of_a_cut_turn_is_carried_out_or_recorded():
    tokenizer, render = made()
    call = '<tool_call>{"name": "add"}</tool_call>'
    limits = replace(LIMITS, turn_tokens=len(call) + 2)
    asked = []

    async def reply(message):
        asked.append(message)

    one = await told(written(tokenizer, render, call + LONG, "42"), render, reply, limits)
    assert [message.content for message in asked] == ["42"]
    assert one.messages[0].tool_calls == ()
    assert one.calls == ()


@pytest.mark.parametrize(
    ("limits", "ending"),
    [
        (replace(LIMITS, cut_turn="end"), Ending.TRUNCATED_TURN),
        (replace(LIMITS, max_turns=1), Ending.TRUNCATED_TURN),
        (replace(LIMITS, max_response_tokens=20), Ending.TRUNCATED_TOKENS),
        (replace(LIMITS, max_response_tokens=10), Ending.TRUNCATED_TOKENS),
    ],
    ids=["end", "last turn", "cap as long", "cap shorter"],
)
async def test_which_limit_ended_an_episode_in_its_first_turn(limits, ending):
    tokenizer, render = made()
    one = await told(written(tokenizer, render, LONG), render, observes("no"), limits)
    assert one.ending is ending
    assert one.ending.is_truncated
    assert len(one.messages) == 1
    assert one.sampled[-1]


async def test_time_ends_an_episode_between_turns_and_leaves_no_tail():
    tokenizer, render = made()
    engine = written(tokenizer, render, *"123456")
    now = itertools.count()
    limits = replace(LIMITS, wall_s=15, max_turns=6)
    one = await told(
        engine, render, observes(*"abcdef"), limits, clock=lambda: float(next(now)) * 2
    )
    assert one.ending is Ending.TRUNCATED_TIME
    assert 1 < len(engine.calls) < 6
    assert one.sampled[-1]
    assert one.messages[-1].role == "assistant"


async def test_time_that_was_spent_before_counts():
    tokenizer, render = made()
    progress = begun(make_task(), render, LIMITS)
    progress.seconds = 100.0
    engine = written(tokenizer, render, *"1234")
    limits = replace(LIMITS, wall_s=99)
    one = await told(engine, render, observes(*"abcd"), limits, progress=progress)
    assert (one.ending, len(engine.calls)) == (Ending.TRUNCATED_TIME, 1)


async def test_a_final_answer_is_one_however_late():
    tokenizer, render = made()
    limits = replace(LIMITS, wall_s=1)
    now = itertools.count()
    clock = lambda: float(next(now)) * 100  # noqa: E731
    one = await told(written(tokenizer, render, "42"), render, observes(), limits, clock=clock)
    assert one.ending is Ending.ANSWERED


async def test_every_call_is_on_record():
    tokenizer, render = made()
    good = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    bad = "<tool_call>{add}</tool_call>"
    turns = (good + bad, good + good, "42")
    answers = [
        [
            Answer(role="tool", content="2", tool_call_id="call00000", seconds=0.25),
            Answer(role="tool", content="Error: no", tool_call_id="call00001", error="no"),
        ],
        [Message(role="tool", content="2", tool_call_id="call00100")],
        None,
    ]

    async def reply(message):
        return answers.pop(0)

    limits = replace(LIMITS, turn_tokens=0)
    one = await told(written(tokenizer, render, *turns), render, reply, limits)
    own, unread, plain, left_out = one.calls
    assert own == CallRecord(
        turn=0, id="call00000", name="add", arguments='{"a": 1}', ok=True, seconds=0.25
    )
    assert (unread.turn, unread.id, unread.ok, unread.error) == (0, "call00001", False, "no")
    assert unread.is_malformed
    assert not own.is_malformed
    assert (plain.turn, plain.id, plain.ok, plain.error) == (1, "call00100", True, "")
    assert plain.seconds == left_out.seconds < 1
    assert (left_out.id, left_out.ok, left_out.error) == ("call00101", False, "not answered")
    # what is kept of the conversation are plain messages
    assert {type(message) for message in one.messages} == {Message}


@given(
    st.lists(st.integers(0, 60), min_size=8, max_size=8),
    st.lists(st.integers(0, 300), min_size=8, max_size=8),
    st.integers(60, 700),
    st.integers(1, 300),
    st.integers(0, 40),
    st.sampled_from(["go on", "end"]),
    st.sampled_from([CHATML, FORGETFUL]),
)
@settings(max_examples=150, deadline=None)
def test_no_stream_is_too_long_and_the_mask_is_exact(
    turns, seen, max_context, cap, turn_tokens, cut_turn, template
):
    tokenizer, render = made(template)
    engine = written(tokenizer, render, *(LONG[:1] * length for length in turns))
    sampled = []
    complete = engine._complete

    def noting(request):
        done = complete(request)
        sampled.extend(done.token_ids.tolist())
        assert len(request.prompt_ids) + len(done.token_ids) <= max_context
        assert not turn_tokens or len(done.token_ids) <= turn_tokens
        return done

    engine._complete = noting
    limits = Limits(
        max_response_tokens=cap,
        max_context=max_context,
        max_turns=8,
        turn_tokens=turn_tokens,
        cut_turn=cut_turn,
        top_p=0.9,
    )
    one = asyncio.run(told(engine, render, observes(*("é" * length for length in seen)), limits))
    assert one.token_ids[one.sampled].tolist() == sampled
    assert one.num_sampled <= cap
    if not one.forks:
        assert len(one.token_ids) <= max_context
    widths = np.diff(one.kept.starts)
    assert ((widths > 0) == one.sampled).all()
    assert ((one.versions >= 0) == one.sampled).all()
    assert one.sampled[-1]


@pytest.mark.parametrize("template", [CHATML, FORGETFUL])
async def test_experts_that_are_known_are_not_reported_again(template):
    """Each turn carried the whole prompt's again: gigabytes in an episode of 200 turns."""
    tokenizer, render = made(template)
    texts = [f"<think>{n}</think>{n}" for n in range(6)]
    limits = replace(LIMITS, max_turns=6, turn_tokens=0)

    async def played(sparing):
        engine = written(tokenizer, render, *texts)
        complete, rows = engine._complete, []

        def routed(request):
            done = complete(request)
            whole = np.full(
                (len(request.prompt_ids) + len(done.token_ids), 2, 3), request.key[-1], np.int16
            )
            whole[-1] = -1
            rows.append(whole[request.routed_from if sparing else 0 :])
            return replace(done, routed_experts=rows[-1])

        engine._complete = routed
        one = await told(engine, render, observes(*"abcde"), limits)
        return one.routed_experts, sum(map(len, rows))

    whole, num_whole = await played(sparing=False)
    experts, num_rows = await played(sparing=True)
    assert (experts == whole).all()
    assert num_rows < num_whole / 2
    # once each, and the last token of a turn twice where it is read: as unread, and as read
    assert len(experts) <= num_rows <= len(experts) + 5


def test_an_engine_reports_from_where_it_is_asked_to():
    experts = np.arange(9 * 4 * 2).reshape(9, 4, 2)
    rows = routing(experts, 10, 3, 6)
    assert rows.shape == (4, 3, 2)
    assert (rows[:3] == experts[6:, :3]).all()
    assert (rows[-1] == -1).all()
    assert (routing(experts, 10, 3)[6:] == rows).all()


def test_what_a_stream_holds_grows_with_its_tokens_and_not_with_their_square():
    """128 episodes of 200 turns held gigabytes of places that nobody asked for."""
    limits = replace(LIMITS, max_response_tokens=10**6, max_context=10**6)
    turn = Completion(
        token_ids=np.arange(20, dtype=np.int32),
        logp=np.zeros(20, np.float32),
        kept=KeptTokens.nothing(20),
        versions=np.zeros(20, np.int32),
        stopped=True,
    )
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        stream = Stream([1, 2, 3], limits)
        for _ in range(300):
            stream.write(turn)
            stream.observe(range(100))
            stream.token_ids()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert stream.length == 3 + 300 * 120
    assert held < 100 * stream.length
