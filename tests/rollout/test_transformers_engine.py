"""The engine in plain PyTorch, on a real (tiny, random) Llama."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import torch

from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request, WeightSource
from munro.rollout.transformers_engine import TransformersEngine
from tests.base_model.tiny_munro import tiny_model
from tests.rollout.tiny_llama import (
    CONTEXT,
    HAIR,
    ROUNDING,
    assert_nuclei_are_exact,
    assert_same,
    mismatch,
    nudge,
    publish,
    requests,
    tiny_experts,
    tiny_llama,
)


@pytest.fixture
def model():
    return tiny_llama(tied=True)


@pytest_asyncio.fixture
async def engine(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    engine = TransformersEngine(
        str(tmp_path / "model"), RolloutConfig(), seed=0, max_context=CONTEXT
    )
    yield engine
    await engine.close()


async def test_log_probs_are_those_of_the_model_over_the_recorded_nucleus(engine, model):
    asked = requests(24)
    done = await engine.generate(asked)
    assert mismatch(model, asked, done) < HAIR
    assert_nuclei_are_exact(model, asked, done)


async def test_without_limits_the_whole_vocabulary_is_sampled(engine, model):
    asked = requests(8, top_k=0, top_p=1.0)
    done = await engine.generate(asked)
    assert mismatch(model, asked, done) < HAIR
    assert all(len(one.kept.ids) == 0 and one.num_cut == 0 for one in done)


async def test_a_request_is_answered_the_same_alone_and_in_company(engine):
    asked = requests(20)
    together = await engine.generate(asked)
    for i in (0, 7, 19):
        (alone,) = await engine.generate([asked[i]])
        np.testing.assert_array_equal(alone.token_ids, together[i].token_ids)
        np.testing.assert_allclose(alone.logp, together[i].logp, rtol=0, atol=ROUNDING)


async def test_the_same_call_gives_the_same_bits(engine):
    asked = requests(12)
    assert_same(await engine.generate(asked), await engine.generate(asked))


async def test_more_requests_than_fit_one_batch_are_all_answered(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    small = TransformersEngine(
        str(tmp_path / "model"), RolloutConfig(max_batch=5), seed=0, max_context=CONTEXT
    )
    asked = requests(12)
    done = await small.generate(asked)
    assert mismatch(model, asked, done) < HAIR
    await small.close()


async def test_a_stop_token_ends_its_sequence_and_is_part_of_it(engine):
    free = (await engine.generate(requests(1)))[0]
    stop = int(free.token_ids[10])
    first = free.token_ids.tolist().index(stop)
    (stopped,) = await engine.generate(requests(1, stop_token_ids=(stop,)))
    assert stopped.stopped
    assert not free.stopped
    np.testing.assert_array_equal(stopped.token_ids, free.token_ids[: first + 1])


async def test_the_context_ends_a_sequence_as_max_tokens_does(engine):
    (done,) = await engine.generate(requests(1, max_tokens=10_000))
    assert len(done.token_ids) == CONTEXT - 5
    assert not done.stopped


async def test_nuclei_that_fill_every_candidate_are_counted(engine):
    (done,) = await engine.generate(requests(1, top_k=2, top_p=0.999))
    widths = np.diff(done.kept.starts)
    assert done.num_cut == int((widths == 2).sum()) > 0


@pytest.mark.parametrize("kind", ["tied", "untied", "experts"])
async def test_after_every_update_the_new_weights_answer(kind: str, tmp_path: Path):
    model = tiny_experts() if kind == "experts" else tiny_llama(tied=kind == "tied")
    model.save_pretrained(tmp_path / "model")
    engine = TransformersEngine(
        str(tmp_path / "model"), RolloutConfig(), seed=0, max_context=CONTEXT
    )
    asked = requests(8)
    for version in (1, 2):
        nudge(model, seed=version)
        await engine.update_weights(publish(model, tmp_path / "w", version), drain=True)
        done = await engine.generate(asked)
        assert await engine.version() == version
        assert all((one.versions == version).all() for one in done)
        assert mismatch(model, asked, done) < HAIR
    await engine.close()


async def test_a_score_is_the_models_own_log_probability(engine, model):
    (request,) = requests(1, top_k=0, top_p=1.0)
    request = replace(request, temperature=1.0)
    (done,) = await engine.generate([request])
    scores = await engine.score([*request.prompt_ids, *done.token_ids.tolist()])
    assert scores[0] == 0
    sampled = scores[len(request.prompt_ids) :]
    np.testing.assert_allclose(sampled, done.logp, rtol=0, atol=ROUNDING)


async def test_what_cannot_be_served_is_refused_in_a_sentence(engine, model, tmp_path):
    (request,) = requests(1)
    with pytest.raises(ValueError, match="top_k > 0"):
        await engine.generate([replace(request, top_k=0)])
    with pytest.raises(ValueError, match="needs room for one more"):
        await engine.generate([replace(request, prompt_ids=[2] * CONTEXT)])
    with pytest.raises(PolicyError, match="no file at"):
        await engine.update_weights(WeightSource(path="/nowhere", version=1), drain=True)
    other = publish(tiny_llama(tied=False), tmp_path / "w", 3)
    with pytest.raises(PolicyError, match="not this model's"):
        await engine.update_weights(
            WeightSource(path=drop(other.path, "model.norm.weight"), version=3), drain=True
        )


async def test_a_closed_engine_says_so(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    engine = TransformersEngine(str(tmp_path / "model"), RolloutConfig(), seed=0, max_context=0)
    await engine.close()
    await engine.close()
    with pytest.raises(PolicyError, match="closed"):
        await engine.version()


def drop(path: str, name: str) -> str:
    """The same file without one tensor."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path + ".less")
    return path + ".less"


async def test_the_experts_of_every_token_read_are_told(tmp_path: Path) -> None:
    model = tiny_model(max_position_embeddings=CONTEXT)
    model.save_pretrained(tmp_path / "munro")
    engine = TransformersEngine(
        str(tmp_path / "munro"), RolloutConfig(max_batch=3), seed=0, max_context=CONTEXT
    )
    asked = [
        Request(
            key=(i,), prompt_ids=list(range(3 + 2 * i)), max_tokens=9, seed=i, stop_token_ids=(5,)
        )
        for i in range(5)
    ]
    done = await engine.generate(asked)
    await engine.close()

    for request, one in zip(asked, done, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *one.token_ids.tolist()]])
        with torch.no_grad():
            expected = model(ids).routing.experts[0].numpy().astype(np.int16)
        expected[-1] = -1
        np.testing.assert_array_equal(one.routed_experts, expected)
