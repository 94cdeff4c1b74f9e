"""The vLLM engine, on real vLLM and a tiny random Llama served on the CPU.

Two engine processes serve the whole module (tied and untied embeddings); one more is started for
the tests that need a fresh one, and killed at the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
import torch
from transformers import LlamaForCausalLM

from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request, WeightSource
from munro.rollout.vllm.engine import VllmEngine
from munro.rollout.weights import SharedMemoryWeights, checkpoint_tensors
from tests.rollout.tiny_llama import (
    CONTEXT,
    HAIR,
    ROUNDING,
    VOCAB,
    assert_nuclei_are_exact,
    assert_same,
    logits_of,
    mismatch,
    nudge,
    publish,
    requests,
    tiny_experts,
    tiny_llama,
)

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1200),
    # vLLM's and its dependencies' own, met while they are imported
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SMALL = RolloutConfig(max_batch=16, nucleus_candidates=64, cpu_kv_cache_gb=0.25)


@dataclass
class Pair:
    """An engine, and the model whose weights it should be serving."""

    engine: VllmEngine
    model: LlamaForCausalLM
    folder: Path
    published: int = 0

    async def update(self, *, seed: int, drain: bool = True) -> int:
        """Nudge the model and publish it to the engine."""
        nudge(self.model, seed=seed)
        self.published += 1
        source = publish(self.model, self.folder / "weights", self.published)
        await self.engine.update_weights(source, drain=drain)
        return self.published


def begin(folder: Path, *, tied: bool) -> Pair:
    model = tiny_llama(tied=tied)
    model.save_pretrained(folder / "model")
    engine = VllmEngine(str(folder / "model"), SMALL, seed=0, max_context=CONTEXT)
    return Pair(engine, model, folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    pair = begin(tmp_path_factory.mktemp("tied"), tied=True)
    yield pair
    await pair.engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def untied(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    pair = begin(tmp_path_factory.mktemp("untied"), tied=False)
    yield pair
    await pair.engine.close()


@pytest.fixture(scope="module")
def first_answers() -> dict[str, list[Completion]]:
    """What the first process answered with its first weights, for a later process to repeat."""
    return {}


async def test_a_lockstep_call_gives_the_same_bits_again_though_the_batch_overflows(
    tied: Pair, first_answers: dict[str, list[Completion]]
):
    asked = requests(40)  # the batch holds 16
    first = await tied.engine.generate(asked)
    assert_same(first, await tied.engine.generate(asked))
    first_answers["tied"] = first
    assert mismatch(tied.model, asked, first) < HAIR


async def test_history_has_no_say_in_a_lockstep_call(
    tied: Pair, first_answers: dict[str, list[Completion]]
):
    others = [replace(request, seed=9) for request in requests(12, max_tokens=5)]
    await asyncio.gather(*(tied.engine.generate([request]) for request in others))
    assert_same(first_answers["tied"], await tied.engine.generate(requests(40)))


async def test_the_recorded_nucleus_is_exactly_the_one_sampled_from(tied: Pair):
    asked = requests(32, top_k=32, top_p=0.9)
    done = await tied.engine.generate(asked)
    assert_nuclei_are_exact(tied.model, asked, done)
    for one in done:
        for i, token in enumerate(one.token_ids):
            assert token in one.kept.ids[one.kept.starts[i] : one.kept.starts[i + 1]]


async def test_a_nucleus_that_fills_every_candidate_is_counted(tied: Pair):
    asked = requests(8, top_k=2, top_p=0.99)
    for one in await tied.engine.generate(asked):
        assert one.num_cut == int((np.diff(one.kept.starts) == 2).sum())
    (wide,) = await tied.engine.generate(requests(1, top_k=64, top_p=0.5))
    assert wide.num_cut == 0


async def test_without_limits_the_whole_vocabulary_is_sampled(tied: Pair):
    asked = requests(8, top_k=0, top_p=1.0)
    done = await tied.engine.generate(asked)
    assert mismatch(tied.model, asked, done) < HAIR
    assert all(len(one.kept.ids) == 0 and one.num_cut == 0 for one in done)


async def test_a_draw_does_not_depend_on_who_else_is_in_the_batch(tied: Pair):
    asked = requests(12)
    strangers = requests(4, top_k=0, top_p=1.0) + requests(4, top_k=3, top_p=1.0)
    mixed = await tied.engine.generate([*strangers, *asked])
    alone = await tied.engine.generate(asked[5:6])
    np.testing.assert_array_equal(alone[0].token_ids, mixed[8 + 5].token_ids)
    np.testing.assert_allclose(alone[0].logp, mixed[8 + 5].logp, rtol=0, atol=ROUNDING)


async def test_tokens_come_as_often_as_their_probability_says(tied: Pair):
    (model_request,) = requests(1, max_tokens=1, top_k=8, top_p=0.95)
    asked = [replace(model_request, key=(0, i), seed=i) for i in range(400)]
    done = await tied.engine.generate(asked)
    logits = logits_of(tied.model, asked[0], done[0])[0]
    kept = sorted(done[0].kept.ids.tolist())
    share = np.exp(logits[kept] - np.logaddexp.reduce(logits[kept]))
    drawn = np.array([one.token_ids[0] for one in done])
    seen = np.array([(drawn == token).mean() for token in kept])
    # five standard errors of a share among 400
    assert (np.abs(seen - share) < 5 * np.sqrt(share * (1 - share) / 400)).all()


async def test_a_stop_token_ends_its_sequence_and_is_part_of_it(tied: Pair):
    (free,) = await tied.engine.generate(requests(1))
    stop = int(free.token_ids[10])
    first = free.token_ids.tolist().index(stop)
    (stopped,) = await tied.engine.generate(requests(1, stop_token_ids=(stop,)))
    assert stopped.stopped
    assert not free.stopped
    np.testing.assert_array_equal(stopped.token_ids, free.token_ids[: first + 1])


async def test_a_score_is_raw_and_over_the_whole_vocabulary(tied: Pair):
    ids = torch.arange(40) * 7 % VOCAB
    with torch.inference_mode():
        logp = tied.model(ids[None]).logits[0, :-1].log_softmax(-1)
    expected = logp.gather(-1, ids[1:, None]).squeeze(-1).numpy()
    # in the middle of other work, sampled with a nucleus and a temperature
    busy = asyncio.create_task(tied.engine.generate(requests(8)))
    scores = await tied.engine.score(ids.tolist())
    await busy
    assert scores[0] == 0
    np.testing.assert_allclose(scores[1:], expected, rtol=0, atol=ROUNDING)


async def test_what_cannot_be_served_is_refused_in_a_sentence(tied: Pair):
    (request,) = requests(1)
    with pytest.raises(ValueError, match="top_k > 0"):
        await tied.engine.generate([replace(request, top_k=0)])
    with pytest.raises(ValueError, match="needs room for one more"):
        await tied.engine.generate([replace(request, prompt_ids=[2] * CONTEXT)])
    with pytest.raises(PolicyError, match="no file at"):
        await tied.engine.update_weights(WeightSource(path="/nowhere", version=1), drain=True)


async def begun(engine: VllmEngine, asked: list[Request]) -> asyncio.Task[list[Completion]]:
    """A call whose requests the engine process has been given."""
    call = asyncio.create_task(engine.generate(asked))
    while engine._num_running < len(asked):
        assert not call.done()
        await asyncio.sleep(0.005)
    return call


async def test_it_says_for_how_many_tokens_it_has_room(tied: Pair):
    config = tied.model.config
    head = config.hidden_size // config.num_attention_heads
    size = 2 * 4 * config.num_hidden_layers * config.num_key_value_heads * head
    assert await tied.engine.room() == pytest.approx(SMALL.cpu_kv_cache_gb * 2**30 / size, rel=0.01)


async def test_a_cancelled_call_frees_its_places(tied: Pair):
    call = await begun(tied.engine, requests(16, max_tokens=240))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    asked = requests(40)
    assert mismatch(tied.model, asked, await tied.engine.generate(asked)) < HAIR


async def test_a_new_process_gives_the_bits_of_the_old_one_and_its_death_is_told_at_once(
    tmp_path: Path, first_answers: dict[str, list[Completion]]
):
    before = {child.pid for child in psutil.Process().children()}
    pair = begin(tmp_path, tied=True)
    assert_same(first_answers["tied"], await pair.engine.generate(requests(40)))
    process = engine_process(before)
    call = await begun(pair.engine, requests(16, max_tokens=240))
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(PolicyError, match="died"):
        await asyncio.wait_for(call, timeout=30)
    with pytest.raises(PolicyError, match="died"):
        await asyncio.wait_for(pair.engine.version(), timeout=30)
    await pair.engine.close()


async def test_after_each_of_five_updates_the_new_weights_answer(tied: Pair):
    await five_updates(tied)


async def test_so_they_do_when_the_embeddings_are_not_tied(untied: Pair):
    await five_updates(untied)


async def five_updates(pair: Pair) -> None:
    asked = requests(16)
    for seed in range(5):
        before = await pair.engine.generate(asked)
        version = await pair.update(seed=seed)
        done = await pair.engine.generate(asked)
        assert await pair.engine.version() == version
        assert all((one.versions == version).all() for one in done)
        assert mismatch(pair.model, asked, done) < HAIR
        assert mismatch(pair.model, asked, before) > 0.05, "the update changed nothing to speak of"


async def test_running_requests_go_on_with_the_new_weights(tied: Pair):
    asked = requests(12, max_tokens=230 - 33)
    old = tiny_llama(tied=True)
    # in the middle, however long the whole takes on this machine: the sooner the oftener it was
    # through before the weights came
    began = time.monotonic()
    await tied.engine.generate(asked)
    whole_s = time.monotonic() - began
    for seed, part in ((77, 3), (79, 9), (80, 27), (81, 81)):
        old.load_state_dict(tied.model.state_dict())
        call = await begun(tied.engine, asked)
        await asyncio.sleep(whole_s / part)
        version = await tied.update(seed=seed, drain=False)
        done = await call
        if {int(one.versions[-1]) for one in done} == {version}:
            break
    assert all((np.diff(one.versions) >= 0).all() for one in done)
    assert {int(one.versions[-1]) for one in done} == {version}
    assert {int(one.versions[0]) for one in done} == {version - 1}
    for ask, one in zip(asked, done, strict=True):
        num_old = int((one.versions < version).sum())
        before, after = renormalised(old, ask, one), renormalised(tied.model, ask, one)
        np.testing.assert_allclose(one.logp[:num_old], before[:num_old], rtol=0, atol=ROUNDING)
        # what was read before the update stays as the old weights read it, hence not quite `after`
        np.testing.assert_allclose(one.logp[num_old:], after[num_old:], atol=0.02)
        off = np.abs(one.logp - after)[num_old:].mean()
        assert 10 * off < np.abs(before - after)[num_old:].mean()


async def test_a_draining_update_lets_running_requests_finish_first(tied: Pair):
    asked = requests(8, max_tokens=60)
    call = await begun(tied.engine, asked)
    version = await tied.update(seed=78)
    done = await call
    assert all((one.versions == version - 1).all() for one in done)
    after = await tied.engine.generate(asked)
    assert mismatch(tied.model, asked, after) < HAIR


async def test_the_score_sees_it_when_the_repacking_is_left_out(tied: Pair):
    ids = (torch.arange(60) * 11 % VOCAB).tolist()

    async def difference() -> float:
        with torch.inference_mode():
            logp = tied.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        expected = logp.gather(-1, torch.tensor(ids[1:])[:, None]).squeeze(-1).numpy()
        scores = await tied.engine.score(ids)
        return float(np.abs(scores[1:] - expected).mean())

    tied.engine.repack = False
    await tied.update(seed=99)
    assert await difference() > 0.05
    tied.engine.repack = True
    await tied.update(seed=100)
    assert await difference() < HAIR


async def test_a_file_that_lacks_a_layer_is_refused(untied: Pair, tmp_path: Path):
    tensors = checkpoint_tensors(untied.model, untied.model.state_dict())
    del tensors["model.layers.1.self_attn.q_proj.weight"]  # a third of vLLM's qkv_proj
    source = SharedMemoryWeights(tmp_path).publish(tensors.items(), 50)
    with pytest.raises(PolicyError, match=r"lacks weights of model\.layers\.1\.self_attn\.qkv"):
        await untied.engine.update_weights(source, drain=True)
    with pytest.raises(PolicyError, match="half-way"):
        await untied.engine.generate(requests(1))


@pytest.mark.slow
async def test_a_mixture_of_experts_is_served_and_updated(tmp_path: Path):
    model = tiny_experts()
    model.save_pretrained(tmp_path / "model")
    engine = VllmEngine(str(tmp_path / "model"), SMALL, seed=0, max_context=CONTEXT)
    asked = requests(16)
    assert mismatch(model, asked, await engine.generate(asked)) < HAIR
    nudge(model, seed=1)
    await engine.update_weights(publish(model, tmp_path / "weights", 1), drain=True)
    assert mismatch(model, asked, await engine.generate(asked)) < HAIR
    await engine.close()


async def test_closing_leaves_no_process_behind(untied: Pair):
    children = psutil.Process().children(recursive=True)
    processes = [child for child in children if is_engine(child)]
    assert processes
    await untied.engine.close()
    await untied.engine.close()
    newest = max(processes, key=psutil.Process.create_time)  # numbers begin anew now and then
    _, alive = psutil.wait_procs([newest], timeout=60)
    assert not alive
    with pytest.raises(PolicyError, match="closed"):
        await untied.engine.version()


def renormalised(
    model: LlamaForCausalLM, asked: Request, done: Completion
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(T,) log-probability of each sampled token over its recorded nucleus."""
    logits_TV = logits_of(model, asked, done)
    out = np.zeros(len(done.token_ids))
    for i, token in enumerate(done.token_ids):
        kept = done.kept.ids[done.kept.starts[i] : done.kept.starts[i + 1]]
        out[i] = logits_TV[i, token] - np.logaddexp.reduce(logits_TV[i, kept])
    return out


def is_engine(process: psutil.Process) -> bool:
    """Whether it is an engine process of vLLM's."""
    with suppress(psutil.NoSuchProcess):  # what another test started may end meanwhile
        return "EngineCore" in " ".join(process.cmdline()) or "EngineCore" in process.name()
    return False


def engine_process(before: set[int]) -> psutil.Process:
    """The engine process started since."""
    (found,) = (
        child
        for child in psutil.Process().children()
        if child.pid not in before and is_engine(child)
    )
    return found
