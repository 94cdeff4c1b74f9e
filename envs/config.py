"""What a person may choose about environments."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from munro.envs.budget import Budget
from munro.rewards.combine.parts import GraderConfig, check_names
from munro.rewards.combine.tree import Gated, Lexicographic, Severity, Sum, node_of
from munro.rewards.config import Config


class EnvConfig(Config):
    """One environment of a problem set."""

    path: str
    """Registry name, `module:Class`, or `path/to/file.py:Class`."""
    name: str = ""
    """What it goes by in figures and results; the environment's own name unless given."""
    isolate: bool = False
    """Run it in a process of its own: whatever it does there, crash, leak or quit, costs no more
    than its attempts, which are tried again."""
    python: str = ""
    """With `isolate`: the interpreter, where it is not this one; what Munro needs must be there."""
    memory_mb: int = Field(0, ge=0)
    """With `isolate`: MiB that its process may hold; 0 for no bound."""
    weight: float = Field(1.0, gt=0)
    """Share of the problem set, relative to the other environments."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the environment's constructor."""
    graders: dict[str, GraderConfig] = Field(default_factory=dict)
    """Graders by the name of the part that each scores."""
    reward: str | Sum | Lexicographic | Gated | Severity | None = None
    """What is paid: a part, or a way to combine some ("task" is the environment's own grade).
    Unset, the environment's own grade alone."""
    budget: Budget = Field(default_factory=Budget)
    """What an episode may spend: lies over the environment's own budget, key by key."""

    @property
    def alone(self) -> EnvConfig:
        """The same without its share of a problem set."""
        return self.model_copy(update={"weight": 1.0})

    @field_validator("reward", mode="before")
    @classmethod
    def _reward_is_a_tree(cls, value: Any) -> Any:
        return None if value is None else node_of(value, "env.reward")

    @model_validator(mode="after")
    def _process_is_its_own(self) -> Self:
        for name in ("python", "memory_mb"):
            if getattr(self, name) and not self.isolate:
                raise ValueError(
                    f"env.{name} is for isolate = true; what an environment itself takes stands in "
                    "env.args."
                )
        return self

    @model_validator(mode="after")
    def _parts_are_scored(self) -> Self:
        check_names(self.graders, self.reward)
        return self


def one_or_several(value: Any) -> Any:
    """What a recipe may say for environments, as a list of tables: a name, a table, or several."""
    several = value if isinstance(value, list | tuple) else [value]
    return [{"path": one} if isinstance(one, str) else one for one in several]
