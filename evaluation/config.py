"""What a person may write about evaluations: suites of entries, and gates of rules."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from munro.envs.config import EnvConfig
from munro.rewards.config import Config
from munro.rewards.judge.config import JudgeConfig

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Without a slash: figures are ENTRY/FIGURE."""


class EntryConfig(Config):
    """One entry of a suite: tasks, and how a model is asked them."""

    name: str = Field("", pattern=rf"{NAME}|^$")
    """What figures call it; its environments' names unless given."""
    env: tuple[EnvConfig, ...] = ()
    """Whose held-out tasks: env = "arithmetic", [entries.env], or several [[entries.env]]. Empty
    for those that the checkpoint was climbed on."""
    tasks: int = Field(200, ge=1)
    """At most so many."""
    runs: int = Field(0, ge=0)
    """Attempts at each; 0 for the suite's."""
    temperature: float | None = Field(None, ge=0)
    """Of sampling; unset, as the checkpoint was climbed. At 0 all runs are one."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Likewise."""
    max_tokens: int | None = Field(None, ge=1)
    """Of a response; likewise."""
    template: str = ""
    """In which the model is asked; empty for the checkpoint's own."""

    @field_validator("env", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        several = value if isinstance(value, list | tuple) else [value]
        return [{"path": one} if isinstance(one, str) else one for one in several]

    @model_validator(mode="after")
    def _is_sampled(self) -> Self:
        if self.temperature == 0:
            raise ValueError(
                f"entry {self.name or 'without a name'}: at temperature 0 every run of a task is "
                "the same attempt, and an interval over runs would measure nothing. Sample above "
                "0, as the model will be used."
            )
        return self


class SuiteConfig(Config):
    """What `munro eval --suite FILE` runs."""

    seed: int = Field(0, ge=0)
    """Of tasks and sampling. Two models with one seed are asked the same with the same draws."""
    runs: int = Field(4, ge=1)
    """Attempts at each task; the report's default."""
    entries: tuple[EntryConfig, ...]
    """[[entries]], one after the other."""
    judge: dict[str, JudgeConfig] = Field(default_factory=dict)
    """Judges by name, for graders that ask one: [judge.NAME]."""

    @model_validator(mode="after")
    def _entries_are_told_apart(self) -> Self:
        if not self.entries:
            raise ValueError("the suite has no [[entries]].")
        names = [entry.name or "+".join(of.path for of in entry.env) for entry in self.entries]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            called = repr(twice[0]) if twice[0] else "nothing"
            raise ValueError(f"two entries are called {called}: give each a name of its own.")
        return self


class _Rule(Config):
    name: str = ""
    """For a person; the kind unless given."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of the interval that decides it."""

    @property
    def title(self) -> str:
        """What a person is told that it is."""
        return self.name or str(getattr(self, "kind", "rule"))


class AtLeast(_Rule):
    """The interval's low end is no lower than the bound."""

    kind: Literal["at_least"]
    figure: str
    """ENTRY/FIGURE."""
    bound: float


class AtMost(_Rule):
    """The interval's high end is no higher than the bound."""

    kind: Literal["at_most"]
    figure: str
    """ENTRY/FIGURE."""
    bound: float


class NoWorse(_Rule):
    """No worse than the model before by more than a margin: non-inferiority, task by task."""

    kind: Literal["no_worse"]
    figure: str
    """ENTRY/FIGURE, of each attempt."""
    by: float = Field(0.02, ge=0)
    """The margin, in the figure's own unit."""
    better: Literal["higher", "lower"] = "higher"


class Hardest(_Rule):
    """As `no_worse`, weighed towards tasks that are neither always passed nor never."""

    kind: Literal["hardest"]
    figure: str
    """ENTRY/pass_rate."""
    by: float = Field(0.02, ge=0)
    """The margin, in shares of attempts."""
    better: Literal["higher"] = "higher"


class Front(_Rule):
    """No worse, in each of several figures, than a percentile of the front of stored results.

    The front is of those results that no other one beats in all figures at once; where it is at
    that percentile of a figure stands one of them, and with that one the model is compared task by
    task.
    """

    kind: Literal["front"]
    figures: tuple[str, ...] = Field(min_length=1)
    """ENTRY/FIGURE each, with "-" before those of which less is better."""
    results: tuple[str, ...] = Field(min_length=1)
    """Folders of stored results, as patterns from the folder of the rules: "evals/*"."""
    percentile: float = Field(50.0, ge=0, le=100)
    """Of the front, figure by figure: 0 is the worst on it, 100 the best."""
    by: float = Field(0.02, ge=0)
    """The margin, in the figures' own unit."""
    least: int = Field(3, ge=2)
    """Stored results that make a front."""


Rule = AtLeast | AtMost | NoWorse | Hardest | Front
KINDS: dict[str, type[Config]] = {
    "at_least": AtLeast,
    "at_most": AtMost,
    "no_worse": NoWorse,
    "hardest": Hardest,
    "front": Front,
}


class GateConfig(Config):
    """What `munro eval gate FILE` holds results against."""

    rules: tuple[Annotated[Rule, Field(discriminator="kind")], ...]
    """[[rules]], all of which must pass."""

    @field_validator("rules", mode="before")
    @classmethod
    def _say_what_they_are(cls, value: Any) -> Any:
        """In words: what pydantic says of a union names no way out."""
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("a gate without [[rules]] would let everything pass: give it some.")
        for number, rule in enumerate(value, start=1):
            kind = rule.get("kind") if isinstance(rule, Mapping) else None
            if kind not in KINDS:
                raise ValueError(
                    f"rule {number} of the gate has kind = {kind!r}: give it one of "
                    f"{', '.join(KINDS)}."
                )
            known = KINDS[kind].model_fields
            if unknown := [key for key in rule if key not in known]:
                near = difflib.get_close_matches(unknown[0], known, 1, cutoff=0.6)
                hint = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(known)}."
                raise ValueError(f"rule {number} ({kind}): unknown key {unknown[0]}. {hint}")
        return value
