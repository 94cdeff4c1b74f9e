"""Weights that are not whole are refused by their name, at every door that opens them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from munro.base_model import weights as opened
from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.machine.climb.base import model_folder
from munro.machine.climb.dry_run import plan
from munro.machine.config import RunConfig
from munro.rewards.errors import PolicyError
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rollout.config import RolloutConfig
from munro.rollout.inference import build_engine
from tests.base_model.tiny_munro import tiny_model
from tests.rl.builders import VOCAB, make_model, save_model
from tests.rl.policy.architectures import saved

LOST = "model.layers.1.self_attn.q_proj.weight"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 269060552\n"


def learner(folder: Path) -> None:
    Learner(str(folder), LearnerConfig(threads=1), seed=0)


def dry_run(folder: Path) -> None:
    plan(RunConfig.model_validate(
        {"num_steps": 1, "env": "arithmetic", "model": {"path": str(folder)}}
    ))  # fmt: skip


def engine(name: str) -> Callable[[Path], None]:
    def start(folder: Path) -> None:
        config = RolloutConfig.model_validate({"engine": name})
        build_engine(str(folder), config, seed=0, max_context=64)

    return start


DOORS = {
    "learner": learner,
    "dry run": dry_run,
    "transformers": engine("transformers"),
    "vllm": engine("vllm"),
}


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def change(folder: Path, how: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(weights(folder))
    how(tensors)
    save_file(tensors, weights(folder), metadata={"format": "pt"})


def without_one(folder: Path) -> None:
    change(folder, lambda tensors: tensors.pop(LOST))


def with_nan(folder: Path) -> None:
    change(folder, lambda tensors: tensors[LOST][3, 4].fill_(float("nan")))


def too_small(folder: Path) -> None:
    change(folder, lambda tensors: tensors.update({LOST: tensors[LOST][:-1].clone()}))


def cut_short(folder: Path) -> None:
    weights(folder).write_bytes(weights(folder).read_bytes()[:-1000])


def cut_in_its_header(folder: Path) -> None:
    weights(folder).write_bytes(weights(folder).read_bytes()[:100])


def as_pointer(folder: Path) -> None:
    weights(folder).write_text(POINTER)


def tokenizer_as_pointer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text(POINTER)


def as_gptq(folder: Path) -> None:
    file = folder / "config.json"
    how = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": how}))


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", ')


def unknown_model(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": "alpaca"}))


def index_of_more(folder: Path) -> None:
    names = {name: weights(folder).name for name in [*load_file(weights(folder)), "model.extra"]}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


FAULTS = {
    without_one: rf"{LOST} missing",
    with_nan: rf"{LOST} holds 1 numbers that are not finite",
    too_small: rf"{LOST} is \(31, 32\) in the file, and its config makes it \(32, 32\)",
    cut_short: r"model\.safetensors is cut short: it has .* bytes, without model\.",
    cut_in_its_header: r"model\.safetensors is cut short or no safetensors file \(100 bytes\)",
    as_pointer: r"model\.safetensors is a Git LFS pointer.*git lfs pull",
    tokenizer_as_pointer: r"tokenizer\.json is a Git LFS pointer",
    as_gptq: r"quantised \(gptq\)",
    broken_config: r"config\.json is no JSON",
    unknown_model: r"model type `alpaca`",
    index_of_more: r"model\.extra missing",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_model(tmp_path_factory.mktemp("whole") / "model", make_model()))


def copy_of(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_is_not_whole_is_refused_by_its_name(whole, tmp_path, fault, door):
    folder = copy_of(whole, tmp_path / "model")
    fault(folder)
    with pytest.raises((CheckpointError, PolicyError), match=FAULTS[fault]) as refused:
        DOORS[door](folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_whole_is_opened(whole):
    assert Checkpoint(whole).prove().path == whole
    dry_run(whole)


@pytest.mark.parametrize("kind", ["GPT-2", "Mixtral", "DeepSeek-V3", "Mamba"])
def test_renamed_fused_and_tied_weights_are_not_missing(tmp_path, kind):
    Checkpoint(saved(kind, tmp_path / "model")).prove()


def test_our_own_architecture_is_proven_too(tmp_path):
    model = tiny_model(sizes={"vocab_size": VOCAB}, max_position_embeddings=256, router_bias=True)
    folder = Path(save_model(tmp_path / "model", model))
    Checkpoint(folder).prove()
    change(folder, lambda tensors: tensors.pop("model.layers.1.mlp.router.bias"))
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.router\.bias missing"):
        Checkpoint(folder).prove()


def test_a_missing_expert_is_told(tmp_path):
    folder = Path(saved("Qwen3-MoE", tmp_path / "model"))
    change(folder, lambda tensors: tensors.pop("model.layers.0.mlp.experts.3.down_proj.weight"))
    with pytest.raises(CheckpointError, match=r"experts\.down_proj is \(5, .* makes it \(6, "):
        Checkpoint(folder).prove()


def test_a_dry_run_opens_the_base_that_is_distilled_onto(whole, tmp_path):
    folder = copy_of(whole, tmp_path / "base")
    without_one(folder)
    asked = {"num_steps": 1, "env": "arithmetic", "model": {"path": str(whole)}}
    onto = {"every": 1, "onto": str(folder)}
    with pytest.raises(CheckpointError, match=rf"{LOST} missing"):
        plan(RunConfig.model_validate(asked | {"distill": onto}))


def test_a_climb_looks_at_the_files_before_it_starts_anything(whole, tmp_path):
    folder = copy_of(whole, tmp_path / "model")
    as_pointer(folder)
    asked = {"num_steps": 1, "env": "arithmetic", "model": {"path": str(folder)}}
    nothing: Any = None
    with pytest.raises(CheckpointError, match="Git LFS pointer"):
        model_folder(RunConfig.model_validate(asked), nothing)


def test_the_command_line_says_it_in_one_line(whole, tmp_path):
    folder = copy_of(whole, tmp_path / "model")
    without_one(folder)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'num_steps = 1\nenv = "arithmetic"\nmodel.path = "{folder}"\n')
    done = subprocess.run(
        [sys.executable, "-c", "from munro.machine.cli.main import main; main()",
         "climb", str(recipe), "--dry-run"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert f"{LOST} missing" in line


def test_a_file_is_read_to_its_end_however_often_it_is_opened(tmp_path, monkeypatch):
    held = {f"weight_{number}": torch.full((64,), float(number)) for number in range(9)}
    save_file(held, tmp_path / "model.safetensors")
    monkeypatch.setattr(opened, "AT_ONCE", 3 * 64 * 4)
    read = dict(opened._weights_in(tmp_path / "model.safetensors"))
    assert read.keys() == held.keys()
    assert all(torch.equal(read[name], held[name]) for name in held)
