"""Has the policy collapsed? Figures that stay out of their bounds, counted step by step.

By then the damage is in the weights: going back to a checkpoint from before often fails, while
distilling what was sampled before the collapse onto a fresh base does not (MAI-Thinking-1 report,
section 3.1.4). So what matters here is when it began: traces from then on are of no use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean

from munro.rl.config import CollapseConfig

PASS_RATE = "pass_rate/sampled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """What was found.

    Example:
        Collapse(began=41, cause="policy/entropy under 0.005 for 5 steps")
    """

    began: int
    """First optimizer step whose figures were out of bounds: use traces of steps before it."""
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How long each figure has been out of its bounds. A value: `after` returns the next one."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Steps in a row that a figure has been out of bounds, by its key in `CollapseConfig`."""
    rates: tuple[float, ...] = ()
    """Pass rates of the last `patience` steps, newest last."""
    best: float = 0.0
    """Highest mean of `patience` pass rates so far."""
    failure: str = ""
    """Why no further step could be taken at all, where that is so."""

    def after(self, metrics: Mapping[str, float], config: CollapseConfig) -> Watch:
        """The watch after a step with these metrics.

        A figure that a step does not have keeps its count: a batch without signal says nothing.
        """
        rates = self.rates
        if PASS_RATE in metrics:
            rates = (*rates, metrics[PASS_RATE])[-config.patience :]
        best = max(self.best, fmean(rates)) if len(rates) == config.patience else self.best
        counts = dict(self.counts)
        for key, (name, is_high) in FIGURES.items():
            bound = getattr(config, key)
            if bound and name in metrics:
                counts[key] = (
                    counts.get(key, 0) + 1 if _is_out(metrics[name], bound, is_high) else 0
                )
        if config.pass_rate_drop and PASS_RATE in metrics:
            is_low = metrics[PASS_RATE] < best - config.pass_rate_drop
            counts["pass_rate_drop"] = counts.get("pass_rate_drop", 0) + 1 if is_low else 0
        return replace(self, counts=counts, rates=rates, best=best)

    def failed(self, why: str) -> Watch:
        """The watch of a climb that cannot take another step."""
        return replace(self, failure=why)

    def found(self, step: int, config: CollapseConfig) -> Collapse | None:
        """The collapse, where there is one after optimizer step `step`."""
        out = {key: count for key, count in self.counts.items() if count}
        longest = max(out.values(), default=0)
        if self.failure:
            return Collapse(began=step - longest + 1, cause=self.failure)
        if longest < config.patience:
            return None
        late = [key for key, count in out.items() if count >= config.patience]
        causes = ", ".join(self._told(key, config) for key in late)
        return Collapse(began=step - longest + 1, cause=f"{causes} for {config.patience} steps")

    def _told(self, key: str, config: CollapseConfig) -> str:
        if key == "pass_rate_drop":
            return f"{PASS_RATE} under {self.best - config.pass_rate_drop:.3g}"
        name, is_high = FIGURES[key]
        return f"{name} {'over' if is_high else 'under'} {getattr(config, key):g}"


FIGURES: Mapping[str, tuple[str, bool]] = {
    "entropy_low": ("policy/entropy", False),
    "entropy_high": ("policy/entropy", True),
    "mismatch_kl": ("policy/mismatch_kl", True),
    "grad_norm": ("learner/grad_norm", True),
}
"""Key of the config to (metric, whether the bound is an upper one)."""


def _is_out(value: float, bound: float, is_high: bool) -> bool:
    # a NaN compares false with everything, and is out of any bounds
    return not (value <= bound if is_high else value >= bound)
