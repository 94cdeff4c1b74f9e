"""The transformers engine, given new weights in place by whoever holds them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from munro.base_model.training.sharding import Alone
from munro.rewards.errors import PolicyError
from munro.rl.shards import HeldWeights
from munro.rollout.config import RolloutConfig
from munro.rollout.transfer.sending import GroupWeights
from munro.rollout.transformers_engine import TransformersEngine
from tests.base_model.tiny_munro import tiny_model
from tests.rollout.tiny_llama import (
    CONTEXT,
    HAIR,
    mismatch,
    nudge,
    requests,
    tiny_experts,
    tiny_llama,
)

CPU = torch.device("cpu")


class Learner:
    """A model, and what it publishes."""

    def __init__(self, model, folder: Path) -> None:
        model.save_pretrained(folder)
        self.model = type(model).from_pretrained(folder)
        self._held = HeldWeights(self.model, Alone())
        self._transfer = GroupWeights(within_s=240.0, bucket_bytes=64 << 10)

    def publish(self, version: int):
        return self._transfer.publish_shards(self._held.now(), version, rank=0, device=CPU)


def engine_of(folder: Path) -> TransformersEngine:
    return TransformersEngine(str(folder), RolloutConfig(), seed=0, max_context=CONTEXT)


@pytest.mark.parametrize("kind", ["tied", "experts", "munro"])
async def test_after_every_update_the_new_weights_answer(kind: str, tmp_path: Path) -> None:
    makes = {"experts": tiny_experts, "munro": lambda: tiny_model(max_position_embeddings=CONTEXT)}
    model = makes.get(kind, lambda: tiny_llama(tied=True))()
    learner = Learner(model, tmp_path / "model")
    engine = engine_of(tmp_path / "model")
    for version in (1, 2):
        nudge(learner.model, seed=version)
        await engine.update_weights(learner.publish(version), drain=True)
        ours = learner.model.state_dict()
        theirs = engine._model.state_dict()
        assert all(torch.equal(theirs[name], ours[name]) for name in ours)
        assert await engine.version() == version
        if kind != "munro":  # its routing makes a request depend on its batch
            done = await engine.generate(asked := requests(8))
            assert mismatch(learner.model, asked, done) < HAIR
    await engine.close()


async def test_a_torn_engine_answers_nothing_until_a_version_is_whole(
    tmp_path: Path, monkeypatch
) -> None:
    learner = Learner(tiny_llama(tied=True), tmp_path / "model")
    engine = engine_of(tmp_path / "model")
    await engine.update_weights(learner.publish(1), drain=True)
    corrupt = torch.Tensor.copy_
    source = learner.publish(2)
    with monkeypatch.context() as patch:
        # a bit that flips on the way to its place
        patch.setattr(torch.Tensor, "copy_", lambda to, by: corrupt(to, by).add_(to.dim() > 1))
        with pytest.raises(PolicyError, match=r"does not hold what was written|its checksum"):
            await engine.update_weights(source, drain=True)
    assert await engine.version() == -1
    with pytest.raises(PolicyError, match="version 2 stopped half-way"):
        await engine.generate(requests(1))
    with pytest.raises(PolicyError, match="version 2 stopped half-way"):
        await engine.score([1, 2, 3])
    await engine.update_weights(source, drain=True)
    assert await engine.version() == 2
    assert len(await engine.generate(requests(2))) == 2
    await engine.close()


async def test_another_models_weights_are_refused_and_the_old_ones_go_on(tmp_path: Path) -> None:
    learner = Learner(tiny_llama(tied=False), tmp_path / "untied")
    tiny_llama(tied=True).save_pretrained(tmp_path / "tied")
    engine = engine_of(tmp_path / "tied")
    with pytest.raises(PolicyError, match=r"lm_head.weight: the learner has it, and the server's"):
        await engine.update_weights(learner.publish(1), drain=True)
    assert await engine.version() == 0
    assert len(await engine.generate(requests(1))) == 1
    await engine.close()
