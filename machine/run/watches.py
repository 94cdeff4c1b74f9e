"""The watches of a climb, as it goes: trends into its metrics, and an alarm once a judge is played.

What was seen is in the run's metrics, so a climb that goes on knows what it had seen before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from munro.envs.config import EnvConfig
from munro.evaluation.judges.watch import Seen, seen_in, trend_of
from munro.rewards.combine.watch import watches


class Watches:
    """Every watch of a climb's environments."""

    def __init__(self, envs: Iterable[EnvConfig], lines: Iterable[Mapping[str, Any]]) -> None:
        """
        Args:
            envs: of the climb.
            lines: its metrics so far, one mapping a step.
        """
        self._configs = {name: one for env in envs for name, one in watches(env.graders).items()}
        self._seen: dict[str, list[Seen]] = {name: [] for name in self._configs}
        self._is_told = dict.fromkeys(self._configs, False)
        for line in lines if self._configs else ():
            self._enter(int(line["step"]), line)
            self._is_told |= {
                name: bool(line.get(f"watch/{name}/alarm", self._is_told[name]))
                for name in self._configs
            }

    def after(self, step: int, metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
        """Figures of a step's trends, and a sentence for each alarm that begins with it."""
        self._enter(step, metrics)
        figures: dict[str, float] = {}
        told = []
        for name, config in self._configs.items():
            recent = [one for one in self._seen[name] if one.step > step - config.window]
            self._seen[name] = recent
            trend = trend_of(recent, confidence=config.confidence)
            if trend is None:
                continue
            figures[f"watch/{name}/trend"] = trend.difference.mean
            figures[f"watch/{name}/trend_low"] = trend.difference.low
            figures[f"watch/{name}/trend_high"] = trend.difference.high
            figures[f"watch/{name}/alarm"] = float(trend.is_played)
            if trend.is_played and not self._is_told[name]:
                told.append(f"alarm: {trend.told(name)}")
            self._is_told[name] = trend.is_played
        return figures, told

    def _enter(self, step: int, metrics: Mapping[str, Any]) -> None:
        for name, seen in self._seen.items():
            if (found := seen_in(metrics, step, name)) is not None:
                seen.append(found)
