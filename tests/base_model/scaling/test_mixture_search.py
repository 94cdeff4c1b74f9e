"""The search finds the best mixture of a known surface, within its caps, and doubts what flips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from munro.base_model.data.errors import SourceExhausted
from munro.base_model.results import TrainedRun, weights_for
from munro.base_model.scaling.mixture_config import MixConfig
from munro.base_model.scaling.mixture_search import Findings, Task, search
from munro.base_model.scaling.plan import Plan
from munro.base_model.scaling.surfaces import Surface, capped, draw, pareto_front
from tests.base_model.tiny_ladder import SHAPE, TRAINING

PLENTY = dict.fromkeys("abmg", 1e12)


def mix_config(**changes) -> MixConfig:
    categories = {"a": "code", "b": "code", "m": "math", "g": "general"}
    raw = {
        "name": "test",
        "rung": {"num_layers": 2, "shape": {"hidden_size": 8}},
        "architecture": {"shape": SHAPE},
        "proxies": 24,
        "rounds": 2,
        "considered": 4000,
        "training": TRAINING,
        "data": {
            "sources": [
                {"path": name, "category": category} for name, category in categories.items()
            ]
        },
    }
    return MixConfig.model_validate(raw | changes)


def true_losses(weights: Mapping[str, float]) -> dict[str, float]:
    """More of a source lowers its category's loss, ever less; "a" is the better code."""
    a, b, m, g = (weights[name] for name in "abmg")
    return {
        "code": 1.2 + 0.3 * (0.7 * a + 0.3 * b + 0.2 * (a * b) ** 0.5 + 0.01) ** -0.3,
        "math": 0.8 + 0.2 * (m + 0.05 * a + 0.01) ** -0.4,
        "general": 2.0 + 0.3 * (g + 0.2 * b + 0.01) ** -0.2,
    }


def target(weights: Mapping[str, float]) -> float:
    reference = true_losses(dict.fromkeys("abmg", 0.25))
    shares = weights_for(list(reference))
    own = true_losses(weights)
    return sum(shares[name] * own[name] / reference[name] for name in shares)


class Known:
    """Trains on the known surface, with a little noise that is the same for the same mixture."""

    def __init__(self, losses=true_losses, noise: float = 0.0005) -> None:
        self.losses, self.noise = losses, noise
        self.plans: list[Plan] = []

    def __call__(self, plans: Sequence[Plan]) -> list[TrainedRun]:
        self.plans += plans
        runs = []
        for plan in plans:
            rng = np.random.default_rng([*plan.name.encode(), *plan.rung.encode()])
            losses = self.losses(plan.weights) if self.losses is true_losses else self.losses(plan)
            noisy = {k: v * np.exp(self.noise * rng.standard_normal()) for k, v in losses.items()}
            runs.append(
                TrainedRun(
                    name=plan.name, rung=plan.rung, flops=plan.flops, seconds=None, losses=noisy
                )
            )
        return runs


def found(train: Known, unique: Mapping[str, float] = PLENTY, **changes) -> Findings:
    return search(Task(config=mix_config(**changes), vocab_size=64, unique_tokens=unique), train)


def best_known() -> float:
    drawn = np.random.default_rng(1).dirichlet(np.ones(4), 20_000)
    return min(target(dict(zip("abmg", row, strict=True))) for row in drawn)


def test_the_best_mixture_of_a_known_surface_is_found():
    result = found(Known())
    began, best, truly = target(result.began), target(result.best), best_known()
    assert best - truly < 0.05 * (began - truly)
    assert result.best["a"] > 3 * result.best["b"]
    assert sum(result.best.values()) == pytest.approx(1, abs=1e-5)


def test_searches_inside_a_category_leave_the_others_alone_and_take_turns():
    result = found(Known())
    assert [each.name for each in result.searches] == [
        "round 1, code",
        "round 1, global",
        "round 2, code",
        "round 2, global",
    ]
    inside, over = result.searches[:2]
    for trial in inside.trials:
        assert (trial.weights["m"], trial.weights["g"]) == pytest.approx((0.25, 0.25), abs=1e-5)
    share = inside.proposed["a"] / (inside.proposed["a"] + inside.proposed["b"])
    for trial in over.trials:
        own = trial.weights["a"] / (trial.weights["a"] + trial.weights["b"])
        assert own == pytest.approx(share, abs=1e-3)


def test_no_mixture_reads_a_source_beyond_its_cap():
    train = Known()
    task = Task(config=mix_config(), vocab_size=64, unique_tokens=PLENTY)
    scarce = PLENTY | {"a": 0.02 * task.num_tokens}
    result = found(train, scarce)
    most = max(plan.weights["a"] for plan in train.plans)
    assert 0.9 * 8 * 0.02 < most <= 8 * 0.02
    assert result.best["b"] > 0


def test_sources_too_short_for_the_run_are_a_sentence():
    with pytest.raises(SourceExhausted, match="each read up to its cap"):
        found(Known(), dict.fromkeys("abmg", 10.0))


def test_proxies_of_a_long_run_see_so_few_documents_that_they_repeat_them_as_often():
    config = mix_config()
    proxy = Task(config=config, vocab_size=64, unique_tokens=PLENTY).num_tokens
    long = mix_config(target_tokens=50 * proxy)
    task = Task(config=long, vocab_size=64, unique_tokens=PLENTY)
    assert task.plan({}, "x").kept == pytest.approx(dict.fromkeys("abmg", 1 / 50))
    large = task.plan({}, "x", large=True).kept["a"]
    assert large == pytest.approx(2.8 / 50, rel=0.05)


@pytest.mark.parametrize("validation", [None, {"num_layers": 4, "shape": {"hidden_size": 16}}])
def test_the_second_look_takes_as_much_more_compute_as_asked(validation):
    config = mix_config(validation=validation, tokens_per_param=40)
    task = Task(config=config, vocab_size=64, unique_tokens=PLENTY)
    ratio = task.plan({}, "x", large=True).flops / task.plan({}, "x").flops
    assert ratio == pytest.approx(2.8, rel=0.05)


def test_a_winner_that_changes_with_the_compute_is_not_accepted():
    def flipped(plan: Plan) -> dict[str, float]:
        own = true_losses(plan.weights)
        first = true_losses(dict.fromkeys("abmg", 0.25))
        return own if "x2.8" not in plan.rung else {k: first[k] ** 2 / own[k] for k in own}

    assert not found(Known(flipped, noise=0)).accepted
    assert found(Known(noise=0)).accepted


def test_the_pareto_front_is_what_nobody_beats():
    losses = [
        {"x": 1.0, "y": 3.0},
        {"x": 2.0, "y": 2.0},
        {"x": 2.0, "y": 2.5},
        {"x": 3.0, "y": 1.0},
    ]
    assert pareto_front(losses) == [0, 1, 3]


def test_a_surface_tells_its_own_error_on_what_it_has_not_seen():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), 60)
    exact = np.exp(0.3 * weights[:, 0] - 0.2 * weights[:, 1] * weights[:, 2])
    noisy = exact * np.exp(0.002 * rng.standard_normal(60))
    surface = Surface.fit(weights[:40], noisy[:40])
    unseen = np.sqrt(np.mean(np.log(surface.predict(weights[40:]) / noisy[40:]) ** 2))
    assert surface.error == pytest.approx(unseen, rel=0.6)
    assert surface.error < 0.2 * surface.spread
    chance = Surface.fit(weights, np.exp(0.01 * rng.standard_normal(60)))
    assert chance.error > 0.8 * chance.spread


def test_drawn_mixtures_are_shares_within_their_caps_around_where_they_should_be():
    most = np.array([0.5, 1.0, 0.2])
    drawn = draw(
        np.array([0.3, 0.6, 0.1]),
        strength=(5, 50),
        most_S=most,
        count=4000,
        rng=np.random.default_rng(0),
    )
    assert drawn.sum(axis=1) == pytest.approx(np.ones(4000))
    assert (drawn <= most + 1e-9).all()
    assert (drawn >= 0).all()
    assert drawn.mean(axis=0) == pytest.approx([0.3, 0.6, 0.1], abs=0.02)
    assert capped(np.array([[0.8, 0.1, 0.1]]), most) == pytest.approx(np.array([[0.5, 0.3, 0.2]]))


def test_a_mixture_of_one_source_needs_no_search():
    with pytest.raises(ValueError, match="needs no search"):
        mix_config(data={"sources": [{"path": "a", "category": "code"}]})
