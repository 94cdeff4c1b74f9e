"""An engine that sleeps, and weights that vLLM's own engines bring: what of it a CPU can show."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request, Sharing
from munro.rollout.vllm.engine import VllmEngine
from munro.rollout.vllm.launch import engine_arguments
from munro.rollout.vllm.sending import NotSent, VllmTransfer, portable
from munro.rollout.weights import SharedMemoryWeights
from tests.rollout.tiny_llama import CONTEXT, HAIR, nudge, tiny_llama

pytestmark = [pytest.mark.filterwarnings("ignore")]
CONFIG = RolloutConfig(cpu_kv_cache_gb=0.1, nucleus_candidates=32)
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_llama(tied=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run():
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.close()


@pytest.fixture
def engine(model, run):
    made = VllmEngine(model, CONFIG, seed=0, max_context=CONTEXT)
    yield made
    run(made.close())


def request() -> Request:
    return Request(key=(0,), prompt_ids=TOKENS, max_tokens=8, seed=1, top_p=0.9, top_k=16)


def moved(version: int):
    """The model of that version."""
    model = tiny_llama(tied=True)
    with torch.no_grad():
        nudge(model, seed=version)
    return model


def scores_of(weights) -> torch.Tensor:
    with torch.no_grad():
        logp = weights(torch.tensor([TOKENS])).logits[0].log_softmax(-1)
    return logp[:-1].gather(-1, torch.tensor(TOKENS[1:])[:, None]).squeeze(-1)


def gap(run, engine, weights) -> float:
    ours = torch.from_numpy(run(engine.score(TOKENS)))[1:]
    return float((ours - scores_of(weights)).abs().max())


@pytest.mark.vllm
def test_an_engine_that_sleeps_serves_nothing_until_it_is_woken_or_gets_new_weights(
    engine, run, tmp_path
):
    (before,) = run(engine.generate([request()]))
    for _ in range(2):
        run(engine.sleep(level=1))
        with pytest.raises(PolicyError, match="sleeps, for the learner has its GPU's memory"):
            run(engine.generate([request()]))
        with pytest.raises(PolicyError, match="sleeps"):
            run(engine.score(TOKENS))
        assert run(engine.version()) == 0
        run(engine.wake())
        (after,) = run(engine.generate([request()]))
        assert after.token_ids.tolist() == before.token_ids.tolist()
    run(engine.sleep(level=2))
    newer = moved(3)
    source = SharedMemoryWeights(tmp_path).publish(newer.named_parameters(), version=3)
    run(engine.update_weights(source, drain=True))
    assert run(engine.version()) == 3
    assert gap(run, engine, newer) < HAIR


def test_on_a_gpu_vllm_is_asked_to_sleep_and_leaves_room_for_the_learner(model, monkeypatch):
    class Card:
        total_memory = 100 << 30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)

    def asked(**how):
        return engine_arguments(
            model, CONFIG, seed=0, max_context=64, on_gpu=True, sharing=Sharing(**how)
        )

    alone = asked()
    assert (alone["gpu_memory_utilization"], alone["enable_sleep_mode"]) == (0.85, False)
    assert alone["weight_transfer_config"] == {"backend": "munro_file"}
    beside = asked(transfer="ipc", sleeps=True, learner_bytes=60 << 30)
    assert beside["gpu_memory_utilization"] == pytest.approx(0.4)
    assert beside["enable_sleep_mode"] is True
    assert beside["weight_transfer_config"] == {"backend": "ipc"}
    with pytest.raises(ValueError, match=r"the learner needs 120\.0 of its GPU's 100\.0 GiB"):
        asked(transfer="ipc", sleeps=True, learner_bytes=120 << 30)


def introduction(folder, *, fails: bool = False):
    """vLLM's sending side as the tests have it: weights go through a file, as on a CPU they must.

    What the worker's engine is told goes the whole way from here: through the notes, the driver's
    source and vLLM's own calls.
    """
    from vllm.distributed.weight_transfer.base import (
        TrainerInitInfo,
        TrainerWeightTransferEngine,
    )
    from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

    @dataclass
    class Info(TrainerInitInfo):
        backend: ClassVar[str] = f"file_of_{folder.name}"

    class Sends(TrainerWeightTransferEngine):
        init_info_cls = Info

        @classmethod
        def trainer_init(cls, init_info, *, client, source):
            client.init_weight_transfer_engine({})
            return cls(client=client, source=source, is_sender=init_info.is_sender)

        def send_weights(self):
            if fails:
                raise RuntimeError("no peer answered")
            self.client.start_weight_update()
            told = SharedMemoryWeights(folder).publish(iter(self.source), version=1)
            assert [meta.name for meta in self.source.metadata()] == [n for n, _ in self.source]
            self.client.update_weights({"path": told.path, "repack": True})
            self.client.finish_weight_update()

    WeightTransferTrainerFactory.register_engine(Info.backend, Sends)
    return Info(rank=0)


@pytest.mark.vllm
def test_what_vllm_s_sending_side_says_reaches_its_worker_and_the_proof_holds(
    engine, run, tmp_path
):
    transfer = VllmTransfer("ipc", introduce=lambda: introduction(tmp_path))
    for version in (1, 2, 3):
        newer = moved(version)
        source = transfer.publish(iter(newer.named_parameters()), version)
        assert (source.version, source.path) == (version, "")
        assert transfer._source.tensors, "they must live until the servers have read them"
        run(engine.update_weights(source, drain=True))
        transfer.settle()
        assert not transfer._source.tensors
        assert gap(run, engine, newer) < HAIR
    transfer.close()
    assert not transfer._thread.is_alive()


@pytest.mark.vllm
def test_a_sending_side_that_fails_is_told_in_a_sentence(tmp_path):
    transfer = VllmTransfer("ipc", introduce=lambda: introduction(tmp_path, fails=True))
    with pytest.raises(NotSent, match="vLLM's ipc engine could not send: no peer answered"):
        transfer.publish(iter(tiny_llama(tied=True).named_parameters()), 1)


def test_handles_travel_as_vllm_takes_them_and_nothing_else_changes():
    update = {"names": ["a"], "ipc_handles": [{"gpu": (1, b"x")}], "tensor_sizes": None}
    sent = portable(update)
    assert sent.keys() == {"names", "ipc_handles_pickled"}
    assert portable({"names": ["a"], "shapes": [[2]]}) == {"names": ["a"], "shapes": [[2]]}


@pytest.mark.gpu
@pytest.mark.vllm
@pytest.mark.parametrize("sleeps", [False, True])
def test_on_one_gpu_weights_come_by_ipc_into_an_engine_that_slept(model, run, sleeps):
    sharing = Sharing(transfer="ipc", sleeps=sleeps, learner_bytes=2 << 30)
    engine = VllmEngine(model, CONFIG, seed=0, max_context=CONTEXT, sharing=sharing)
    transfer = VllmTransfer("ipc")
    try:
        for version in (1, 2):
            run(engine.score(TOKENS))
            if sleeps:
                free, _ = torch.cuda.mem_get_info()
                run(engine.sleep(level=2))
                assert torch.cuda.mem_get_info()[0] > free + (1 << 30)
            newer = moved(version).to("cuda")
            sent = ((name, p.detach().to(torch.bfloat16)) for name, p in newer.named_parameters())
            source = transfer.publish(sent, version)
            run(engine.update_weights(source, drain=True))
            transfer.settle()
            assert run(engine.version()) == version
            assert gap(run, engine, newer.cpu()) < 0.05
    finally:
        run(engine.close())
        transfer.close()
