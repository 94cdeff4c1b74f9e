"""An episode is one stream of tokens, each with what the engine said of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.envs.types import Ending, Message
from munro.rewards.code.extract import extract
from munro.rollout.engine import Completion
from munro.rollout.episode import Limits, play
from munro.rollout.render import renderer
from munro.rollout.seeds import request_seed
from tests.builders import make_task
from tests.rollout.builders import CHATML, ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer()
RENDER = renderer(TOKENIZER, "chat")
END = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
LIMITS = Limits(max_response_tokens=100, max_context=1000, max_turns=3, top_p=0.9)


def says(*texts):
    """An engine whose policy says one text a turn."""
    return ScriptedEngine(lambda r: [*TOKENIZER.encode(texts[r.key[-1]]), END])


def observes(*answers):
    """An environment that answers the turns one by one, then is done."""
    rest = list(answers)

    async def reply(message):
        return [Message(role="user", content=rest.pop(0))] if rest else None

    return reply


async def episode(engine, reply, limits=LIMITS, task=None):
    return await play(
        task or make_task(), reply, engine.generate, RENDER, limits, seed=7, key=(5, 2, 0)
    )


async def test_one_turn_is_the_prompt_and_what_was_sampled():
    told = await episode(says("42"), observes())
    assert TOKENIZER.decode(told.token_ids) == (
        "<|im_start|>user\nWhat is 17+25?<|im_end|>\n<|im_start|>assistant\n42<|im_end|>"
    )
    assert told.num_prompt == len(told.token_ids) - 3
    assert told.sampled.tolist() == [False] * told.num_prompt + [True] * 3
    assert told.behaviour_logp.tolist() == [0.0] * told.num_prompt + [-0.25] * 3
    assert told.versions.tolist() == [-1] * told.num_prompt + [0] * 3
    assert (told.ending, told.reply) == (Ending.ANSWERED, "42")


async def test_observations_are_in_the_stream_but_nobody_sampled_them():
    engine = says("41", "43", "42")
    told = await episode(engine, observes("no", "no, no"))
    text = TOKENIZER.decode(told.token_ids[told.num_prompt :])
    assert text == (
        "41<|im_end|>\n<|im_start|>user\nno<|im_end|>\n<|im_start|>assistant\n"
        "43<|im_end|>\n<|im_start|>user\nno, no<|im_end|>\n<|im_start|>assistant\n42<|im_end|>"
    )
    written = TOKENIZER.decode(told.token_ids[told.sampled])
    assert written == "41<|im_end|>43<|im_end|>42<|im_end|>"
    assert [message.role for message in told.messages] == ["assistant", "user"] * 2 + ["assistant"]
    assert told.reply == "42"
    assert engine.calls == [[(5, 2, 0, 0)], [(5, 2, 0, 1)], [(5, 2, 0, 2)]]


async def test_every_turn_continues_the_very_stream_of_the_turn_before():
    prompts = []

    def writes(request):
        prompts.append(list(request.prompt_ids))
        return [*TOKENIZER.encode(" 41 "), END]

    told = await episode(ScriptedEngine(writes), observes("no", "no"))
    stream = told.token_ids.tolist()
    assert len(prompts) == 3
    assert all(stream[: len(prompt)] == prompt for prompt in prompts)
    assert all(stream[len(p) : len(p) + 5] == [*TOKENIZER.encode(" 41 "), END] for p in prompts)


async def test_the_nucleus_is_known_where_the_policy_chose_and_nowhere_else():
    told = await episode(says("41", "42"), observes("no"))
    starts, ids = told.kept.starts, told.kept.ids
    for place, (token, sampled) in enumerate(zip(told.token_ids, told.sampled, strict=True)):
        kept = ids[starts[place] : starts[place + 1]].tolist()
        assert kept == ([token, 0] if sampled else [])
    assert len(starts) == len(told.token_ids) + 1


async def test_each_turn_carries_the_version_that_wrote_it():
    engine = says("41", "42")

    async def reply(message):
        engine.served += 1
        return [Message(role="user", content="no")] if message.content == "41" else None

    told = await episode(engine, reply)
    assert told.versions[told.sampled].tolist() == [0, 0, 0, 1, 1, 1]
    assert told.oldest_version == 0


async def test_every_token_keeps_the_experts_of_the_pass_that_first_read_it():
    class Routed(ScriptedEngine):
        def _complete(self, request) -> Completion:
            done = super()._complete(request)
            num = len(request.prompt_ids) + len(done.token_ids)
            rows = np.full((num, 2, 3), request.key[-1], np.int16)
            rows[-1] = -1
            return replace(done, routed_experts=rows, num_cut=1)

    told = await episode(Routed(says("41", "42").writes), observes("no"))
    turns = np.flatnonzero(np.diff(told.sampled.astype(int)) == -1)
    end_of_first_turn = int(turns[0])
    expected = np.zeros(len(told.token_ids), int)
    # the first turn's last token is read in the second turn
    expected[end_of_first_turn:] = 1
    expected[-1] = -1
    assert told.routed_experts.shape == (len(told.token_ids), 2, 3)
    assert (told.routed_experts == expected[:, None, None]).all()
    assert told.num_cut == 2
    assert (await episode(says("42"), observes())).routed_experts is None


async def test_the_response_cap_counts_the_sampled_tokens_of_all_turns():
    limits = replace(LIMITS, max_response_tokens=5)
    told = await episode(
        says("41", "42"), observes("a long observation that costs nothing"), limits
    )
    assert told.num_sampled == 5
    assert (told.ending, told.reply) == (Ending.TRUNCATED_TOKENS, "42")


async def test_a_cap_that_is_spent_exactly_ends_the_episode_before_another_turn():
    limits = replace(LIMITS, max_response_tokens=3)
    engine = says("41", "42")
    told = await episode(engine, observes("no"), limits)
    assert told.ending is Ending.TRUNCATED_TOKENS
    assert len(engine.calls) == 1


async def test_a_full_context_truncates():
    prompt = RENDER.opening(make_task().messages)
    told = await episode(says("42"), observes(), replace(LIMITS, max_context=len(prompt) + 1))
    assert (told.num_sampled, told.ending) == (1, Ending.TRUNCATED_CONTEXT)


async def test_an_observation_that_no_turn_follows_is_left_out():
    spent = await episode(says("41", "42"), observes("no"), replace(LIMITS, max_response_tokens=3))
    assert [message.role for message in spent.messages] == ["assistant"]
    assert spent.sampled[-1]
    last = await episode(says("1", "2", "3"), observes(*"abcd"))
    assert last.sampled[-1]


FULL = 4096


async def test_an_observation_of_two_hundred_kilobytes_stays_within_the_context():
    """Of 200,000 characters and a context of 4,096 tokens, a stream of 200,053 tokens was made."""
    huge = "".join(f"line {number}\n" for number in range(20_000))
    limits = replace(LIMITS, max_context=FULL, max_response_tokens=1000)
    told = await episode(says("cat", "42"), observes(huge), limits)
    assert len(huge) > 200_000
    assert len(told.token_ids) <= FULL
    assert (told.ending, told.reply) == (Ending.ANSWERED, "42")
    seen = told.messages[1].content
    assert seen.startswith("line 0\nline 1\n")
    assert seen.endswith("line 19999\n")
    (left_out,) = re.findall(r"\n\[\.\.\. (\d+) characters left out \.\.\.\]\n", seen)
    shown = len(seen) - len(f"\n[... {left_out} characters left out ...]\n")
    assert shown + int(left_out) == len(huge)
    # what fits is shown: all but what is kept for the next turn
    assert len(told.token_ids) > 0.7 * FULL
    assert seen.strip() in TOKENIZER.decode(told.token_ids)


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=3),
    st.integers(60, 700),
    st.integers(1, 400),
    st.integers(0, 200),
)
@settings(max_examples=60, deadline=None)
def test_no_stream_is_ever_longer_than_its_context(lengths, max_context, cap, each):
    async def reply(message):
        return [Message(role="user", content="é" * (length // 2)) for length in lengths]

    limits = Limits(
        max_response_tokens=cap, max_context=max_context, max_turns=4, observation_tokens=each
    )
    told = asyncio.run(episode(says("1", "2", "3", "4"), reply, limits))
    assert len(told.token_ids) <= max_context
    assert told.num_sampled <= cap


async def test_where_nothing_of_an_observation_fits_the_episode_ends_by_the_full_context():
    prompt = len(RENDER.opening(make_task().messages))
    limits = replace(LIMITS, max_context=prompt + 40)
    told = await episode(says("cat", "42"), observes("x" * 1000), limits)
    assert told.ending is Ending.TRUNCATED_CONTEXT
    assert told.ending.is_truncated
    assert [message.content for message in told.messages] == ["cat"]


async def test_an_observation_may_be_bounded_by_itself():
    limits = replace(LIMITS, observation_tokens=100)
    told = await episode(says("cat", "42"), observes("x" * 500 + "é" * 100), limits)
    seen = told.messages[1].content
    assert 60 < len(TOKENIZER.encode(seen)) <= 100
    assert "characters left out" in seen


async def test_calls_are_read_from_the_turn_and_from_nothing_that_it_thinks():
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    seen = []

    async def reply(message):
        seen.append(message)
        return [Message(role="user", content="go on")] if len(seen) < 2 else None

    limits = replace(LIMITS, max_response_tokens=500)
    await episode(says(f"<think>{call}</think>{call}", "42"), reply, limits)
    assert all(message.is_sampled for message in seen)
    ((one,), none) = (message.tool_calls for message in seen)
    assert (one.id, one.name, one.arguments, one.error) == ("call00000", "add", '{"a": 1}', "")
    assert none == ()


async def test_a_thought_that_the_prompt_opened_is_told_to_graders_and_is_not_in_the_stream():
    opens = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    render = renderer(make_tokenizer(opens), "chat")
    call = '<tool_call>{"name": "add"}</tool_call>'
    told = await play(
        make_task(),
        observes(),
        says(f"maybe \\boxed{{7}} {call}").generate,
        render,
        LIMITS,
        seed=7,
        key=(5, 2, 0),
    )
    (turn,) = told.messages
    assert told.reply == turn.raw == turn.text == f"<think>maybe \\boxed{{7}} {call}"
    assert (turn.reasoning, turn.content, turn.tool_calls) == (f"maybe \\boxed{{7}} {call}", "", ())
    assert TOKENIZER.decode(told.token_ids[told.sampled]) == f"maybe \\boxed{{7}} {call}<|im_end|>"
    assert extract(told.reply) == ""


async def test_turns_run_out():
    told = await episode(says("1", "2", "3"), observes(*"abcd"))
    assert told.ending is Ending.TRUNCATED_TURNS
    assert [message.content for message in told.messages] == ["1", "a", "2", "b", "3"]


async def test_a_prompt_without_room_for_a_reply_is_refused():
    with pytest.raises(ValueError, match=r"the prompt of arithmetic/17\+25 is \d+ tokens long"):
        await episode(says("42"), observes(), replace(LIMITS, max_context=10))


async def test_every_turn_of_every_try_draws_from_a_stream_of_its_own():
    seeds = []

    def writes(request):
        seeds.append(request.seed)
        return [END]

    for attempt in ((5, 2, 0), (5, 2, 1), (5, 3, 0)):
        engine = ScriptedEngine(writes)
        await play(
            make_task(), observes("no"), engine.generate, RENDER, LIMITS, seed=7, key=attempt
        )
    assert len(set(seeds)) == 6
    assert seeds[0] == request_seed(7, (5, 2, 0, 0))


def test_seeds_are_the_same_for_ever():
    assert request_seed(0, (0, 0, 0, 0)) == 268_742_502_790_376_492
    assert request_seed(1, (0, 0, 0, 0)) != request_seed(0, (1, 0, 0, 0))
    assert all(0 <= request_seed(s, (1, 2, 3, 4)) < 2**63 for s in range(100))
