"""`munro doctor --model`: what can be trained, and of what cannot the reason, in a sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import AutoTokenizer

from munro.machine.cli.main import main
from munro.machine.doctor import model
from munro.machine.doctor.types import Finding
from munro.rollout.vllm import architectures
from tests.hub import FakeHub, serving, use
from tests.rl.builders import VOCAB, make_model, save_model

HERMES = "{{ messages }}<tool_call>{% if tools %}{{ tools }}</tool_call>{% endif %}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serving() as hub:
        use(monkeypatch, hub, tmp_path / "cache")
        yield hub


@pytest.fixture(autouse=True)
def _served(monkeypatch: pytest.MonkeyPatch) -> None:
    """What vLLM knows, without the seconds of its import; `test_vllm_itself` asks it."""
    known = frozenset({"LlamaForCausalLM"})
    monkeypatch.setattr(architectures, "known_to_vllm", lambda: known)
    monkeypatch.setattr(model, "version_of", lambda package: "0.32")


def found(name: str | Path) -> dict[str, Finding]:
    return {one.name: one for one in model.check(str(name))}


def written(folder: Path, config: dict[str, Any], *files: str) -> Path:
    """A folder with that config, and empty files of these names."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for file in files:
        (folder / file).touch()
    return folder


def test_a_model_that_can_be_trained_is_told_with_its_sizes(tmp_path: Path):
    save_model(tmp_path / "model")
    told = found(tmp_path / "model")
    assert not [one for one in told.values() if one.level == "broken"]
    assert "LlamaForCausalLM, 0.0M parameters, 256 tokens of context" in told["model"].found
    assert told["learner"].found == "can train it; output matrix tied to the embedding"
    assert told["engines"].found == "vLLM and transformers"
    assert told["tokenizer"].found == f"{VOCAB} tokens"
    assert 'set "r1_zero"' in told["template"].cost
    # 2 layers, 2 heads of 8 for keys and values, 2 bytes each
    assert f"{2 * 2 * 2 * 8 * 2 / 1024:.1f} KiB for each token" in told["memory"].found


def test_a_model_that_vllm_cannot_update_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(architectures, "WITHOUT_UPDATES", frozenset({"LlamaForCausalLM"}))
    save_model(tmp_path / "model")
    told = found(tmp_path / "model")["engines"]
    assert "takes no new weights of it" in told.found
    assert 'rollout.engine = "transformers"' in told.cost


def test_a_padded_vocabulary_is_well_and_one_too_small_is_not(tmp_path: Path):
    save_model(tmp_path / "padded", make_model(vocab_size=128))
    assert "padded to 128 rows" in found(tmp_path / "padded")["tokenizer"].found
    save_model(tmp_path / "small", make_model(vocab_size=64))
    assert found(tmp_path / "small")["tokenizer"].level == "broken"


def test_the_form_of_calls_is_told_by_the_template(tmp_path: Path):
    folder = tmp_path / "model"
    save_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = HERMES
    tokenizer.save_pretrained(folder)
    assert found(folder)["template"].found.startswith("chat; ")


def of(name: str, **more: Any) -> dict[str, Any]:
    """A config of transformers' own as its file holds it."""
    return getattr(transformers, name)(**more).to_dict()


@pytest.mark.parametrize(
    ("config", "files", "why"),
    [
        (of("T5Config") | {"architectures": ["T5ForConditionalGeneration"]}, (),
         "T5ForConditionalGeneration is an encoder with a decoder"),
        (of("ViTConfig") | {"architectures": ["ViTModel"]}, (), "ViTModel writes no text"),
        (of("LlamaConfig") | {"architectures": ["LlamaForSequenceClassification"]}, (),
         "without an output matrix over its vocabulary"),
        (of("LlamaConfig") | {"quantization_config": {"quant_method": "awq"}}, (),
         r"quantised (awq), which cannot be trained"),
        ({"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}, (),
         "Munro runs no code of a model"),
        ({"model_type": "not_yet"}, (), "does not know the architecture 'not_yet'"),
        (of("LlamaConfig"), ("config.json", "pytorch_model.bin"), "PyTorch's pickles"),
        (of("LlamaConfig"), ("config.json", "model-q4.gguf"), "but model-q4.gguf (GGUF)"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_says_why(
    tmp_path: Path, config: dict[str, Any], files: tuple[str, ...], why: str
):
    told = found(written(tmp_path / "model", config, *files))
    assert told["learner"].level == "broken"
    assert why in told["learner"].cost
    assert "\n" not in told["learner"].cost


def test_an_adapter_names_its_base(tmp_path: Path):
    (tmp_path / "model").mkdir()
    adapter = {"base_model_name_or_path": "own/base"}
    (tmp_path / "model" / "adapter_config.json").write_text(json.dumps(adapter))
    assert "an adapter of own/base" in found(tmp_path / "model")["model"].cost


def test_a_name_on_the_hub_is_looked_at_without_its_weights(hub: FakeHub, tmp_path: Path):
    save_model(tmp_path / "made")
    hub.add("own/tiny", tmp_path / "made")
    told = found("own/tiny")
    assert told["learner"].level == "ok"
    assert "model.safetensors" not in hub.fetched


def munro(monkeypatch: pytest.MonkeyPatch, name: str) -> int:
    monkeypatch.setattr(sys, "argv", ["munro", "doctor", "--model", name])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code or 0))


def test_the_exit_status_says_whether_a_climb_can_start(
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    save_model(tmp_path / "model")
    assert munro(monkeypatch, str(tmp_path / "model")) == 0
    assert "a climb can start" in capsys.readouterr().out
    assert munro(monkeypatch, str(written(tmp_path / "none", of("T5Config")))) == 1
    assert "in the way of a climb: learner" in capsys.readouterr().out
    assert munro(monkeypatch, "own/none") == 2
    assert "munro: model own/none: there is no such folder" in capsys.readouterr().err
    assert munro(monkeypatch, str(tmp_path / "nowhere")) == 2


@pytest.mark.vllm
def test_vllm_itself_knows_the_families_and_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    known = architectures.known_to_vllm()
    assert {
        *("Qwen3ForCausalLM", "LlamaForCausalLM", "Gemma3ForCausalLM", "MistralForCausalLM"),
        *("Phi3ForCausalLM", "Qwen3MoeForCausalLM", "GptOssForCausalLM", "MunroForCausalLM"),
    } <= known
