"""Adapters on mixtures of experts in real vLLM: ours, whose experts are told and repeated, and
another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch

from munro.base_model.adapters import attach
from munro.envs.types import KeptTokens
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.device import on_device
from munro.rl.policy.packing import Layout, lay_out
from munro.rl.policy.sequences import Bundle, TrainingSequence
from munro.rollout.config import RolloutConfig
from munro.rollout.vllm.engine import VllmEngine
from tests.rl.builders import save_model
from tests.rollout.tiny_adapters import LORA, adapted, move, publish, told
from tests.rollout.tiny_llama import CONTEXT as LONGEST
from tests.rollout.tiny_llama import HAIR as LLAMA_HAIR
from tests.rollout.tiny_llama import mismatch, requests, tiny_experts
from tests.rollout.vllm.test_model import CONTEXT, HAIR, SMALL, asked, compare, model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
]


@dataclass
class Served:
    """An engine, and the model whose adapter it should be serving."""

    engine: VllmEngine
    model: Any
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("munro")
    made = model()
    made.model.layers[1].mlp.router.bias.uniform_(-0.1, 0.1)
    save_model(folder / "model", made)
    adapted(made, folder / "model")
    engine = VllmEngine(
        str(folder / "model"), SMALL, seed=0, max_context=CONTEXT, adapters=told(made)
    )
    for version in (1, 2):
        move(made, seed=version)
        source = publish(made, folder / "weights", version)
        await engine.update_weights(source, drain=True)
    yield Served(engine, made, folder)
    await engine.close()


async def test_log_probs_and_experts_are_those_of_the_adapted_model(served: Served) -> None:
    layers = {name.split(".")[-3] for name in attach.weights_of(served.model)}
    assert {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"} <= layers
    assert "router" not in layers
    done = await served.engine.generate(asked(16))
    difference, others = compare(served.model, asked(16), done, replay=True)
    assert difference < HAIR
    assert others < 0.01
    # the same again: now every prompt but its last block comes from the prefix cache
    late = await asyncio.gather(*(served.engine.generate([request]) for request in asked(16)))
    assert compare(served.model, asked(16), [one for (one,) in late], replay=True)[0] < HAIR
    with attach.left_out(served.model):
        base, moved = compare(served.model, asked(16), done, replay=True)
    assert base > 100 * HAIR  # an adapter that did nothing would prove nothing
    assert moved > 0.01


async def test_a_learner_repeats_the_engine_s_experts_under_its_adapter(served: Served) -> None:
    done = await served.engine.generate(asked(4))
    config = LearnerConfig(learning_rate=1e-3, threads=1, token_budget=256, lora=LORA)
    learner = Learner(served.folder / "model", config, seed=0)
    saved = {name: w.detach() for name, w in attach.weights_of(served.model).items()}
    attach.set_weights(learner._policy.model, saved)
    for request, one in zip(asked(4), done, strict=True):
        ids = np.array([*request.prompt_ids, *one.token_ids], np.int32)
        prompt = len(request.prompt_ids)
        logp = np.zeros(len(ids), np.float32)
        logp[prompt:] = one.logp
        sequence = TrainingSequence(
            token_ids=ids,
            sampled=np.arange(len(ids)) >= prompt,
            behaviour_logp=logp,
            kept=KeptTokens.nothing(len(ids)),
            advantage=1.0,
            routed_experts=one.routed_experts,
        )
        bundle = Bundle(num_shared=0, sequences=(sequence,))
        (micro,) = lay_out([bundle], 256, layout=Layout.PADDED, width=1)
        policy = learner._policy.eval()
        there = on_device(micro, torch.device("cpu"), vocabulary=policy.vocabulary)
        with torch.no_grad():
            ours, _ = policy(there, temperature=1.0, replay=True)
        assert np.abs(ours.numpy() - micro.behaviour_logp).mean() < HAIR


async def test_another_family_s_mixture_gets_one_on_its_attention(tmp_path: Path) -> None:
    made = tiny_experts()
    made.save_pretrained(tmp_path / "model")
    adapted(made, tmp_path / "model")
    config = RolloutConfig(max_batch=16, nucleus_candidates=64, cpu_kv_cache_gb=0.25)
    engine = VllmEngine(
        str(tmp_path / "model"), config, seed=0, max_context=LONGEST, adapters=told(made)
    )
    try:
        move(made, seed=1)
        await engine.update_weights(publish(made, tmp_path / "weights", 1), drain=True)
        done = await engine.generate(requests(8))
        assert mismatch(made, requests(8), done) < LLAMA_HAIR
        with attach.left_out(made):
            assert mismatch(made, requests(8), done) > 100 * LLAMA_HAIR
    finally:
        await engine.close()
