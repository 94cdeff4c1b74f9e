"""What a climb will need, reckoned from files and config, and refused where it cannot fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.autograd.graph import saved_tensors_hooks

from munro.envs.types import Task
from munro.kernels.attention import give, row_mask
from munro.machine.climb import dry_run, memory
from munro.machine.climb.memory import (
    GIB,
    Room,
    lacking,
    needs_of,
    resident_bytes,
    room_of,
    token_budget,
)
from munro.machine.climb.sizes import Loaded, grown, loaded, model_of, num_parameters
from munro.machine.loading import BadConfig, from_overrides, load
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.footprint import kept_bytes
from tests.base_model.tiny_munro import tiny_model
from tests.kernels.trees import shared_prompt
from tests.machine.climbing import write_recipe
from tests.rl.builders import make_model, save_model

SMALL = [("num_steps", "3"), ("env", "arithmetic")]


def config_of(*more):
    return from_overrides([*SMALL, *more])


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(save_model(tmp_path / "model", make_model(hidden_size=64, intermediate_size=96)))


def needs(folder, *more, prompt: int = 20, gpus=()):
    config = config_of(*more)
    model = model_of(folder, config.learner.lora)
    found = needs_of(config, model, loaded=Loaded(prompt=prompt), gpu_bytes=gpus)
    return {need.name: need for need in found}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_parameters_are_counted_by_the_headers(tmp_path, tied):
    model = make_model(tied=tied)
    folder = Path(save_model(tmp_path / "model", model))
    # transformers counts a tied matrix once, too
    assert num_parameters(folder) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "near"),
    # which expert a token goes to is a number: what is kept of them is known by their widths only
    [(make_model, 0.15), (tiny_model, 0.7)],
    ids=["llama", "mixture"],
)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_a_backward_pass_keeps_is_known_without_a_number(tmp_path, make, near, checkpointing):
    model = make().train()
    folder = Path(save_model(tmp_path / "model", model))
    if checkpointing:
        model.gradient_checkpointing_enable()
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    rows, row = 6, 32
    give(model)
    until, position = (x.repeat(rows, 1) for x in shared_prompt(12, 4, 5))
    with saved_tensors_hooks(note, lambda tensor: tensor):
        output = model.base_model(
            input_ids=torch.randint(0, model.config.vocab_size, (rows, row)),
            attention_mask=row_mask(model.config, until, position),
            position_ids=position.long(),
            use_cache=False,
        )
    real = sum(storage.nbytes() for storage in kept.values())
    assert output.last_hidden_state.requires_grad
    said = kept_bytes(
        folder,
        num_tokens=rows * row,
        row=row,
        checkpointing=checkpointing,
        halved=False,
    )
    assert said == pytest.approx(real, rel=near)


def test_a_step_of_the_learner_is_weights_gradients_moments_and_what_is_kept(folder):
    plain = needs(folder)["learner"].host
    number = num_parameters(folder)
    assert (plain["weights"], plain["gradients"], plain["moments"]) == (
        4 * number,
        4 * number,
        8 * number,
    )
    assert needs(folder, ("learner.kl_weight", "0.1"))["learner"].host["reference"] == 4 * number
    assert needs(folder, ("learner.optimizer", "muon"))["learner"].host["moments"] == 4 * number
    halves = needs(folder, ("learner.ranks", "2"))["learner"]
    assert (halves.copies, halves.host["weights"]) == (2, 2 * number)
    long = needs(folder, ("learner.token_budget", "20000"))["learner"].host["activations"]
    assert long > 1.9 * plain["activations"]
    spared = needs(folder, ("learner.activation_checkpointing", "true"))["learner"].host
    assert spared["activations"] < plain["activations"] / 3


def test_a_step_on_a_gpu_has_a_copy_of_the_weights_in_bfloat16(folder):
    number, card = num_parameters(folder), (10 * GIB,)
    one = needs(folder, gpus=card)["learner"].gpu
    assert (one["weights"], one["working copy"]) == (4 * number, 2 * number)
    assert "working copy" not in {k for k, v in needs(folder)["learner"].host.items() if v}
    near = needs(folder, ("learner.kl_weight", "0.1"), gpus=card)["learner"].gpu
    assert near["reference"] == 2 * number
    two = needs(folder, ("learner.ranks", "2"), gpus=card * 4)["learner"].gpu
    # FSDP copies a layer at a time, and sums gradients once: until then each rank has them all
    assert (two["working copy"], two["gradients"]) == (0, 2 * number + 4 * number)
    often = ("learner.ranks", "2"), ("learner.reduce_once", "false")
    assert needs(folder, *often, gpus=card * 4)["learner"].gpu["gradients"] == 2 * number


def test_a_micro_batch_fills_what_a_gpu_has_left(folder):
    model, open_ = model_of(folder), config_of(("learner.token_budget", "0"))
    assert token_budget(open_, model, 0) == 8192
    small, large = (token_budget(open_, model, int(size * GIB)) for size in (2.6, 80))
    assert 1024 <= small < large <= 65_536
    assert small % 1024 == 0
    spared = config_of(("learner.token_budget", "0"), ("learner.activation_checkpointing", "true"))
    assert token_budget(spared, model, int(2.6 * GIB)) > small
    # what is reckoned with it fits: the need of a batch that fills a micro-batch
    many = ("learner.token_budget", "0"), ("batch.num_groups", "3000")
    need = needs(folder, *many, gpus=(int(2.6 * GIB),))["learner"]
    assert 0.02 * GIB < need.gpu["activations"] < 0.1 * GIB
    with pytest.raises(ValidationError, match=r"learner\.token_budget = 5: a micro-batch has 64"):
        LearnerConfig(token_budget=5)


def test_on_a_gpu_moments_can_be_elsewhere_and_the_server_takes_what_is_left(folder):
    gpus = (10 * GIB, 10 * GIB)
    apart = needs(folder, gpus=gpus)
    assert set(apart["learner"].host) == {"libraries"}
    away = needs(folder, ("learner.offload", "true"), gpus=gpus)
    assert (apart["learner"].gpu["moments"], away["learner"].gpu["moments"]) == (
        8 * num_parameters(folder),
        0,
    )
    one = ("ray.colocate", "true"), ("sync.max_staleness", "0"), ("checkpoint.every_steps", "5")
    beside = needs(folder, *one, gpus=gpus[:1])
    left = 10 * GIB - resident_bytes(config_of(*one), folder)
    taken = beside["engine"].gpu_bytes + GIB
    assert taken == pytest.approx(min(left, 0.85 * 10 * GIB))


def test_room_is_told_in_tokens_and_in_sequences(folder):
    # 2 layers of 2 heads of 16, keys and values, in float32
    config = config_of(("rollout.cpu_kv_cache_gb", "1"), ("rollout.max_batch", "64"))
    model = model_of(folder)
    room = room_of(config, model, needs_of(config, model, loaded=Loaded(prompt=20)))
    assert room == Room(tokens=GIB // (4 * 2 * 2 * 2 * 16), longest=256, sequences=64)


def test_what_cannot_fit_is_told_with_what_can_be_done(folder):
    found = list(needs(folder).values())
    room = Room(tokens=1000, longest=500, sequences=2)
    assert lacking(found, room, 0.0, memory=20 * GIB, gpus=()) == ""
    host = lacking(found, room, 0.0, memory=GIB, gpus=())
    assert "the climb needs about" in host
    assert "this machine has 1.1. Lower learner.token_budget" in host
    card = lacking(
        list(needs(folder, gpus=(1 << 20,)).values()), room, 0.0, memory=20 * GIB, gpus=(1 << 20,)
    )
    assert "the learner needs about 0.0 GB of a GPU's memory" in card
    tight = lacking(found, Room(tokens=99, longest=500, sequences=0), 0.0, memory=GIB * 9, gpus=())
    assert "keys and values of 99 tokens, and one sequence may have 500. Raise rollout.cpu" in tight


def test_a_dry_run_says_what_each_process_needs(tmp_path):
    said = dry_run.plan(load(str(write_recipe(tmp_path)), [("rollout.engine", "vllm")]))
    for what in ("driver ", "learner ", "server ", "engine ", "in all ", "by reckoning"):
        assert what in said, what
    assert "room      a server holds the keys and values of " in said
    assert " sequences of 64 at once" in said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([("rollout.cpu_kv_cache_gb", "500")], "the climb needs about "),
        ([("rollout.cpu_kv_cache_gb", "0.00001")], "one sequence may have 64. Raise rollout.cpu"),
    ],
)
def test_a_dry_run_refuses_what_cannot_fit(tmp_path, more, said):
    recipe = str(write_recipe(tmp_path))
    with pytest.raises(BadConfig) as refused:
        dry_run.plan(load(recipe, [("rollout.engine", "vllm"), *more]))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_with_too_few_gpus_a_dry_run_refuses(tmp_path, monkeypatch):
    for module in (memory, dry_run):
        monkeypatch.setattr(module, "gpus_here", lambda: [80 * GIB])
    recipe = str(write_recipe(tmp_path))
    with pytest.raises(BadConfig, match=r"asks for 2 GPUs .* share one: ray\.colocate = true"):
        dry_run.plan(load(recipe, [("rollout.engine", "vllm")]))
    said = dry_run.plan(load(recipe, [("rollout.engine", "vllm"), ("ray.colocate", "true")]))
    assert "GPUs      1 needed, 1 found here" in said


def test_a_climb_looks_closer_only_where_a_rough_figure_does_not_fit(tmp_path, monkeypatch):
    recipe = str(write_recipe(tmp_path))
    config = load(recipe, [("learner.token_budget", "20000"), ("batch.num_groups", "300")])
    asked = []
    exact = memory.needs_of
    monkeypatch.setattr(
        memory, "needs_of", lambda *given, **how: asked.append(how["rough"]) or exact(*given, **how)
    )
    model = Path(config.model.path)
    memory.require_room(config, model, Loaded(prompt=5), rough=True)
    assert asked == [True]
    rough, _ = memory.require_room(config, model, Loaded(prompt=5), rough=True)
    found, _ = memory.require_room(config, model, Loaded(prompt=5))
    between = (memory.total_host(rough, 0) + memory.total_host(found, 0)) / 2
    monkeypatch.setattr(memory, "machine_bytes", lambda: int(between))
    asked.clear()
    memory.require_room(config, model, Loaded(prompt=5), rough=True)
    assert asked == [True, False]
    monkeypatch.setattr(memory, "machine_bytes", lambda: 1 << 30)
    with pytest.raises(BadConfig, match="the climb needs about"):
        memory.require_room(config, model, Loaded(prompt=5), rough=True)


def test_of_an_adapter_only_its_own_weights_are_trained(folder, tmp_path):
    config = config_of(("learner.lora.rank", "4"), ("learner.lora.modules", '["q_proj"]'))
    model = model_of(folder, config.learner.lora)
    # two layers, of each a matrix of 64 x 64
    assert model.trained == 2 * 4 * (64 + 64)
    held = {need.name: need for need in needs_of(config, model, loaded=Loaded(prompt=20))}[
        "learner"
    ].host
    number = num_parameters(folder)
    assert held["weights"] == 4 * (number + model.trained)
    assert (held["gradients"], held["moments"]) == (4 * model.trained, 8 * model.trained)
    own = config_of(("learner.lora.rank", "4"), ("learner.lora.base_dtype", "own"))
    assert memory.base_bytes(own.learner) == 2
    assert resident_bytes(config, folder) < resident_bytes(config_of(), folder)


def test_of_a_checkpoint_that_is_an_adapter_the_base_is_asked(folder, tmp_path):
    config = LearnerConfig.model_validate({"lora": {"rank": 2}, "threads": 1})
    Learner(folder, config, seed=0).save(tmp_path / "saved", {})
    assert model_of(tmp_path / "saved").parameters == num_parameters(folder)


def test_what_an_environment_and_a_tokenizer_take_counts_where_they_are_loaded(folder):
    config = config_of()
    model = model_of(folder)
    without = needs_of(config, model, loaded=Loaded(prompt=20))
    seen = Loaded(prompt=20, environment=300 << 20, tokenizer=50 << 20)
    more = {
        have.name: have.host_bytes - had.host_bytes
        for had, have in zip(without, needs_of(config, model, loaded=seen), strict=True)
    }
    alone, both = float(50 << 20), float(350 << 20)
    assert more == {"driver": both, "worker": both, "learner": 0, "server": alone, "engine": 0}


def test_what_is_loaded_is_seen_by_this_process_growing():
    kept, size = grown(lambda: bytearray(b"x" * (64 << 20)))
    assert len(kept) == 64 << 20
    assert size > 48 << 20


def test_a_model_without_a_tokenizer_is_reckoned_without_one(tmp_path):
    task = Task(id="one", prompt="1 + 1 =")
    assert loaded(tmp_path, task, 7) == Loaded(prompt=0, environment=7)
