"""The proof of an adapter: real learner, real servers, of which one does not do as it was told.

The adapter has moved by far less than `sync.proof_bound`: it is told from its base by what it does.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from munro.base_model.adapters import attach
from munro.base_model.model.tokenizer import train_tokenizer
from munro.machine.climb.publisher import Missed, Publisher, SyncBroken
from munro.rl.config import LearnerConfig, SyncConfig
from munro.rl.learner import Learner
from munro.rollout.adapters import TENSORS, SharedMemoryAdapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import WeightSource
from munro.rollout.inference import build_engine
from tests.rollout.tiny_adapters import LORA, adapted, move, told
from tests.rollout.tiny_llama import CONTEXT, HAIR, VOCAB, tiny_llama

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

LITTLE = 2e-3
"""How much the matrices move: the policy by about a thousandth of a nat."""


class Sender:
    """A learner with its way to publish, whose adapter is moved by hand."""

    def __init__(self, model: str, folder: Path) -> None:
        config = LearnerConfig(learning_rate=1e-3, threads=1, lora=LORA)
        self.learner = Learner(model, config, seed=0)
        self.transfer = SharedMemoryAdapters(folder, told(self.learner._policy.model))
        self.by = LITTLE

    def publish(self, version: int) -> WeightSource:
        if version > 1:  # the first adapter is its base
            move(self.learner._policy.model, seed=version, by=self.by)
        source = self.learner.publish(self.transfer, version)
        assert source is not None
        return source

    def require_alive(self):
        pass

    def score(self, streams, *, base=False):
        return self.learner.score(streams, base=base)


class Servers:
    """Two engines, the second of which may be at fault."""

    aside: ClassVar[dict[str, str]] = {}

    def __init__(self, engines) -> None:
        self.engines, self.loop = engines, asyncio.new_event_loop()
        self.skips, self.lacks = False, ""

    def update_weights(self, source, *, drain, deadline_s, meanwhile):
        for name, engine in self.engines.items():
            if name == "server-1" and self.skips:
                continue
            mine = half(source, self.lacks) if name == "server-1" and self.lacks else source
            self.loop.run_until_complete(engine.update_weights(mine, drain=drain))

    def score_each(self, streams, deadline_s, *, base=False):
        async def score(engine):
            return [await engine.score(stream, base=base) for stream in streams]

        return {
            name: self.loop.run_until_complete(score(engine))
            for name, engine in self.engines.items()
        }

    def close(self):
        for engine in self.engines.values():
            self.loop.run_until_complete(engine.close())
        self.loop.close()


def half(source: WeightSource, lacks: str) -> WeightSource:
    """The same adapter, some of whose layers arrived as zeros."""
    folder = Path(source.path).with_name(f"half-{source.version}")
    folder.mkdir()
    tensors = load_file(Path(source.path) / TENSORS)
    assert any(re.search(lacks, name) for name in tensors)
    kept = {n: t * 0 if re.search(lacks, n) else t for n, t in tensors.items()}
    save_file(kept, folder / TENSORS)
    config = (Path(source.path) / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(config)
    return WeightSource(path=str(folder), version=source.version)


@pytest.fixture
def model(tmp_path: Path) -> str:
    folder = tmp_path / "model"
    tiny_llama(tied=True).save_pretrained(folder)
    texts = ["say what you like, and say it again"] * 4
    train_tokenizer(texts, vocab_size=VOCAB, max_context=CONTEXT).save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def servers(request, model: str):
    likeness = adapted(tiny_llama(tied=True), Path(model))
    engines = {
        name: build_engine(
            model,
            RolloutConfig(engine=kind, cpu_kv_cache_gb=0.1, nucleus_candidates=32),
            seed=0,
            max_context=CONTEXT,
            adapters=told(likeness),
        )
        for name, kind in (("server-0", "transformers"), ("server-1", request.param))
    }
    both = Servers(engines)
    yield both
    both.close()


def publisher_of(sender: Sender, servers: Servers) -> Publisher:
    return Publisher(
        sender,
        servers,
        SyncConfig(),
        60,
        VOCAB,
        note=lambda _: None,
        tell=lambda _: None,
        adapter=True,
    )


def figures(version: int) -> str:
    """What is said, as a pattern; its groups are the figures."""
    return (
        rf"after weight update {version}, server-1 and the learner disagree by (\S+) nats per "
        r"token \(median of 63\), where the adapter does (\S+) and the base alone differs by "
        r"(\S+): the server does not apply the whole adapter"
    )


def test_an_adapter_that_is_applied_is_proven_and_one_that_is_not_stops_the_run_with_the_figure(
    model: str, servers: Servers, tmp_path: Path
):
    sender = Sender(model, tmp_path / "weights")
    publisher = publisher_of(sender, servers)
    assert publisher.publish(1) == {"sync/proof": pytest.approx(0, abs=HAIR), "sync/adapter": 0}
    for version in (2, 3):
        found = publisher.publish(version)
        assert found["sync/proof"] < HAIR < found["sync/adapter"] < 0.05
    servers.skips = True
    with pytest.raises(SyncBroken, match=figures(4)) as broken:
        publisher.publish(4)
    gap, moved, noise = (
        float(figure) for figure in re.search(figures(4), str(broken.value)).groups()
    )
    assert noise < HAIR < gap < moved < SyncConfig().proof_bound


def test_one_that_arrived_in_part_stops_the_run_with_the_figure_and_so_does_one_over_the_bound(
    model: str, servers: Servers, tmp_path: Path
):
    sender = Sender(model, tmp_path / "weights")
    publisher = publisher_of(sender, servers)
    for version in (1, 2, 3):
        publisher.publish(version)
    for version, lacks in ((4, "lora_B"), (6, "v_proj"), (8, r"layers\.1")):
        servers.lacks = lacks
        with pytest.raises(SyncBroken, match=figures(version)):
            publisher.publish(version)
        servers.lacks = ""
        publisher.publish(version + 1)  # a whole one is proven again
    # what an adapter does by far is still held to the bound
    sender.by, servers.skips = 0.1, True
    with pytest.raises(SyncBroken, match=r"disagree by \S+ nats per token on 63 tokens"):
        publisher.publish(10)


def missed(moved: float, gap: float, noise: float) -> bool:
    ones = np.ones(64, np.float32)
    return Missed.of(moved * ones, gap * ones, noise * ones).too_much


def test_rounding_is_not_taken_for_an_adapter_that_is_missing():
    assert not missed(moved=1e-3, gap=2e-2, noise=2e-2)  # a server in bfloat16
    assert not missed(moved=0.5, gap=0.03, noise=1e-4)  # a small part of what it does
    assert not missed(moved=1e-6, gap=1e-6, noise=0)  # nothing that matters
    assert missed(moved=1e-3, gap=1e-3, noise=1e-6)
    assert missed(moved=1e-3, gap=3e-4, noise=1e-6)
    assert missed(moved=0.5, gap=0.5, noise=2e-2)
    assert missed(moved=1e-3, gap=float("nan"), noise=1e-6)


def test_one_token_among_other_experts_is_no_reason_to_stop():
    moved, gap, noise = (np.full(64, x, np.float32) for x in (1e-3, 1e-7, 1e-7))
    gap[7] = 0.5
    assert not Missed.of(moved, gap, noise).too_much


def test_a_new_adapter_is_its_base(model: str, tmp_path: Path):
    sender = Sender(model, tmp_path / "weights")
    weights = attach.weights_of(sender.learner._policy.model)
    assert all(torch.equal(w, w * 0) for name, w in weights.items() if "lora_B" in name)
