"""Passes compute with weights in bfloat16; optimizer, files and servers know float32 masters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from munro.base_model.device.working import narrow, wide, working_copy
from munro.base_model.training.sharding import Alone
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.saving import published
from tests.rl.builders import random_group, save_model
from tests.rl.policy.test_waits import random_qwen

CLIP = Clip(eps=0.6)
CONFIG = LearnerConfig(learning_rate=1e-3, token_budget=64, logits_chunk=16, threads=1)
HALVED = CONFIG.model_copy(update={"precision": "bfloat16"})
"""As on a GPU, where it is so without being asked for."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("model") / "model")


def some_batch(seed: int = 0):
    rng = np.random.default_rng(seed)
    return build_batch([random_group(rng, index=i) for i in range(3)])


def learner_of(folder: str, config: LearnerConfig = CONFIG) -> Learner:
    return Learner(folder, config, seed=0, temperature=0.8)


def masters(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner._policy.model.named_parameters()}


def test_inside_weights_are_halved_and_gradients_are_summed_in_float32(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = torch.arange(12)[None]
    with working_copy(model, torch.bfloat16):
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        for _ in range(2):
            model(input_ids=ids).logits.float().square().mean().backward()
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    plain(input_ids=ids).logits.float().square().mean().backward()
    for (name, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert ours.dtype == ours.grad.dtype == torch.float32
        assert torch.equal(ours.detach(), before[name]), name
        if name != "model.embed_tokens.weight":  # whose two gradients meet in float32 here
            # the same pass twice: the sum of two bfloat16 numbers that float32 holds exactly
            assert torch.equal(ours.grad, 2 * theirs.grad.float()), name


def test_masters_come_back_when_a_pass_fails(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(KeyError), working_copy(model, torch.bfloat16):
        raise KeyError
    assert all(torch.equal(p.detach(), before[name]) for name, p in model.named_parameters())


def test_what_a_model_keeps_in_float32_stays_so(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model._keep_in_fp32_modules_strict = ("embed_tokens", "input_layernorm")
    kept = {name for name, p in model.named_parameters() if all(p is not w for w in wide(model))}
    assert {name.split(".")[-2] for name in kept} == {"embed_tokens", "input_layernorm"}
    narrow(model, torch.bfloat16)
    found = {name for name, p in model.named_parameters() if p.dtype == torch.float32}
    assert found == kept


def test_a_step_moves_the_masters_and_what_is_published_is_theirs(folder):
    learner, plain = learner_of(folder, HALVED), learner_of(folder)
    start = masters(learner)
    ours = learner.step(some_batch(), clip=CLIP).metrics
    theirs = plain.step(some_batch(), clip=CLIP).metrics
    # of bfloat16's making, and no more
    assert ours["policy/entropy"] == pytest.approx(theirs["policy/entropy"], rel=0.05)
    assert ours["policy/entropy"] != theirs["policy/entropy"]
    moved = masters(learner)
    for name, before in start.items():
        step = (moved[name] - before).abs()
        assert moved[name].dtype == torch.float32
        # a step of AdamW that bfloat16 would mostly have rounded away
        assert 0 < step.max() <= 1.01e-3, name
    sent = dict(published(learner._policy.model, Alone("cpu")))
    assert all(torch.equal(tensor, moved[name]) for name, tensor in sent.items())


def test_saved_loaded_and_stepped_is_bitwise_uninterrupted(folder, tmp_path):
    whole, first = learner_of(folder, HALVED), learner_of(folder, HALVED)
    for seed in range(2):
        whole.step(some_batch(seed), clip=CLIP)
        first.step(some_batch(seed), clip=CLIP)
    first.save(tmp_path / "saved", {})
    second = learner_of(folder, HALVED)
    second.load(tmp_path / "saved")
    assert second.step(some_batch(2), clip=CLIP) == whole.step(some_batch(2), clip=CLIP)
    ours, theirs = masters(whole), masters(second)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("config", [CONFIG, HALVED])
def test_a_vocabulary_s_gradients_go_straight_to_their_place_and_come_to_the_same(folder, config):
    told = {}
    for adds in (False, True):
        learner = learner_of(folder, config)
        policy = learner._policy
        assert policy.get_output_embeddings().adds
        assert policy.get_input_embeddings().sparse
        policy.get_output_embeddings().adds = adds
        # in bfloat16 what is given whole is also rounded whole, at every sum
        policy.get_input_embeddings().sparse = adds and config is CONFIG
        learner._passes.gradients(some_batch(), CLIP)
        told[adds] = {name: p.grad for name, p in learner._policy.model.named_parameters()}
    for name, gradient in told[False].items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(told[True][name], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "expected"), [(CONFIG, torch.float32), (HALVED, torch.bfloat16)]
)
def test_products_of_every_pass_are_in_the_precision_that_was_asked_for(folder, config, expected):
    """A step, scores and the reference of the KL term."""
    learner = learner_of(folder, config.model_copy(update={"kl_weight": 0.1}))
    made: set[torch.dtype] = set()
    for model in (learner._policy.model, learner._passes.reference._policy.model):
        for name, module in model.named_modules():
            if name.endswith("down_proj"):
                module.register_forward_hook(lambda *seen: made.add(seen[2].dtype))
    learner.step(some_batch(), clip=CLIP)
    learner.score([[1, 2, 3]])
    assert made == {expected}


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
def test_on_a_gpu_a_step_twice_gives_the_same_bits_and_masters_stay_float32(tmp_path):
    path = random_qwen(tmp_path / "model")
    runs = []
    for _ in range(2):
        learner = learner_of(path)
        reports = [learner.step(some_batch(seed), clip=CLIP) for seed in range(2)]
        runs.append((reports, masters(learner)))
        assert {p.dtype for p in learner._policy.parameters()} == {torch.float32}
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], runs[1][1][name]) for name in runs[0][1])


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
def test_on_a_gpu_compiled_layers_come_to_what_plain_ones_do(tmp_path):
    path = random_qwen(tmp_path / "model")
    told = {}
    for choice in ("on", "off"):
        learner = learner_of(path, CONFIG.model_copy(update={"compile": choice}))
        told[choice] = learner.step(some_batch(), clip=CLIP).metrics
    for name in ("policy/entropy", "learner/grad_norm"):
        assert told["on"][name] == pytest.approx(told["off"][name], rel=0.03), name


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
def test_on_a_gpu_a_learner_goes_on_from_its_checkpoint(tmp_path):
    path = random_qwen(tmp_path / "model")
    whole, first = learner_of(path), learner_of(path)
    for learner in (whole, first):
        learner.step(some_batch(0), clip=CLIP)
    first.save(tmp_path / "saved", {})
    second = learner_of(path)
    second.load(tmp_path / "saved")
    assert second.step(some_batch(1), clip=CLIP) == whole.step(some_batch(1), clip=CLIP)
