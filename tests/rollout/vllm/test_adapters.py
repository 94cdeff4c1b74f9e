"""Adapters in a real vLLM on the CPU, and in the transformers engine, against peft itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch

from munro.base_model.adapters import attach
from munro.rewards.errors import PolicyError
from munro.rollout.adapters import SharedMemoryAdapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import SleepingEngine
from munro.rollout.inference import build_engine
from munro.rollout.vllm.launch import adapter_arguments
from tests.rollout.tiny_adapters import adapted, move, publish, told
from tests.rollout.tiny_llama import (
    CONTEXT,
    HAIR,
    VOCAB,
    assert_nuclei_are_exact,
    assert_same,
    mismatch,
    requests,
    tiny_llama,
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
]

IDS = np.random.default_rng(3).integers(2, VOCAB, 60).tolist()


@dataclass
class Pair:
    """An engine, and the model whose adapter it should be serving."""

    engine: SleepingEngine
    model: Any
    folder: Path
    published: int = 0

    async def update(self, *, by: float = 0.1) -> int:
        self.published += 1
        move(self.model, seed=self.published, by=by)
        source = publish(self.model, self.folder / "weights", self.published)
        await self.engine.update_weights(source, drain=True)
        return self.published

    def scores(self) -> np.ndarray:
        """By peft."""
        ids = torch.tensor([IDS])
        with torch.no_grad():
            logp = self.model(ids).logits[0, :-1].log_softmax(-1)
        return logp.gather(-1, ids[0, 1:, None])[:, 0].numpy()

    async def gap(self) -> float:
        return float(np.abs((await self.engine.score(IDS))[1:] - self.scores()).mean())


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["vllm", "transformers"])
async def pair(request, tmp_path_factory) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("adapters")
    model = tiny_llama(tied=True)
    model.save_pretrained(folder / "model")
    adapted(model, folder / "model")
    config = RolloutConfig(
        engine=request.param, max_batch=16, nucleus_candidates=64, cpu_kv_cache_gb=0.25
    )
    engine = build_engine(
        str(folder / "model"), config, seed=0, max_context=CONTEXT, adapters=told(model)
    )
    yield Pair(engine, model, folder)
    await engine.close()


async def test_the_base_is_served_until_an_adapter_comes(pair: Pair):
    with attach.left_out(pair.model):
        assert await pair.gap() < HAIR
        base = pair.scores()
    assert await pair.engine.version() == 0
    await pair.update()
    told_base = await pair.engine.score(IDS, base=True)
    assert np.abs(told_base[1:] - base).mean() < HAIR


async def test_scores_nuclei_and_log_probs_are_those_of_the_newest_adapter(pair: Pair):
    before = pair.scores()
    for _ in range(6):  # more than the engine holds at once
        version = await pair.update()
        assert await pair.gap() < HAIR
        assert await pair.engine.version() == version
    assert np.abs(before - pair.scores()).mean() > 0.5
    asked = requests(24)
    found = await pair.engine.generate(asked)
    assert mismatch(pair.model, asked, found) < HAIR
    assert_nuclei_are_exact(pair.model, asked, found)
    assert all((one.versions == version).all() for one in found)
    assert_same(found, await pair.engine.generate(asked))


async def test_an_adapter_wakes_an_engine_that_sleeps(pair: Pair):
    await pair.engine.sleep(level=1)
    await asyncio.wait_for(pair.update(), 200)
    assert await asyncio.wait_for(pair.gap(), 200) < HAIR


async def test_a_request_keeps_its_adapter_to_the_end(pair: Pair):
    if type(pair.engine).__name__ == "TransformersEngine":
        pytest.skip("its batches run one after another")
    await pair.update()
    old, asked = pair.published, replace(requests(1)[0], max_tokens=200, stop_token_ids=())
    alone = await pair.engine.generate([asked])
    running = asyncio.ensure_future(pair.engine.generate([asked]))
    await asyncio.sleep(0.2)
    new = await pair.update()
    short = await pair.engine.generate(requests(2, max_tokens=4))
    assert not running.done()
    assert all((one.versions == new).all() for one in short)
    assert mismatch(pair.model, requests(2, max_tokens=4), short) < HAIR
    kept = await running
    assert (kept[0].versions == old).all()
    np.testing.assert_array_equal(kept[0].token_ids, alone[0].token_ids)


async def test_who_asks_without_an_adapter_beside_others_that_have_one_gets_none(pair: Pair):
    await pair.update()
    with attach.left_out(pair.model):
        base = pair.scores()
    running = asyncio.ensure_future(pair.engine.generate(requests(8, max_tokens=100)))
    await asyncio.sleep(0.05)
    for _ in range(3):
        told_base = await pair.engine.score(IDS, base=True)
        assert np.abs(told_base[1:] - base).mean() < HAIR
        assert await pair.gap() < HAIR
    await running


async def test_an_update_waits_for_a_place_that_a_request_still_holds(pair: Pair):
    if type(pair.engine).__name__ == "TransformersEngine":
        pytest.skip("it holds one adapter")
    await pair.update()
    running = []
    for _ in range(2):  # with the newest that makes three, which is all there is room for
        asked = replace(requests(1)[0], max_tokens=240, stop_token_ids=())
        running.append(asyncio.ensure_future(pair.engine.generate([asked])))
        await asyncio.sleep(0.05)
        await pair.update()
    assert not any(one.done() for one in running)
    await pair.update()
    assert running[0].done()
    assert await pair.gap() < HAIR
    await asyncio.gather(*running)


async def test_what_is_no_adapter_of_this_model_is_refused_and_the_old_one_serves_on(pair: Pair):
    await pair.update()
    named = attach.weights_of(pair.model).items()
    strange = [(name.replace("q_proj", "z_proj"), weight) for name, weight in named]
    transfer = SharedMemoryAdapters(pair.folder / "others", told(pair.model))
    source = transfer.publish(strange, 99)
    with pytest.raises(PolicyError, match=r"adapter of version 99: .*_proj"):
        await pair.engine.update_weights(source, drain=True)
    with pytest.raises(PolicyError, match="weights of version 100: no"):
        await pair.engine.update_weights(replace(source, path="/gone", version=100), drain=True)
    assert await pair.gap() < HAIR


def test_room_for_a_width_that_vllm_knows():
    model = adapted(tiny_llama(tied=True), Path("base"))
    known = told(model)
    assert adapter_arguments(replace(known, rank=9))["max_lora_rank"] == 16
    assert adapter_arguments(None) == {}
    with pytest.raises(PolicyError, match=r"learner.lora.rank = 600 is more than the 512"):
        adapter_arguments(replace(known, rank=600))
