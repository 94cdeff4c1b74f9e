"""A learner's step asks the device for numbers once or twice, and a micro-batch never.

Counted by operators on the CPU; on a GPU, where there is one, torch itself refuses to wait.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from munro.base_model.training.sharding import Alone
from munro.rl import passes as passes_
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.passes import UNBOUNDED
from munro.rl.policy.device import on_device
from munro.rl.policy.packing import Layout
from tests.rl.builders import random_group, save_model
from tests.syncs import Synchronisations

CLIP = Clip(eps=0.6)
CONFIG = LearnerConfig(learning_rate=1e-2, token_budget=64, logits_chunk=16, threads=1)
LOSSES = ["policy", "cispo", "dapo", "dr_grpo", "gspo"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("model") / "model")


def some_batch(**options):
    rng = np.random.default_rng(0)
    return build_batch([random_group(rng, index=i, **options) for i in range(3)])


def learner_of(folder: str, **changes) -> Learner:
    config = LearnerConfig.model_validate(CONFIG.model_dump() | changes)
    return Learner(folder, config, seed=0, temperature=0.8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layout", [Layout.SHARED, Layout.PADDED])
def test_no_micro_batch_makes_the_host_wait(folder, loss, layout):
    learner = learner_of(folder, loss=loss, kl_weight=0.1, dropout=0.0)
    passes = replace(learner._passes, layout=layout)
    batch = some_batch(nucleus=5)
    (micro, *_) = [
        on_device(made, passes.world.device, vocabulary=passes.policy.vocabulary)
        for made in batch.micro_batches(64, layout=layout)
    ]
    with Synchronisations() as found:
        loss, _ = passes._loss(micro, CLIP, batch, None)
        loss.backward()
    assert found.total == 0, found.counts


@pytest.mark.parametrize(
    "options", [{"nucleus": 5}, {"nucleus": 0}, {"nucleus": 90}], ids=["near", "whole", "wide"]
)
def test_a_step_of_many_micro_batches_waits_at_most_three_times(folder, options):
    learner, batch = learner_of(folder), some_batch(num_attempts=16, **options)
    assert len(batch.planned(64, layout=Layout.SHARED, width=UNBOUNDED)) >= 3
    with Synchronisations() as found:
        learner.step(batch, clip=CLIP)
    assert 0 < found.total <= 3, found.counts


@pytest.mark.parametrize("once", [True, False])
def test_gradients_are_summed_over_the_ranks_in_a_step_s_last_pass(folder, once, monkeypatch):
    told: list[bool] = []
    monkeypatch.setattr(passes_, "reduce_next", lambda _, reduces: told.append(reduces))
    learner, batch = learner_of(folder, reduce_once=once), some_batch(num_attempts=16)
    own = len(batch.planned(64, layout=learner._passes.layout, width=UNBOUNDED))
    # another rank has two micro-batches more, so that this one must keep pace
    monkeypatch.setattr(Alone, "largest", lambda self, number: number + 2)
    learner._passes.gradients(batch, CLIP)
    assert own > 1
    assert told == ([False] * (own + 1) + [True] if once else [True] * (own + 2))


def random_qwen(folder: Path) -> str:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    config = Qwen3Config(vocab_size=1024, tie_word_embeddings=True, **shape, **heads)
    return save_model(folder, Qwen3ForCausalLM(config))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
@pytest.mark.parametrize("share", [True, False], ids=["shared", "padded"])
@pytest.mark.parametrize("nucleus", [0, 5], ids=["whole", "near"])
def test_on_a_gpu_a_micro_batch_never_waits(tmp_path, share, nucleus):
    path = random_qwen(tmp_path / "model")
    learner = learner_of(path, share_prompts=share, token_budget=256)
    batch = some_batch(nucleus=nucleus, num_attempts=6, num_prompt=20)
    learner.step(batch, clip=CLIP)  # compiles
    passes = learner._passes
    made = [
        on_device(micro, passes.world.device, vocabulary=passes.policy.vocabulary)
        for micro in batch.micro_batches(256, layout=passes.layout, width=passes._row_width())
    ]
    learner._policy.train()
    assert made
    with passes._working():
        torch.cuda.set_sync_debug_mode("error")
        try:
            with pytest.raises(RuntimeError, match="synchronizing"):  # so it is looked for at all
                made[0].advantages.sum().item()
            for micro in made:
                loss, _ = passes._loss(micro, CLIP, batch, None)
                loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    grads = [weight.grad for weight in learner._policy.parameters()]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads)
