"""The proof of a weight update, on a real engine and a real learner."""

import asyncio
from typing import ClassVar

import pytest
import torch

from munro.base_model.model.tokenizer import train_tokenizer
from munro.machine.climb.publisher import Publisher, SyncBroken
from munro.rl.config import LearnerConfig, SyncConfig
from munro.rl.learner import Learner
from munro.rollout.config import RolloutConfig
from munro.rollout.vllm.engine import VllmEngine
from munro.rollout.weights import SharedMemoryWeights
from tests.rollout.tiny_llama import CONTEXT, HAIR, VOCAB, nudge, tiny_llama

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


class Sender:
    """A learner with its way to publish, whose weights are moved by hand."""

    def __init__(self, model, folder):
        config = LearnerConfig(learning_rate=1e-3, threads=1)
        self.learner = Learner(model, config, seed=0)
        self.transfer = SharedMemoryWeights(folder)

    def publish(self, version):
        with torch.no_grad():
            nudge(self.learner._policy.model, seed=version)
        return self.learner.publish(self.transfer, version)

    def require_alive(self):
        pass

    def score(self, streams):
        return self.learner.score(streams)


class OneServer:
    """The engine as the only server."""

    aside: ClassVar[dict[str, str]] = {}

    def __init__(self, engine):
        self.engine, self.loop = engine, asyncio.new_event_loop()

    def update_weights(self, source, *, drain, deadline_s, meanwhile):
        self.loop.run_until_complete(self.engine.update_weights(source, drain=drain))

    def score_each(self, streams, deadline_s):
        async def score():
            return [await self.engine.score(stream) for stream in streams]

        return {"server-0": self.loop.run_until_complete(score())}

    def close(self):
        self.loop.run_until_complete(self.engine.close())
        self.loop.close()


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    tiny_llama(tied=True).save_pretrained(folder)
    texts = ["say what you like, and say it again"] * 4
    train_tokenizer(texts, vocab_size=VOCAB, max_context=CONTEXT).save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=[True, False], ids=["repacked", "left stale"])
def server(request, model):
    config = RolloutConfig(cpu_kv_cache_gb=0.1, nucleus_candidates=32)
    engine = VllmEngine(model, config, seed=0, max_context=CONTEXT, repack=request.param)
    server = OneServer(engine)
    yield server, request.param
    server.close()


def test_updates_are_proven_and_a_server_with_stale_packed_weights_stops_the_run(
    server, model, tmp_path
):
    receivers, is_repacked = server
    sender = Sender(model, tmp_path / "weights")
    publisher = Publisher(
        sender,
        receivers,
        SyncConfig(proof_bound=1e-3),
        60,
        VOCAB,
        note=lambda _: None,
        tell=lambda _: None,
    )
    if is_repacked:
        gaps = [publisher.publish(version)["sync/proof"] for version in range(1, 6)]
        assert max(gaps) < HAIR
    else:
        with pytest.raises(SyncBroken, match=r"server-0 and the learner disagree by \S+ nats"):
            publisher.publish(1)
