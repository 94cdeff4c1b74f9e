"""`munro merge`: the whole model says what base and adapter say, and what cannot be is a line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from munro.base_model.adapters import attach
from munro.base_model.adapters.config import LoraConfig
from munro.base_model.checkpoint import Checkpoint
from munro.machine.cli.main import munro
from tests.hub import serving, use
from tests.rl.builders import make_model, save_model
from tests.rollout.tiny_adapters import move

SAID = re.compile(r"are (\S+) nats from .* which are (\S+) from the base's")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Path(save_model(tmp_path / "base"))


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    model = Checkpoint(base).model(dtype=torch.float32)
    attach.attach(model, LoraConfig(rank=4), base=str(base), seed=0)
    move(model, seed=1)
    return Checkpoint.write(
        tmp_path / "adapter",
        model=model,
        tokenizer=Checkpoint(base).tokenizer(),
        state_dict=attach.weights_of(model),
        provenance={"run": "mine"},
    ).path


def merge(*words: object) -> str:
    done = CliRunner().invoke(munro, ["merge", *map(str, words)], prog_name="munro")
    if done.exception and not isinstance(done.exception, SystemExit):
        return f"{type(done.exception).__name__}: {done.exception}"
    return str(done.output)


def test_the_whole_model_says_what_base_and_adapter_say(base, adapter, tmp_path):
    off, moved = map(float, SAID.search(merge(adapter, tmp_path / "whole")).groups())
    assert off < 1e-4 < 0.1 < moved
    whole = Checkpoint(tmp_path / "whole").require()
    assert not whole.is_adapter
    assert whole.provenance() == {"run": "mine", "merged_from": str(adapter)}
    before = Checkpoint(base).model(dtype=torch.float32).state_dict()
    after = whole.model(dtype=torch.float32).state_dict()
    assert before.keys() == after.keys()
    moved_weights = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved_weights == {n for n in before if n.endswith("_proj.weight")}


def test_in_bfloat16_it_is_off_by_more_and_says_so(adapter, tmp_path):
    off, _ = map(
        float, SAID.search(merge(adapter, tmp_path / "whole", "--dtype", "bfloat16")).groups()
    )
    assert off > 1e-3
    assert Checkpoint(tmp_path / "whole").model(dtype="auto").dtype == torch.bfloat16


def test_a_base_that_has_moved_is_named_and_another_is_refused(base, adapter, tmp_path):
    base.rename(tmp_path / "moved")
    assert "its base is not at" in merge(adapter, tmp_path / "whole")
    other = save_model(tmp_path / "other", make_model(seed=5))
    assert "it was trained on another base than what stands at" in merge(
        adapter, tmp_path / "whole", "--base", other
    )
    assert not (tmp_path / "whole").exists()
    assert "wrote" in merge(adapter, tmp_path / "whole", "--base", tmp_path / "moved")


def test_what_is_no_adapter_or_is_there_already_is_told(base, adapter, tmp_path):
    assert "it is a whole model: there is nothing to merge" in merge(base, tmp_path / "whole")
    assert "it exists already" in merge(adapter, base)
    (adapter / "adapter_model.safetensors").unlink()
    assert "adapter_model.safetensors missing" in merge(adapter, tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_dora": True}, "it is LORA with use_dora, of which only plain LoRA is known here"),
        ({"peft_type": "IA3"}, "it is IA3, of which only plain LoRA"),
    ],
)
def test_another_kind_of_adapter_is_told(adapter, tmp_path, changes, said):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    assert said in merge(adapter, tmp_path / "whole")


def test_one_that_is_cut_short_is_told(adapter, tmp_path):
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    said = merge(adapter, tmp_path / "whole")
    assert said.startswith("CheckpointError: checkpoint ")
    assert "adapter_model.safetensors cannot be read" in said
    shutil.rmtree(adapter)
    assert "the folder itself missing" in merge(adapter, tmp_path / "whole")


def test_an_adapter_is_pushed_as_the_whole_model_that_is_made_of_it(adapter, tmp_path):
    words = ["push", str(adapter), "me/mine", "--to", str(tmp_path / "out")]
    done = CliRunner().invoke(munro, words, prog_name="munro")
    assert (
        f"is an adapter, which says where its base lies here: push the whole model that munro "
        f"merge {adapter} FOLDER makes of it" in str(done.exception)
    )
    assert not (tmp_path / "out").exists()


def test_the_base_may_be_named_as_the_hub_does(base, adapter, tmp_path, monkeypatch):
    with serving() as hub:
        use(monkeypatch, hub, tmp_path / "cache")
        hub.add("own/base", base)
        assert "wrote" in merge(adapter, tmp_path / "whole", "--base", "own/base")
        assert "model own/none: there is no such" in merge(
            adapter, tmp_path / "other", "--base", "own/none"
        )
