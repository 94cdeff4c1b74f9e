"""Which mixture to train on: proxies, regression, searches in turn, and a second look at scale.

    present weights ──► proxies around them ──► a surface per category ──► better weights ──┐
          ^              inside one category, then over the categories                       │
          └──────────────────────────────────────────────────────────────────────────────────┘
    finalists ──► trained at the proxies' size and with 2.8 times the compute ──► accepted, if
                  the same one wins both times

MAI-Thinking-1 report, section 2.5. A mixture that wins small may lose large (rank non-invariance),
which the second look is for; that it passes is no proof for a run a thousand times as large.

The trainings come in as a function, so that the same search runs on a known surface in a test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from munro.base_model.data.shards.weights import capped_weights
from munro.base_model.data.texts_config import LadderSource, name_of
from munro.base_model.results import WEIGHTED, TrainedRun, columns, weights_for
from munro.base_model.scaling.law import Array
from munro.base_model.scaling.mixture_config import MixConfig
from munro.base_model.scaling.plan import Plan, training_for
from munro.base_model.scaling.surfaces import Surface, draw, pareto_front, propose

Train = Callable[[Sequence[Plan]], Sequence[TrainedRun]]
Weights = Mapping[str, float]
GLOBAL = "global"
FIXED = ""
LEAST_WEIGHT = 1e-6
HEADROOM = 0.98
"""Of a cap: documents are drawn whole, so that a source at its very cap could just exceed it."""
LEAST_DIFFERENCE = 0.03
"""Largest difference of a weight up to which two mixtures are the same finalist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A mixture, and what training on it came to."""

    weights: Weights
    run: TrainedRun
    losses: Mapping[str, float]
    """Nats per token by category."""
    target: float
    """Eq. 3 over the losses as shares of those of the mixture that the search began from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One search: around some weights, inside one category or over all of them."""

    name: str
    trials: tuple[Trial, ...]
    surfaces: Mapping[str, Surface]
    """By category."""
    proposed: Weights
    predicted: float
    """Target of what is proposed, as the surfaces have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a whole search came to."""

    began: Weights
    searches: tuple[Search, ...]
    finalists: tuple[Trial, ...]
    """At the proxies' size, best first."""
    retrained: tuple[Trial, ...]
    """With more compute, best first."""
    front: tuple[Trial, ...]
    """The Pareto front of everything trained at the proxies' size."""

    @property
    def best(self) -> Weights:
        """What won with the most compute."""
        return self.retrained[0].weights

    @property
    def accepted(self) -> bool:
        """The winner does not change with the compute."""
        return self.retrained[0].weights == self.finalists[0].weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a search is told of the sources."""

    config: MixConfig
    vocab_size: int
    unique_tokens: Weights
    """Of every source: what may be trained on."""

    @property
    def num_tokens(self) -> float:
        """Of a proxy."""
        return float(self.plan({}, "").num_tokens)

    @property
    def target_tokens(self) -> float:
        """Of the run that the mixture is for."""
        return self.config.target_tokens or self.num_tokens

    @property
    def caps(self) -> dict[str, float]:
        """How often a source may be read."""
        return {name_of(source): source.max_epochs for source in self.config.data.sources}

    @property
    def most(self) -> dict[str, float]:
        """Largest weight of each source that its cap allows over the target's length."""
        return {
            name: min(1.0, HEADROOM * self.caps[name] * tokens / self.target_tokens)
            for name, tokens in self.unique_tokens.items()
        }

    def plan(self, weights: Weights, name: str, *, large: bool = False) -> Plan:
        """The training of one mixture; `large` has `config.compute` times the operations."""
        config = self.config
        small = config.shape_of(config.rung, self.vocab_size)
        rung = config.validation if large and config.validation else config.rung
        shape = config.shape_of(rung, self.vocab_size)
        overrides = config.architecture.training
        factor = 1.0
        if large:
            row = config.training.row_tokens
            cost, large_cost = (
                each.flops_per_token(row) * each.num_params(active=True) for each in (small, shape)
            )
            factor = config.compute * cost / large_cost
        training = training_for(
            config,
            shape,
            seed=config.seed,
            overrides=overrides,
            rate=config.architecture.learning_rate,
            compute=factor,
        )
        tokens = training.num_steps * training.batch_rows * training.row_tokens
        long = config.target_tokens
        kept = min(1.0, tokens / long) if long else 1.0
        return Plan(
            name=name,
            rung=f"{rung.label}x{config.compute:g}" if large else rung.label,
            shape=shape,
            model=dict(config.architecture.model),
            training=training,
            weights=dict(weights),
            kept=dict.fromkeys(self.unique_tokens, kept) if kept < 1 else {},
        )


def search(task: Task, train: Train, *, note: Callable[[str], None] | None = None) -> Findings:
    """Search, propose, look again with more compute.

    Args:
        task: sources, sizes, how much is tried.
        train: gives the result of every plan, in order; asked for the same ones in a resumed run.
        note: told what begins.

    Raises:
        SourceExhausted: all sources together, read up to their caps, are too short.
        BadResults: weights of categories that are none.
    """
    say = note or (lambda _: None)
    began = _began(task)
    present, reference = began, train([task.plan(began, _label(began))])[0]
    searches: list[Search] = []
    for number in range(task.config.rounds):
        for scope in _scopes(task):
            say(f"round {number + 1}, {scope}: {task.config.proxies} mixtures")
            found = _search(task, present, scope, number, reference, train)
            searches.append(found)
            present = found.proposed
    tried = _distinct([trial for each in searches for trial in each.trials])
    chosen = _finalists(task, began, present, tried)
    say(f"{len(chosen)} finalists, at the proxies' size and with {task.config.compute:g}x compute")
    small, large = (
        _judged(task, chosen, train([task.plan(w, _label(w), large=big) for w in chosen]), None)
        for big in (False, True)
    )
    at_small = _distinct([*tried, *small])
    front = pareto_front([trial.losses for trial in at_small])
    return Findings(
        began=began,
        searches=tuple(searches),
        finalists=tuple(sorted(small, key=lambda trial: trial.target)),
        retrained=tuple(sorted(large, key=lambda trial: trial.target)),
        front=tuple(at_small[number] for number in front),
    )


def _began(task: Task) -> Weights:
    weights = task.config.architecture.weights or task.config.data.weights
    every = {name: weights.get(name, 0.0) for name in task.config.data.names}
    return _rounded(
        capped_weights(
            every, task.unique_tokens, task.target_tokens / HEADROOM, max_epochs=task.caps
        )
    )


def _scopes(task: Task) -> list[str]:
    """Categories with something to choose inside, then all of them together."""
    categories = [source.category for source in task.config.data.sources]
    inside = [one for one in dict.fromkeys(categories) if categories.count(one) > 1]
    return [*inside, *([GLOBAL] if len({*categories}) > 1 else [])]


def _search(
    task: Task, present: Weights, scope: str, number: int, reference: TrainedRun, train: Train
) -> Search:
    config = task.config
    rng = np.random.default_rng([config.seed, number, *scope.encode()])
    names = list(present)
    drawn_NS = _drawn(task, present, scope, config.proxies - 1, rng)
    tried = [present, *(_weights(names, row) for row in drawn_NS)]
    trials = _judged(task, tried, train([task.plan(w, _label(w)) for w in tried]), reference)
    weights_NS = np.array([list(weights.values()) for weights in tried])
    surfaces = {
        category: Surface.fit(
            weights_NS,
            np.array([trial.losses[category] for trial in trials]),
            folds=config.folds,
            seed=config.seed,
        )
        for category in trials[0].losses
    }
    considered_NS = _drawn(task, present, scope, config.considered, rng)
    proposed_S = propose(
        considered_NS,
        _target(task, reference, surfaces, considered_NS),
        best_share=config.best_share,
    )
    predicted = _target(task, reference, surfaces, proposed_S[None])[0]
    return Search(
        name=f"round {number + 1}, {scope}",
        trials=tuple(trials),
        surfaces=surfaces,
        proposed=_weights(names, proposed_S),
        predicted=float(predicted),
    )


def _drawn(task: Task, present: Weights, scope: str, count: int, rng: np.random.Generator) -> Array:
    """(N, S) mixtures unlike the present one within the scope only, none of them over a cap."""
    present_S = np.array(list(present.values()))
    most_S = np.array([task.most[name] for name in present])
    part_S = np.array([_part(source, scope) for source in task.config.data.sources])
    varied_S = part_S != FIXED
    # a source without weight keeps a way back
    weight_S = np.where(varied_S, np.maximum(present_S, LEAST_WEIGHT), 0.0)
    parts = [part for part in dict.fromkeys(part_S) if part != FIXED]
    total_P = np.array([weight_S[part_S == part].sum() for part in parts])
    # a whole category grows until the first source inside it meets its cap
    most_P = np.array(
        [
            (most_S[part_S == part] * total / weight_S[part_S == part]).min()
            for part, total in zip(parts, total_P, strict=True)
        ]
    )
    free = 1 - present_S[~varied_S].sum()
    drawn_NP = free * draw(
        total_P / total_P.sum(),
        strength=task.config.strength,
        most_S=most_P / free,
        count=count,
        rng=rng,
    )
    drawn_NS = np.tile(present_S, (count, 1))
    for place, (part, total) in enumerate(zip(parts, total_P, strict=True)):
        inside = part_S == part
        drawn_NS[:, inside] = drawn_NP[:, [place]] * weight_S[inside] / total
    return drawn_NS


def _part(source: LadderSource, scope: str) -> str:
    """What is varied as one: a category in the search over all, a source inside its category."""
    if scope == GLOBAL:
        return source.category
    return name_of(source) if source.category == scope else FIXED


def _judged(
    task: Task,
    tried: Sequence[Weights],
    runs: Sequence[TrainedRun],
    reference: TrainedRun | None,
) -> list[Trial]:
    """Trials with their targets; without a reference, the first of them is it."""
    losses = columns(runs, (reference or runs[0]).losses, task.config.weights)
    targets = losses.pop(WEIGHTED, None) or next(iter(losses.values()))
    return [
        Trial(
            weights=weights,
            run=run,
            losses={category: each[number] for category, each in losses.items()},
            target=targets[number],
        )
        for number, (weights, run) in enumerate(zip(tried, runs, strict=True))
    ]


def _target(
    task: Task, reference: TrainedRun, surfaces: Mapping[str, Surface], weights_NS: Array
) -> Array:
    """(N,) predicted targets."""
    predicted = {category: each.predict(weights_NS) for category, each in surfaces.items()}
    own = columns([reference], reference.losses, task.config.weights)
    if WEIGHTED not in own:
        return next(iter(predicted.values()))
    shares = weights_for(list(predicted), task.config.weights)
    return np.asarray(sum(shares[name] * each / own[name][0] for name, each in predicted.items()))


def _finalists(
    task: Task, began: Weights, proposed: Weights, tried: Sequence[Trial]
) -> list[Weights]:
    """The first mixture, the proposed one, and the best of those tried that are neither."""
    chosen = [began]
    best = sorted(tried, key=lambda trial: trial.target)
    for weights in (proposed, *(trial.weights for trial in best)):
        far = all(
            max(abs(weights[name] - other[name]) for name in weights) > LEAST_DIFFERENCE
            for other in chosen
        )
        if far and len(chosen) < task.config.finalists:
            chosen.append(weights)
    return chosen


def _distinct(trials: Sequence[Trial]) -> list[Trial]:
    return list({_label(trial.weights): trial for trial in trials}.values())


def _weights(names: Sequence[str], weights_S: Array) -> dict[str, float]:
    return _rounded(dict(zip(names, weights_S.tolist(), strict=True)))


def _rounded(weights: Weights) -> dict[str, float]:
    """Six digits, so that what is written down is what was trained."""
    total = math.fsum(weights.values())
    return {name: round(weight / total, 6) for name, weight in weights.items()}


def _label(weights: Weights) -> str:
    """The name of a mixture: the same for the same weights."""
    return "mix-" + sha256(json.dumps(dict(weights)).encode()).hexdigest()[:8]
