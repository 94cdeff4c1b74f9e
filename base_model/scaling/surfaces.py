"""How losses depend on a mixture: regression on the weights, and what it proposes.

A small model's loss is measured on a few dozen mixtures, a function of the weights is fitted to it,
and the best of many thousand mixtures is looked up in that function (RegMix, arXiv 2407.01492; the
MAI-Thinking-1 report, section 2.5, searches alike). Which form of function suits is decided by
cross-validation, category by category; the choice and its error are told.

Shape suffixes: N = mixtures, S = sources, F = features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munro.base_model.scaling.law import Array

RARE = 0.01
"""Weight below which the logarithmic form flattens out."""
RIDGES = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)
"""Penalties that are tried, on standardised features."""


def _linear(weights_NS: Array) -> Array:
    return weights_NS


def _logarithmic(weights_NS: Array) -> Array:
    return np.concatenate([weights_NS, np.log(weights_NS + RARE)], axis=1)


def _quadratic(weights_NS: Array) -> Array:
    first, second = np.triu_indices(weights_NS.shape[1])
    products = weights_NS[:, first] * weights_NS[:, second]
    return np.concatenate([weights_NS, products], axis=1)


FORMS: Mapping[str, Callable[[Array], Array]] = {
    "linear": _linear,
    "logarithmic": _logarithmic,
    "quadratic": _quadratic,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A fitted function from weights to the logarithm of a loss.

    Example:
        Surface.fit(weights_NS, losses_N).predict(weights_NS)
    """

    form: str
    """One of `FORMS`."""
    ridge: float
    error: float
    """Relative error of a loss that the fit had not seen: root mean square over the folds."""
    spread: float
    """Relative standard deviation of the losses it was fitted to; an error as large is no fit."""
    feature_mean: Array
    feature_scale: Array
    slope: Array
    level: float

    @classmethod
    def fit(cls, weights_NS: Array, losses_N: Array, *, folds: int = 5, seed: int = 0) -> Surface:
        """Choose form and penalty by cross-validation, then fit to everything."""
        log_N = np.log(losses_N)
        fold_N = np.random.default_rng(seed).permutation(len(log_N)) % min(folds, len(log_N))
        tried = [
            (_held_out_error(FORMS[form](weights_NS), log_N, fold_N, ridge), form, ridge)
            for form in FORMS
            for ridge in RIDGES
        ]
        error, form, ridge = min(tried)
        feature_mean, feature_scale, slope, level = _ridge(FORMS[form](weights_NS), log_N, ridge)
        return cls(
            form=form,
            ridge=ridge,
            error=error,
            spread=float(log_N.std()),
            feature_mean=feature_mean,
            feature_scale=feature_scale,
            slope=slope,
            level=level,
        )

    def predict(self, weights_NS: Array) -> Array:
        """(N,) losses."""
        features_NF = (FORMS[self.form](weights_NS) - self.feature_mean) / self.feature_scale
        predicted: Array = np.exp(features_NF @ self.slope + self.level)
        return predicted


def draw(
    around_S: Array,
    *,
    strength: tuple[float, float],
    most_S: Array,
    count: int,
    rng: np.random.Generator,
) -> Array:
    """(N, S) mixtures near one, none of them over a cap.

    Args:
        around_S: what they scatter about.
        strength: bounds of the Dirichlet's strength; see `MixConfig.strength`.
        most_S: largest weight of each source.
        count: how many.
        rng: of the draws.
    """
    low, high = np.log(strength)
    strength_N = np.exp(rng.uniform(low, high, count))
    # a source that has no weight now may have some later
    centre_S = np.maximum(around_S, RARE / len(around_S))
    gamma_NS = rng.standard_gamma(strength_N[:, None] * centre_S * len(centre_S))
    gamma_NS = np.maximum(gamma_NS, 1e-12)
    return capped(gamma_NS / gamma_NS.sum(axis=1, keepdims=True), most_S)


def capped(weights_NS: Array, most_S: Array) -> Array:
    """(N, S) the same mixtures with every source at its cap at most; the others take the rest."""
    capped_NS = weights_NS
    for _ in range(weights_NS.shape[1]):
        over_NS = capped_NS >= most_S * (1 - 1e-12)
        fixed_NS = np.where(over_NS, most_S, 0.0)
        free_NS = np.where(over_NS, 0.0, capped_NS)
        free_N1 = free_NS.sum(axis=1, keepdims=True)
        left_N1 = 1 - fixed_NS.sum(axis=1, keepdims=True)
        capped_NS = fixed_NS + free_NS * np.divide(
            left_N1, free_N1, out=np.zeros_like(left_N1), where=free_N1 > 0
        )
        if (capped_NS <= most_S * (1 + 1e-9)).all():
            break
    return capped_NS


def propose(candidates_NS: Array, predicted_N: Array, *, best_share: float) -> Array:
    """(S,) the mean of the mixtures that are predicted best: one alone might be a quirk."""
    count = max(1, round(best_share * len(predicted_N)))
    best = np.argsort(predicted_N, kind="stable")[:count]
    mean_S: Array = candidates_NS[best].mean(axis=0)
    return mean_S


def pareto_front(losses: Sequence[Mapping[str, float]]) -> list[int]:
    """Numbers of those that no other beats in one category without losing in another."""
    table = np.array([list(each.values()) for each in losses], float)
    front = []
    for number, row in enumerate(table):
        no_worse = (table <= row).all(axis=1)
        if not (no_worse & (table < row).any(axis=1)).any():
            front.append(number)
    return front


def _held_out_error(
    features_NF: Array, log_N: Array, fold_N: NDArray[np.int64], ridge: float
) -> float:
    squares = 0.0
    for fold in np.unique(fold_N):
        out = fold_N == fold
        if out.all():
            return float("inf")
        feature_mean, feature_scale, slope, level = _ridge(features_NF[~out], log_N[~out], ridge)
        predicted = ((features_NF[out] - feature_mean) / feature_scale) @ slope + level
        squares += float(((predicted - log_N[out]) ** 2).sum())
    return float(np.sqrt(squares / len(log_N)))


def _ridge(features_NF: Array, log_N: Array, ridge: float) -> tuple[Array, Array, Array, float]:
    feature_mean, feature_scale = features_NF.mean(axis=0), features_NF.std(axis=0)
    # a feature that never varied says nothing, and must not be divided by its spread
    feature_scale = np.where(feature_scale > 1e-12, feature_scale, 1.0)
    standard_NF = (features_NF - feature_mean) / feature_scale
    level = float(log_N.mean())
    gram_FF = standard_NF.T @ standard_NF + ridge * len(log_N) * np.eye(standard_NF.shape[1])
    slope = np.linalg.solve(gram_FF, standard_NF.T @ (log_N - level))
    return feature_mean, feature_scale, slope, level
