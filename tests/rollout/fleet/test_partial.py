"""A reply in pieces is what it would be in one, but for its draws; every token keeps its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request
from munro.rollout.fleet.breaker import Patience
from munro.rollout.fleet.partial import joined, piece_of
from munro.rollout.router import Router
from munro.rollout.transformers_engine import TransformersEngine
from tests.base_model.tiny_munro import tiny_model
from tests.rollout.builders import ScriptedEngine
from tests.rollout.tiny_llama import (
    CONTEXT,
    HAIR,
    assert_nuclei_are_exact,
    mismatch,
    requests,
    tiny_llama,
)

QUICK = Patience(deadline_s=60, patience_s=60, backoff_s=0.001, backoff_max_s=0.01)
TEXT = [*range(100, 130), 2]


def writes(request):
    """The next tokens of TEXT, which has begun in the prompt."""
    return TEXT[len(request.prompt_ids) - 1 :]


def request(cap=50, **more):
    return Request(
        key=(1, 2, 3, 4),
        prompt_ids=[1],
        max_tokens=cap,
        seed=7,
        top_p=0.9,
        top_k=4,
        stop_token_ids=(2,),
        **more,
    )


class Dies(ScriptedEngine):
    """Answers so many requests, and never again."""

    def __init__(self, answers, **more):
        super().__init__(writes, **more)
        self.left, self.asked = answers, []

    async def generate(self, requests):
        self.asked += [(len(one.prompt_ids), one.max_tokens, one.seed) for one in requests]
        if self.left == 0:
            raise PolicyError("its process died")
        self.left -= 1
        return await super().generate(requests)


async def test_what_a_dead_server_wrote_is_gone_on_with_elsewhere():
    servers = Dies(2, version=3), ScriptedEngine(writes, version=4)
    both = {f"server-{place}": one for place, one in enumerate(servers)}
    (done,) = await Router(both, QUICK, piece=8).generate([request()])
    assert done.token_ids.tolist() == TEXT
    assert done.versions.tolist() == [3] * 16 + [4] * 15
    assert done.kept.starts.tolist() == list(range(0, 63, 2))
    assert done.kept.ids.tolist() == [each for token in TEXT for each in (token, 0)]
    assert done.logp.tolist() == [-0.25] * 31
    assert done.stopped
    assert [prompt for prompt, _, _ in servers[0].asked] == [1, 9, 17]
    assert len({seed for _, _, seed in servers[0].asked}) == 3


@pytest.mark.parametrize("cap", [5, 8, 9, 16, 30, 31, 40])
async def test_pieces_end_where_the_whole_would(cap):
    (one,) = await Router({"server-0": ScriptedEngine(writes)}, QUICK, piece=8).generate(
        [request(cap)]
    )
    (whole,) = await Router({"server-0": ScriptedEngine(writes)}, QUICK).generate([request(cap)])
    assert one.token_ids.tolist() == whole.token_ids.tolist()
    assert one.stopped == whole.stopped


def test_a_reply_in_one_piece_is_the_reply():
    assert piece_of(request(50), None, 64, 0) == request(50)


async def in_pieces(model, folder, asked):
    model.save_pretrained(folder)
    engine = TransformersEngine(str(folder), RolloutConfig(), seed=0, max_context=CONTEXT)
    done = await Router({"server-0": engine}, QUICK, piece=4).generate(asked)
    assert engine.load().generated == sum(len(one.token_ids) for one in done)
    await engine.close()
    return done


async def test_every_token_of_a_real_model_has_the_log_prob_and_nucleus_of_its_pass(tmp_path):
    model, asked = tiny_llama(tied=True), requests(2, max_tokens=11)
    done = await in_pieces(model, tmp_path / "model", asked)
    assert {len(one.token_ids) for one in done} == {11}
    assert mismatch(model, asked, done) < HAIR
    assert_nuclei_are_exact(model, asked, done)


async def test_every_token_of_a_real_mixture_has_the_experts_of_its_pass(tmp_path):
    model = tiny_model(max_position_embeddings=CONTEXT)
    asked = [Request(key=(0,), prompt_ids=[3, 1, 4], max_tokens=10, seed=5)]
    (done,) = await in_pieces(model, tmp_path / "model", asked)
    with torch.no_grad():
        read = model(torch.tensor([[3, 1, 4, *done.token_ids.tolist()]]))
    experts = read.routing.experts[0].numpy().astype(np.int16)
    experts[-1] = -1
    np.testing.assert_array_equal(done.routed_experts, experts)


def test_experts_of_two_pieces_are_those_of_the_passes_that_read_the_tokens():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 8, size=(9, 2, 2)).astype(np.int16)  # of 9 tokens, all read but the last
    rows[-1] = -1
    engine = ScriptedEngine(writes)
    first = engine._complete(request(4))
    second = engine._complete(request(4))
    unread = np.full((1, 2, 2), -1, np.int16)
    first = replace(first, routed_experts=np.concatenate([rows[:4], unread]))
    for told_from in (0, 4):  # an engine may tell more than it was asked for
        more = replace(second, routed_experts=rows[told_from:])
        assert np.array_equal(joined(first, more).routed_experts, rows)
    piece = piece_of(request(9), first, 4, 1)
    assert piece.routed_from == len(piece.prompt_ids) - 1
