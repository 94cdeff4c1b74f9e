"""Our own architecture in real vLLM on the CPU: same log-probs, its experts told, new weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch

from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request
from munro.rollout.transformers_engine import TransformersEngine
from munro.rollout.vllm.engine import VllmEngine
from tests.base_model.tiny_munro import SIZES, tiny_model
from tests.rollout.tiny_llama import assert_same, nudge, publish
from tests.rounding import FACTOR, bound, depth

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1200),
    # vLLM's and its dependencies' own, met while they are imported
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CONTEXT = 160
SMALL = RolloutConfig(max_batch=8, nucleus_candidates=40, cpu_kv_cache_gb=0.05)


def model() -> Any:
    """Window 8, so that most of every sequence lies outside it."""
    return tiny_model(
        sizes={"head_dim": 32, "window": 8, "num_shared_experts": 1},
        max_position_embeddings=CONTEXT,
        router_bias=True,
    )


HAIR = bound(depth(model(), CONTEXT), scale=16.0) / FACTOR
"""By how much rounding moves a log-prob on average, were all logits of the model that large."""


@dataclass
class Served:
    """An engine, and the model whose weights it should be serving."""

    engine: VllmEngine
    model: Any
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("munro")
    made = model()
    made.model.layers[1].mlp.router.bias.uniform_(-0.1, 0.1)
    made.save_pretrained(folder / "model")
    engine = VllmEngine(str(folder / "model"), SMALL, seed=0, max_context=CONTEXT)
    yield Served(engine, made, folder)
    await engine.close()


def asked(num: int, *, length: int = 70, max_tokens: int = 24) -> list[Request]:
    """Groups of four share a prompt of several blocks of the cache."""
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, SIZES["vocab_size"], length + i).tolist() for i in range(num)]
    return [
        Request(
            key=(i,), prompt_ids=prompts[i // 4], max_tokens=max_tokens, seed=i, stop_token_ids=(3,)
        )
        for i in range(num)
    ]


def compare(
    model: Any, requests: Sequence[Request], done: Sequence[Completion], *, replay: bool
) -> tuple[float, float]:
    """Mean |log-prob difference| to the model, and the share of tokens with other experts."""
    differences: list[float] = []
    others: list[float] = []
    for request, one in zip(requests, done, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *one.token_ids.tolist()]])
        assert one.routed_experts is not None
        assert one.routed_experts.shape == (ids.shape[1], 3, 2)
        assert (one.routed_experts[-1] == -1).all()
        recorded = torch.from_numpy(one.routed_experts).long()[None]
        with torch.no_grad():
            told = model(ids, routed_experts=recorded if replay else None)
            free = model(ids).routing.experts[0, :-1]
        logp = told.logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        differences += (logp[-len(one.logp) :] - torch.from_numpy(one.logp)).abs().tolist()
        others += (free != recorded[0, :-1]).any(-1).float().flatten().tolist()
    return float(np.mean(differences)), float(np.mean(others))


async def test_log_probs_and_experts_are_the_model_s_beyond_the_window_and_over_shared_prefixes(
    served: Served,
) -> None:
    requests = asked(16)
    done = await served.engine.generate(requests)

    difference, others = compare(served.model, requests, done, replay=True)

    assert difference < HAIR
    assert others < 0.01
    # the same again: now every prompt but its last block comes from the prefix cache
    late = await asyncio.gather(*(served.engine.generate([request]) for request in requests))
    difference, others = compare(served.model, requests, [one for (one,) in late], replay=True)
    assert difference < HAIR
    assert others < 0.01


@pytest.mark.slow
async def test_a_lockstep_call_gives_the_same_bits_again(served: Served) -> None:
    first = await served.engine.generate(asked(12))
    second = await served.engine.generate(asked(12))
    assert_same(first, second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.routed_experts, other.routed_experts)


@pytest.mark.slow
async def test_requests_set_back_for_want_of_cache_tell_every_token_once(
    tmp_path: Path,
) -> None:
    made = model()
    made.save_pretrained(tmp_path / "model")
    # six layers of 2 * 2 * 32 floats a token: room for some four hundred tokens
    tight = SMALL.model_copy(update={"cpu_kv_cache_gb": 0.0012})
    engine = VllmEngine(str(tmp_path / "model"), tight, seed=0, max_context=CONTEXT)
    requests = asked(12, length=40, max_tokens=100)
    done = await engine.generate(requests)
    await engine.close()

    assert compare(made, requests, done, replay=True)[0] < HAIR


@pytest.mark.slow
async def test_new_weights_arrive_whole_and_without_repacking_the_tied_head_they_do_not(
    served: Served,
) -> None:
    requests = asked(8)
    for version, repack in ((1, True), (2, False), (3, True)):
        nudge(served.model, seed=version)
        served.model.model.layers[3].mlp.router.bias.uniform_(-0.1, 0.1)
        served.engine.repack = repack
        source = publish(served.model, served.folder / "weights", version)
        await served.engine.update_weights(source, drain=True)
        done = await served.engine.generate(requests)
        difference, _ = compare(served.model, requests, done, replay=True)
        assert (difference < HAIR) is repack


@pytest.mark.slow
async def test_weights_swapped_under_running_requests_leave_every_token_its_experts(
    served: Served,
) -> None:
    requests = asked(8, max_tokens=80)
    running = asyncio.ensure_future(served.engine.generate(requests))
    await asyncio.sleep(0.3)
    nudge(served.model, seed=9)
    source = publish(served.model, served.folder / "weights", 9)
    await served.engine.update_weights(source, drain=False)

    for request, one in zip(requests, await running, strict=True):
        assert one.routed_experts is not None
        assert len(one.routed_experts) == len(request.prompt_ids) + len(one.token_ids)
        assert (one.routed_experts[:-1] >= 0).all()


@pytest.mark.slow
async def test_replay_takes_out_the_difference_that_other_choices_make(served: Served) -> None:
    requests = asked(8)
    done = await served.engine.generate(requests)
    other = model()
    other.load_state_dict(served.model.state_dict())
    with torch.no_grad():
        for layer in (1, 3, 5):
            router = other.model.layers[layer].mlp.router
            router.bias += 0.02 * torch.randn(6, generator=torch.Generator().manual_seed(layer))

    replayed, moved = compare(other, requests, done, replay=True)
    free, _ = compare(other, requests, done, replay=False)

    # the bias moves the choice but not the gates: replayed, nothing is left of it
    assert moved > 0.02
    assert replayed < HAIR
    assert free > 100 * replayed


@pytest.mark.slow
async def test_the_debugging_engine_tells_the_same(served: Served) -> None:
    served.model.save_pretrained(served.folder / "again")
    plain = TransformersEngine(str(served.folder / "again"), SMALL, seed=0, max_context=CONTEXT)
    requests = asked(8)
    done = await plain.generate(requests)
    await plain.close()

    difference, others = compare(served.model, requests, done, replay=True)
    assert difference < HAIR
    assert others < 0.01
