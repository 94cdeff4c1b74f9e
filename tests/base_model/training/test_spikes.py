"""A step that stands out is noticed, an ordinary one is not, and the batch's sources are named."""

from __future__ import annotations

from typing import Any

import pytest

from munro.base_model.config import SpikeConfig
from munro.base_model.data.shards.packing import Lesson
from munro.base_model.training.spikes import SpikeWatch, shares_by_source

CONFIG = SpikeConfig(window=8)


def watched(*losses: float, grad_norm: float = 1.0) -> SpikeWatch:
    watch = SpikeWatch(config=CONFIG)
    for loss in losses:
        watch = watch.after(loss, grad_norm)
    return watch


def test_a_loss_far_above_the_window_is_a_spike_with_what_was_usual():
    watch = watched(2.0, 2.1, 1.9, 2.0, 2.1, 1.9)
    assert watch.spike(2.5, 1.0) is None
    assert watch.spike(3.5, 1.0) == {
        "loss": 3.5,
        "usual_loss": 2.0,
        "grad_norm": 1.0,
        "usual_grad_norm": 1.0,
    }


def test_a_gradient_norm_of_many_times_the_usual_is_a_spike():
    watch = watched(2.0, 2.1, 1.9, 2.0, grad_norm=0.2)
    assert watch.spike(2.0, 0.9) is None
    assert watch.spike(2.0, 1.1) is not None


def test_nothing_stands_out_before_half_a_window_is_seen():
    assert watched(2.0, 2.0, 2.0).spike(50.0, 50.0) is None
    assert watched(2.0, 2.0, 2.0, 2.0).spike(50.0, 50.0) is not None


def test_a_loss_that_hardly_moves_makes_no_spike_of_a_tremor():
    assert watched(*[2.0] * 8).spike(2.05, 1.0) is None


def test_a_falling_loss_is_no_spike():
    watch = SpikeWatch(config=CONFIG)
    for step in range(40):
        loss = 6.0 * 0.9**step
        assert watch.spike(loss, 1.0) is None
        watch = watch.after(loss, 1.0)
    assert len(watch.losses) == CONFIG.window


class Sourced:
    def source(self, index: int) -> str:
        return "code" if index % 2 else "prose"

    def tokens(self, index: int, progress: float) -> Any:
        ids = [7] * (30 if index % 2 else 10)
        return Lesson(ids, [True] * len(ids)) if index % 2 else ids


def test_sources_share_a_batch_by_their_tokens():
    shares = shares_by_source(Sourced(), range(4, 8), 0.5)
    assert shares == {"code": pytest.approx(0.75), "prose": pytest.approx(0.25)}
    assert list(shares) == ["code", "prose"]


def test_a_corpus_without_sources_has_no_shares():
    assert shares_by_source(object(), range(4), 0.0) == {}
