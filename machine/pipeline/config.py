"""The machine as one TOML file: phases by name, what each takes and what it is told.

    [phases.books]      kind = "questions"      file = "questions.toml"
    [phases.base]       kind = "pretrain"       file = "pretrain.toml"
    [phases.stem]       kind = "climb"          model = "base"      file = "stem.toml"
    [phases.merged]     kind = "consolidate"    onto = "base"       weights = { stem = 0.56, ... }
    [phases.final]      kind = "climb"          model = "merged"    file = "final.toml"
    [phases.scores]     kind = "evaluate"       models = ["base", "stem", "merged", "final"]

A phase named where a checkpoint or a run is wanted stands for what it makes, and is made before;
anything else is a folder. Order in the file does not matter. In the arguments of a climb's
environments "{books}" stands for the folder of the questions that the phase `books` builds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from munro.base_model.config import BaseConfig, Config
from munro.base_model.small.machine_corpus import BeginningsConfig

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class BasePhase(Config):
    """A small base made on the spot, with the beginnings of what others climb on."""

    kind: Literal["base"]
    tasks_of: tuple[str, ...]
    """Climbs whose environments it has seen the beginnings of."""
    base: BaseConfig = BaseConfig()
    """Tokenizer, model and training."""
    beginnings: BeginningsConfig = BeginningsConfig()
    """What it reads."""


class QuestionsPhase(Config):
    """Questions out of documents, as `munro questions build` makes them."""

    kind: Literal["questions"]
    file: str
    """Its TOML, beside this one."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys that replace the file's, as tables."""


class PretrainPhase(Config):
    """A base by `munro pretrain`."""

    kind: Literal["pretrain"]
    file: str
    """Its TOML, beside this one."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys that replace the file's, as tables."""


class ClimbPhase(Config):
    """A climb, as `munro climb` does it."""

    kind: Literal["climb"]
    model: str = ""
    """Phase, folder or model of the hub ("owner/name") to start from; empty leaves it to the
    recipe."""
    file: str = ""
    """A recipe, beside this file; empty for `[climb]` and `set` alone."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys of a recipe that replace the file's and those of `[climb]`, as tables."""


class ConsolidatePhase(Config):
    """Several specialists into one model, as `munro consolidate` does it."""

    kind: Literal["consolidate"]
    onto: str
    """Phase, folder or model of the hub that is the base."""
    weights: dict[str, float] = Field(min_length=1)
    """Climbs (phases, or folders of runs) and their shares."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Keys of a distillation (`select`, `filters`, `teachers`, `training`, ...)."""


class EvaluatePhase(Config):
    """Pass rates of several models on the held-out tasks of several climbs."""

    kind: Literal["evaluate"]
    models: tuple[str, ...] = Field(min_length=1)
    """Phases, folders or models of the hub."""
    tasks_of: tuple[str, ...] = Field(min_length=1)
    """Climbs whose environments the tasks come from."""
    tasks: int = Field(200, ge=1)
    """Held-out tasks of each environment, at most."""
    runs: int = Field(4, ge=1)
    """Attempts at each task."""


PhaseName = Annotated[str, Field(pattern=NAME)]
AnyPhase = Annotated[
    BasePhase | QuestionsPhase | PretrainPhase | ClimbPhase | ConsolidatePhase | EvaluatePhase,
    Field(discriminator="kind"),
]


class MachineConfig(Config):
    """A whole machine."""

    name: str = Field("machine", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its folder is `folder/name`."""
    folder: str = "machines"
    """Where machines' folders are made."""
    at_once: int = Field(0, ge=0)
    """Phases side by side; 0 takes as many as GPUs or cores allow, and on a cluster all."""
    climb: dict[str, Any] = Field(default_factory=dict)
    """Keys of a recipe that all climbs share, as tables."""
    phases: dict[PhaseName, AnyPhase]
    """By name."""

    @property
    def path(self) -> Path:
        """The machine's folder."""
        return Path(self.folder) / self.name
