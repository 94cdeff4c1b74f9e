"""The base is built once, rebuilt when what decides it changes, and taken up where it stopped."""

from __future__ import annotations

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from munro.base_model.config import ModelConfig
from munro.base_model.model.model import MunroForCausalLM
from munro.base_model.small import quickstart
from munro.base_model.small.quickstart import base_folder, build_base, default_cache_dir
from tests.base_model.builders import every_third_held_out, nothing_held_out, small_base


class Killed(Exception):
    pass


def test_a_base_is_built_once_and_loads_with_transformers(tmp_path):
    steps: list[int] = []
    built = build_base(
        small_base(num_steps=3),
        is_held_out=nothing_held_out,
        cache_dir=tmp_path,
        on_progress=lambda metrics: steps.append(metrics.step),
    )
    again = build_base(
        small_base(num_steps=3),
        is_held_out=nothing_held_out,
        cache_dir=tmp_path,
        on_progress=lambda metrics: steps.append(metrics.step),
    )
    assert steps == [1, 2, 3]
    assert again.path == built.path
    tokenizer = AutoTokenizer.from_pretrained(built.path)
    model = AutoModelForCausalLM.from_pretrained(built.path)
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == model.generation_config.eos_token_id
    assert tokenizer.eos_token_id == model.config.eos_token_id


def test_a_base_of_our_own_family_is_a_mixture_that_learns_with_balance(tmp_path):
    small = small_base(num_steps=8, balance=0.01)
    shape = {"architecture": "munro", "num_layers": 3}
    config = small.model_copy(update={"model": ModelConfig(**small.model.model_dump() | shape)})
    losses: list[float] = []
    built = build_base(
        config,
        is_held_out=nothing_held_out,
        cache_dir=tmp_path,
        on_progress=lambda metrics: losses.append(metrics.loss),
    )
    model = AutoModelForCausalLM.from_pretrained(built.path)
    assert isinstance(model, MunroForCausalLM)
    assert model.config.layer_types == ["sliding_attention", "sliding_attention", "full_attention"]
    assert model.config.num_moe_layers == 1
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"num_heads": 3}, "does not divide into model.num_heads = 3"),
        ({"architecture": "munro", "num_layers": 4}, "num_layers = 4 is not a multiple of 3"),
        ({"architecture": "llama", "shape": {"window": 8}}, "is for our own family alone"),
    ],
)
def test_sizes_that_make_no_small_model_are_refused(sizes, named):
    with pytest.raises(ValueError, match=named):
        ModelConfig(**sizes)


def test_an_interrupted_build_goes_on_where_it_stopped(tmp_path):
    def kill(metrics):
        if metrics.step == 6:
            raise Killed

    config = small_base()
    with pytest.raises(Killed):
        build_base(config, is_held_out=nothing_held_out, cache_dir=tmp_path, on_progress=kill)
    steps: list[int] = []
    build_base(
        config,
        is_held_out=nothing_held_out,
        cache_dir=tmp_path,
        on_progress=lambda metrics: steps.append(metrics.step),
    )
    assert steps == list(range(5, 13))


def test_whatever_decides_the_weights_decides_the_folder(tmp_path):
    folders = {
        base_folder(config, is_held_out=predicate, cache_dir=tmp_path)
        for config, predicate in (
            (small_base(), nothing_held_out),
            (small_base(seed=1), nothing_held_out),
            (small_base(num_steps=13), nothing_held_out),
            (small_base(), every_third_held_out),
        )
    }
    assert len(folders) == 4
    assert base_folder(
        small_base(), is_held_out=nothing_held_out, cache_dir=tmp_path
    ) == base_folder(small_base(), is_held_out=nothing_held_out, cache_dir=tmp_path)


def test_a_base_of_other_texts_is_another_base(monkeypatch, tmp_path):
    def folder():
        return base_folder(small_base(), is_held_out=nothing_held_out, cache_dir=tmp_path)

    before = folder()
    monkeypatch.setattr(quickstart, "worked", lambda numbers: f"{sum(numbers)} at once")
    assert folder() != before


def test_bases_are_kept_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "munro"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "munro"
