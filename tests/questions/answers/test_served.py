"""Tiers that Munro runs: checkpoints through the engines that climbs sample with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from munro.base_model.model.tokenizer import train_tokenizer
from munro.envs.types import KeptTokens
from munro.machine.cli.main import munro
from munro.questions import tables
from munro.questions.answers.attempts import Attempts
from munro.questions.errors import QuestionsError
from munro.rewards.errors import PolicyError
from munro.rollout.engine import Completion, Request
from tests.questions.answers.scoring import Scoring, lines, rows, strong

CONTEXT = 96
BUILD = "munro.questions.answers.tiers.served.build_engine"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of one layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=CONTEXT,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    texts = [row["question"] + "0123456789" for row in rows()]
    train_tokenizer(texts, vocab_size=300, max_context=CONTEXT).save_pretrained(folder)
    return folder


def tier(name: str, model: Path, **more: Any) -> dict[str, Any]:
    serve = {"engine": "transformers", "template": "plain"}
    one = {"name": name, "model": str(model), "prompt": "{question}", "final": "last_number"}
    return one | {"max_tokens": 8, "serve": serve, "retries": 1} | more


class Told:
    """An engine that writes 42, and dies as often as it is told."""

    alive: list[Told]

    def __init__(self, model: str, deaths: list[int]) -> None:
        from transformers import AutoTokenizer

        self.ids = AutoTokenizer.from_pretrained(model).encode("7, 42", add_special_tokens=False)
        self.deaths = deaths
        assert not Told.alive, "one model at a time"
        Told.alive.append(self)

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        if self.deaths and self.deaths.pop():
            raise PolicyError("the engine died")
        ids = np.array(self.ids, np.int32)
        return [
            Completion(
                token_ids=ids, logp=np.zeros(len(ids), np.float32), stopped=True,
                kept=KeptTokens.nothing(len(ids)), versions=np.zeros(len(ids), np.int32),
            )
            for _ in requests
        ]  # fmt: skip

    async def close(self) -> None:
        Told.alive.remove(self)


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whether the engine dies, call by call, from the last."""
    listed: list[int] = []
    Told.alive = []
    monkeypatch.setattr(BUILD, lambda model, *_, **__: Told(model, listed))
    return listed


def test_a_checkpoint_tries_and_is_remembered(
    scored: Scoring, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"tiers": [tier("t", model)], "cache": str(tmp_path / "cache")}
    scored(strong, by=None, **how)
    made = list(tables.read(scored.out / "stages" / "attempts.parquet", Attempts))
    assert [len(one.answers) for one in made] == [4] * 10
    assert len({one.answers for one in made}) > 1  # no two questions share their draws
    monkeypatch.setattr(BUILD, None)  # nothing is run again
    scored.out = tmp_path / "other"
    scored(strong, by=None, **how)
    again = list(tables.read(scored.out / "stages" / "attempts.parquet", Attempts))
    assert again == made


def test_one_model_at_a_time_and_an_engine_that_died_is_started_again(
    scored: Scoring, model: Path, deaths: list[int]
) -> None:
    deaths += [0, 1]
    done, out = scored(strong, by=None, tiers=[tier("one", model), tier("two", model, seed=1)])
    assert lines(out / "questions.jsonl")[2]["pass_rates"] == {"one": 0.0, "two": 0.0}
    assert done.doubts == {"not judged": 10}
    assert Told.alive == []
    scored.out = scored.out.with_name("other")
    deaths += [0, 1, 1]
    with pytest.raises(QuestionsError, match=r"tier one \(.*\) cannot be run: the engine died"):
        scored(strong, by=None, tiers=[tier("one", model)])
    assert Told.alive == []


def test_a_question_that_does_not_fit_has_failed(
    scored: Scoring, model: Path, deaths: list[int]
) -> None:
    scored.write([*rows(), {"id": 11, "question": "What is 42? " * 40, "answer": "42"}])
    done, out = scored(strong, by=None, tiers=[tier("t", model)])
    why = lines(out / "questions.jsonl")[11]["unrated"]["t"]
    assert why.startswith("4 of 4 attempts failed: a prompt of ")
    assert why.endswith(f"tokens, where {CONTEXT} is the most")
    assert done.brackets["unrated"] == 1
    assert deaths == []
    serve = {"engine": "transformers", "template": "plain", "max_context": CONTEXT + 1}
    with pytest.raises(QuestionsError, match=f"serve.max_context = {CONTEXT + 1}, but .* Lower it"):
        scored(strong, by=None, tiers=[tier("t", model, serve=serve)])


def test_the_command_runs_a_checkpoint_and_says_in_which_template(
    scored: Scoring, model: Path, tmp_path: Path, deaths: list[int]
) -> None:
    (tmp_path / "tiers.toml").write_text(
        f'cache = ""\n[[tiers]]\nname = "small"\nmodel = "{model}"\n[scoring]\nattempts = 2\n'
    )
    words = ["questions", "score", str(scored.file), "--tiers", str(tmp_path / "tiers.toml")]
    done = CliRunner().invoke(munro, [*words, "--out", str(scored.out)], catch_exceptions=False)
    assert done.exit_code == 0
    said = "tier small: template chat: the checkpoint does not say what it was climbed in"
    assert said in done.output
    row = json.loads((scored.out / "questions.jsonl").read_text().splitlines()[0])
    assert row["pass_rates"] == {"small": 0.0}
    assert deaths == []


def test_an_adapter_is_no_tier(scored: Scoring, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer_config.json"):
        (tmp_path / "adapter" / name).write_text("{}")
    with pytest.raises(QuestionsError, match="holds an adapter, and a tier is run whole: munro"):
        scored(strong, by=None, tiers=[tier("t", tmp_path / "adapter")])
