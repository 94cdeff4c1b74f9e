"""`munro mix`: what it tells, what it would spend, and a search that trains for real."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner

from munro.base_model.results import read_results
from munro.base_model.scaling.mixture_config import MixConfig
from munro.base_model.scaling.mixture_search import Task, search
from munro.machine.cli.main import munro
from munro.machine.loading import load_as
from munro.machine.verbs.mix import budget, verdict, weights_table
from tests.base_model.scaling.test_mixture_search import PLENTY, Known, mix_config, true_losses
from tests.base_model.tiny_ladder import SHAPE, TRAINING, sources, write_texts

ROOT = Path(__file__).parents[3]


def told(train: Known, **changes) -> tuple[str, str]:
    task = Task(config=mix_config(**changes), vocab_size=64, unique_tokens=PLENTY)
    found = search(task, train)
    return "\n".join(verdict(found, task)), weights_table(found)


def test_the_verdict_tells_errors_finalists_front_and_epochs():
    words, table = told(Known(noise=0))
    for part in (
        "round 2, global: 24 mixtures, best measured target",
        "error unseen",
        "the first weights",
        "Pareto front",
        "accepted: the same mixture wins with 2.8x the compute",
    ):
        assert part in words
    mixture = tomllib.loads(table)["mixture"]
    assert set(mixture) == set("abmg")
    assert sum(mixture.values()) == pytest.approx(1, abs=1e-4)


def test_a_flip_and_a_lead_within_the_noise_are_told():
    def flipped(plan):
        own, first = true_losses(plan.weights), true_losses(dict.fromkeys("abmg", 0.25))
        return own if "x2.8" not in plan.rung else {k: first[k] ** 2 / own[k] for k in own}

    words, table = told(Known(flipped, noise=0))
    assert "not accepted: another mixture wins with more compute" in words
    assert "NOT accepted" in table
    words, _ = told(Known(noise=0.02), rounds=1)
    assert "the two are not told apart" in words


@pytest.mark.parametrize("name", ["mix", "mix_tiny"])
def test_the_recipes_load_and_tell_what_they_would_spend(name):
    config = load_as(MixConfig, str(ROOT / "configs" / f"{name}.toml"))
    told = budget(config)
    assert f"of {config.proxies} proxies" in told
    assert "FLOPs in all" in told


@pytest.mark.slow
def test_a_search_trains_proxies_and_resumes_without_training_again(tmp_path, monkeypatch):
    write_texts(tmp_path / "texts")
    recipe = {
        "name": "test",
        "tokens_per_param": 0.1,
        "proxies": 4,
        "finalists": 2,
        "considered": 200,
        "workers": 2,
        "rung": {"num_layers": 2, "shape": {"hidden_size": 8}},
        "architecture": {"shape": SHAPE, "model": {"dropout": 0.0}},
        "training": TRAINING,
        "data": {
            "vocab_size": 300,
            "held_out_every": 5,
            "sources": sources(str(tmp_path / "texts")),
        },
    }
    file = tmp_path / "mix.toml"
    file.write_text(tomli_w.dumps(recipe))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(munro, ["mix", str(file)])
    assert done.exit_code == 0, done.output
    runs = read_results(tmp_path / "runs" / "test" / "mixtures.jsonl")
    assert len({run.name for run in runs}) in (4, 5)
    assert {run.rung for run in runs} == {"L2", "L2x2.8"}
    assert "finalists, at the proxies' size" in done.output
    again = CliRunner().invoke(munro, ["mix", str(file)])
    assert again.exit_code == 0
    assert read_results(tmp_path / "runs" / "test" / "mixtures.jsonl") == runs
