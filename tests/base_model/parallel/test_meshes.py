"""Meshes that are not of the ranks are refused with the numbers, before anything is started."""

from __future__ import annotations

import re

import pytest

from munro.base_model.config import ParallelConfig
from munro.base_model.training.recipe import PhaseConfig
from munro.base_model.training.sharding import Alone
from munro.machine.loading import page
from munro.rl.config import LearnerConfig

PHASE = {"tokens": 4096, "context": 32, "batch_tokens": 256}


@pytest.mark.parametrize(
    ("ranks", "parallel", "said"),
    [
        (4, {"replicate": 2, "context": 4}, "replicate = 2 * context = 4 is 8, and learner.ranks"),
        (8, {"shard": 2, "context": 2}, "shard = 2 * context = 2 is 4, and learner.ranks = 8"),
        (4, {"experts": 3}, "experts = 3 does not divide the 4 ranks of a replica"),
        (4, {"replicate": 2, "experts": 4}, "experts = 4 does not divide the 2 ranks of a replica"),
        (1, {"experts": 2}, "experts = 2 does not divide the 1 ranks"),
    ],
)
def test_meshes_are_of_the_ranks(ranks, parallel, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        LearnerConfig(ranks=ranks, parallel=ParallelConfig(**parallel))


def test_an_adapter_is_not_parted():
    with pytest.raises(ValueError, match="leave one of them out"):
        LearnerConfig(ranks=2, parallel=ParallelConfig(context=2), lora={})


def test_ranks_of_one_context_have_one_share():
    config = LearnerConfig(ranks=8, parallel=ParallelConfig(context=2, experts=8, shard=4))
    assert config.data_ranks == 4
    assert [config.data_rank(rank) for rank in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"parallelism": {"ranks": 4}, "parallel": {"replicate": 3}}, "replicate = 3"),
        (
            {"parallelism": {"ranks": 32}, "parallel": {"context": 2}},
            "8 rows of 32 tokens, which do not divide among parallelism.ranks = 32 / "
            "parallel.context = 16",
        ),
        (
            {"context": 30, "batch_tokens": 240, "parallelism": {"ranks": 4}}
            | {"parallel": {"context": 4}},
            "context = 30 tokens of a row do not divide among parallel.context = 4",
        ),
    ],
)
def test_a_phase_s_rows_and_columns_divide(more, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        PhaseConfig.model_validate(PHASE | more)


def test_a_phase_tells_the_trainer():
    phase = PhaseConfig.model_validate(
        PHASE | {"parallelism": {"ranks": 16}, "parallel": {"context": 2, "experts": 4}}
    )
    assert phase.training(0).parallel == ParallelConfig(context=2, experts=4)


def test_one_rank_has_no_meshes():
    with pytest.raises(ValueError, match="the number of ranks = 1"):
        Alone("cpu").over(ParallelConfig(context=2))


def test_meshes_are_on_the_page_of_several_ranks_alone():
    assert "parallel:" not in page(LearnerConfig())
    assert "parallel:" in page(LearnerConfig(ranks=2))
