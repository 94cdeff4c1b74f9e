"""A base in 4 bits, in the learner and in vLLM. Not run so far: it wants a GPU and bitsandbytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch

from munro.base_model.adapters import attach
from munro.base_model.adapters.config import LoraConfig
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rollout.adapters import Adapters, SharedMemoryAdapters
from munro.rollout.config import RolloutConfig
from munro.rollout.inference import build_engine
from tests.rl.builders import make_model, random_group, save_model

pytestmark = [pytest.mark.gpu, pytest.mark.vllm, pytest.mark.timeout(900)]

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]


def test_learner_and_engine_agree_on_a_base_in_four_bits_before_and_after_steps(tmp_path: Path):
    pytest.importorskip("bitsandbytes")
    shape = {"hidden_size": 256, "intermediate_size": 512, "initializer_range": 0.05}
    folder = save_model(tmp_path / "model", make_model(**shape))
    lora = LoraConfig(rank=8, base_bits=4)
    config = LearnerConfig(learning_rate=1e-3, token_budget=512, lora=lora)
    learner = Learner(folder, config, seed=0)
    model = learner._policy.model
    adapters = Adapters(
        rank=8,
        alpha=lora.alpha,
        modules=attach.suffixes(attach.choose(model, ())),
        versions=3,
        base_bits=4,
    )
    engine = build_engine(folder, RolloutConfig(), seed=0, max_context=128, adapters=adapters)
    transfer = SharedMemoryAdapters(tmp_path / "weights", adapters)
    rng = np.random.default_rng(0)

    async def gaps() -> list[float]:
        found = []
        for version in range(1, 4):
            source = learner.publish(transfer, version)
            assert source is not None
            await engine.update_weights(source, drain=True)
            ours, theirs = learner.score([TEXT])[0], await engine.score(TEXT)
            found.append(float(np.abs(ours - theirs)[1:].mean()))
            learner.step(build_batch([random_group(rng, index=version)]), clip=Clip())
        await engine.close()
        return found

    assert max(asyncio.run(gaps())) < 0.05
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in trained)
    assert not any(
        p.dtype == torch.float32 for n, p in model.named_parameters() if "base_layer" in n
    )
