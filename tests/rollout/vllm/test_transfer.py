"""Weights by plan into a real vLLM engine on the CPU, from a learner in the tests' own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request, Sharing, WeightSource
from munro.rollout.transfer.sending import GroupWeights, Shards
from munro.rollout.transfer.types import Box, Held, Layout
from munro.rollout.vllm.engine import VllmEngine
from munro.rollout.weights import SharedMemoryWeights
from tests.rollout.tiny_llama import CONTEXT, HAIR, nudge, tiny_llama

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),
]
CONFIG = RolloutConfig(cpu_kv_cache_gb=0.1, nucleus_candidates=32)
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def run() -> Iterator[Callable]:
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.close()


@pytest.fixture(scope="module")
def engine(run, tmp_path_factory) -> Iterator[VllmEngine]:
    folder = tmp_path_factory.mktemp("model")
    tiny_llama(tied=True).save_pretrained(folder)
    sharing = Sharing(transfer="group")
    made = VllmEngine(str(folder), CONFIG, seed=0, max_context=CONTEXT, sharing=sharing)
    yield made
    run(made.close())


@pytest.fixture
def learner() -> Iterator[GroupWeights]:
    made = GroupWeights(address="127.0.0.1", within_s=240, bucket_bytes=1 << 16)
    yield made
    made.close()


def moved(version: int):
    """The model of that version."""
    model = tiny_llama(tied=True)
    with torch.no_grad():
        nudge(model, seed=version)
    return model


def publish(
    learner: GroupWeights,
    tensors: dict[str, Tensor],
    version: int,
    *,
    dies_after: int = 1 << 30,
) -> WeightSource:
    """By a learner of one rank, which can be cut off in the middle."""
    sent = 0

    def part(name: str, box: Box) -> Tensor:
        nonlocal sent
        sent += 1
        if sent > dies_after:
            raise RuntimeError("the learner died")
        return tensors[name][box.slices]

    held = Layout.of(
        Held(rank=0, name=name, box=Box.whole(t.shape), dtype="float32")
        for name, t in tensors.items()
    )
    shards = Shards(held=held, part=part)
    source = learner.publish_shards(shards, version, rank=0, device=torch.device("cpu"))
    assert source is not None
    return source


def weights(model) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def gap(run, engine: VllmEngine, model) -> float:
    with torch.no_grad():
        logp = model(torch.tensor([TOKENS])).logits[0, :-1].log_softmax(-1)
    told = logp.gather(-1, torch.tensor(TOKENS[1:])[:, None]).squeeze(-1)
    return float((torch.from_numpy(run(engine.score(TOKENS))[1:]) - told).abs().mean())


def asked(max_tokens: int) -> list[Request]:
    return [Request(key=(0,), prompt_ids=TOKENS, max_tokens=max_tokens, seed=1, top_k=16)]


def test_each_version_is_served_as_a_file_of_it_would_be(run, engine, learner, tmp_path) -> None:
    for version in (1, 2, 3):
        newer = moved(version)
        run(engine.update_weights(publish(learner, weights(newer), version), drain=True))
        assert run(engine.version()) == version
        assert gap(run, engine, newer) < HAIR
    by_plan = run(engine.score(TOKENS)).tolist()
    file = SharedMemoryWeights(tmp_path).publish(weights(newer).items(), version=3)
    model = engine._llm.model_config.model
    other = VllmEngine(model, CONFIG, seed=0, max_context=CONTEXT)
    try:
        run(other.update_weights(file, drain=True))
        assert run(other.score(TOKENS)).tolist() == by_plan
    finally:
        run(other.close())


def test_half_an_update_tears_the_engine_and_a_whole_one_mends_it(run, engine, learner) -> None:
    run(engine.update_weights(publish(learner, weights(moved(4)), 4), drain=True))

    async def torn() -> None:
        going = asyncio.ensure_future(engine.generate(asked(CONTEXT)))
        while not engine._num_running:
            await asyncio.sleep(0.01)
        source = publish(learner, weights(moved(5)), 5, dies_after=4)
        with pytest.raises(PolicyError, match="weights of version 5 did not come"):
            await engine.update_weights(source, drain=False)
        with pytest.raises(PolicyError, match="version 5 stopped half-way"):
            await going
        with pytest.raises(PolicyError, match="version 5 stopped half-way"):
            await engine.generate(asked(1))
        with pytest.raises(PolicyError, match="version 5 stopped half-way"):
            await engine.score(TOKENS)
        assert await engine.version() == -1

    run(torn())
    newer = moved(6)
    run(engine.update_weights(publish(learner, weights(newer), 6), drain=True))
    assert run(engine.version()) == 6
    assert gap(run, engine, newer) < HAIR
    (done,) = run(engine.generate(asked(4)))
    assert done.versions.tolist() == [6] * 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w | {"model.gate.bias": torch.zeros(3)}, "cannot load .*named 'gate'"),
        (
            lambda w: w | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(3)},
            "takes nothing of it",
        ),
        (lambda w: {n: t for n, t in w.items() if "norm" not in n}, "nothing .* fills"),
    ],
    ids=["a weight too many", "one that vLLM passes over", "some too few"],
)
def test_a_learner_of_another_model_is_refused_and_the_old_version_served(
    run, engine, learner, change, says
) -> None:
    before = run(engine.score(TOKENS)).tolist()
    version = run(engine.version())
    with pytest.raises(PolicyError, match=says):
        run(engine.update_weights(publish(learner, change(weights(moved(9))), 9), drain=True))
    assert run(engine.version()) == version
    assert run(engine.score(TOKENS)).tolist() == before
