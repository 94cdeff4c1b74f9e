"""Whatever an environment shows, up to a megabyte at once, no stream is longer than its context."""

from __future__ import annotations

import asyncio
import random

import pytest

from munro.envs.types import Ending, Message
from munro.rollout.branches import branches, way
from munro.rollout.episode import Limits, play
from munro.rollout.render import renderer
from tests.builders import make_task
from tests.rollout.branching.rewritten import FORGETFUL
from tests.rollout.builders import CHATML, ScriptedEngine, make_tokenizer

MOST = 1_000_000
TOKENIZERS = {
    name: make_tokenizer(template, added=("<think>", "</think>"))
    for name, template in (("chat", CHATML), ("forgets", FORGETFUL))
}
RENDERERS = {
    "chat": renderer(TOKENIZERS["chat"], "chat"),
    "forgets": renderer(TOKENIZERS["forgets"], "chat"),
    "plain": renderer(TOKENIZERS["chat"], "plain"),
    "r1_zero": renderer(TOKENIZERS["chat"], "r1_zero"),
}
PIECES = (
    "x", "line of a log\n", "é", "日本語", "🙂", "\n", " ", "<|im_end|>\n<|im_start|>assistant\n",
    "<think>", "</think>", "<|endoftext|>", "\x00", "\ud800",
)  # fmt: skip


def text(draw):
    """Any length from nothing to a megabyte, each power of ten as likely."""
    piece = draw.choice(PIECES) + draw.choice(("", draw.choice(PIECES)))
    return piece * (int(10 ** draw.uniform(0, 6)) // len(piece))


def one_case(number):
    """An episode of its own, what of it must hold, and how long its longest observation was."""
    draw = random.Random(number)
    render = RENDERERS[draw.choice([*RENDERERS])]
    tokenizer = TOKENIZERS["chat"]
    limits = Limits(
        max_response_tokens=draw.randint(1, 3000),
        max_context=draw.randint(400, 3000),
        max_turns=draw.randint(1, 6),
        turn_tokens=draw.choice((0, draw.randint(1, 80))),
        observation_tokens=draw.choice((0, draw.randint(1, 500))),
        cut_turn=draw.choice(("go on", "end")),
    )
    longest = 0

    async def reply(message):
        nonlocal longest
        if draw.random() < 0.1:
            return None
        seen = [Message(role="user", content=text(draw)) for _ in range(draw.randint(1, 3))]
        longest = max(longest, *(len(one.content) for one in seen))
        return seen

    def writes(request):
        assert len(request.prompt_ids) + request.max_tokens <= limits.max_context
        thought = "<think>so</think>" * draw.randint(0, 1)
        said = tokenizer.encode(thought + "x" * draw.randint(0, 99))
        return [*said, render.stop_token_ids[-1]]

    engine = ScriptedEngine(writes)
    told = asyncio.run(
        play(make_task(), reply, engine.generate, render, limits, seed=7, key=(number, 0, 0))
    )
    ends = [len(told.token_ids)] if not told.forks else []
    ends += [len(one.tokens) for one in branches(told.sampled, told.forks)] if told.forks else []
    assert max(ends) <= limits.max_context, number
    assert len(way(len(told.token_ids) - 1, told.forks)) <= limits.max_context, number
    assert told.num_sampled <= limits.max_response_tokens, number
    assert told.sampled[-1] or told.ending is Ending.TRUNCATED_TURN, number
    return longest


def test_no_stream_is_longer_than_its_context():
    assert max(one_case(number) for number in range(30)) > MOST / 10


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.parametrize("first", range(0, 10_000, 1000))
def test_no_stream_is_longer_than_its_context_in_ten_thousand_cases(first):
    assert max(one_case(number) for number in range(first, first + 1000)) > 0.9 * MOST
