"""From a machine's config to its phases: what each takes, what it makes, whether that stands.

A phase's digest covers its resolved config and the digests of what it takes, back to the files that
nothing in the machine makes. A manifest with that digest means that the phase is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint, digest_of
from munro.base_model.training.recipe import PretrainRecipe
from munro.distill.config import CONSOLIDATION, DistillConfig
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig, check_as, load_as, read_toml
from munro.machine.pipeline.config import (
    AnyPhase,
    BasePhase,
    ClimbPhase,
    ConsolidatePhase,
    EvaluatePhase,
    MachineConfig,
    PretrainPhase,
    QuestionsPhase,
)
from munro.machine.pipeline.models import could_be_of_hub, recorded
from munro.machine.pipeline.questions import built_in, named_in, placed
from munro.machine.recipes import recipe_file
from munro.machine.run.files import RunError
from munro.machine.run.folder import difference
from munro.questions.config import QuestionsConfig
from munro.questions.errors import QuestionsError
from munro.questions.parse.parsing import listed

MANIFEST = "manifest.json"
ORDERS = "phase.json"


class Standing(StrEnum):
    """How a phase stands."""

    DONE = "done"
    BEGUN = "begun"
    """From the same inputs, and not finished."""
    NEW = "new"
    CHANGED = "changed"
    """Done or begun from other inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase, resolved."""

    name: str
    kind: str
    folder: Path
    takes: Mapping[str, tuple[str, ...]]
    """What for, to phases or folders: {"model": ("base",)}."""
    orders: Mapping[str, Any]
    """Everything else that decides what it makes, as plain data."""
    digest: str
    needs: tuple[str, ...]
    """Phases that must be done before."""

    @property
    def plain(self) -> dict[str, Any]:
        """As `phase.json` holds it."""
        return {
            "phase": self.name,
            "kind": self.kind,
            "takes": {role: list(names) for role, names in self.takes.items()},
            "orders": dict(self.orders),
            "digest": self.digest,
        }

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What the finished phase wrote, or None."""
        return _read(self.folder / MANIFEST)

    @property
    def standing(self) -> Standing:
        """Whether it is done, from which inputs."""
        written = self.manifest or _read(self.folder / ORDERS)
        if written is None:
            return Standing.NEW
        if written["digest"] != self.digest:
            return Standing.CHANGED
        return Standing.BEGUN if self.manifest is None else Standing.DONE

    def changes(self) -> list[str]:
        """What differs from the inputs that it was done or begun from."""
        written = self.manifest or _read(self.folder / ORDERS) or {}
        found = difference(written.get("orders", {}), self.orders)
        return found or ["something that it takes"]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as broken:
        raise RunError(
            f"{path} cannot be read ({broken}). Remove it to have the phase made again."
        ) from broken
    return found


def load_machine(path: str) -> tuple[MachineConfig, list[Phase]]:
    """Read a machine's file; its phases in an order in which they can be made.

    Raises:
        BadConfig: a key is wrong, a phase needs what there is not, or phases need each other.
        CheckpointError: a folder that a phase takes as a model is missing or incomplete.
    """
    config = load_as(MachineConfig, path)
    where = recipe_file(path).parent
    resolved = {
        name: _Resolved(config, name, phase, where) for name, phase in config.phases.items()
    }
    needs = {name: phase.needs for name, phase in resolved.items()}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as cycle:
        names = " needs ".join(reversed(cycle.args[1]))
        raise BadConfig(f"{path}: phases need each other: {names}") from cycle
    phases: dict[str, Phase] = {}
    for name in order:
        phases[name] = resolved[name].phase(phases)
    return config, list(phases.values())


class _Resolved:
    """A phase of the file with its references followed."""

    def __init__(self, config: MachineConfig, name: str, phase: AnyPhase, where: Path) -> None:
        self._config, self._name, self._phase, self._where = config, name, phase, where
        self.takes = dict(_takes(phase))
        if read := self._questions():
            self.takes["questions"] = read
        for role, names in self.takes.items():
            for taken in names:
                self._check(role, taken)

    @property
    def needs(self) -> tuple[str, ...]:
        """Phases that must be done before."""
        taken = [name for names in self.takes.values() for name in names]
        return tuple(name for name in dict.fromkeys(taken) if name in self._config.phases)

    def phase(self, done: Mapping[str, Phase]) -> Phase:
        """The phase, given those that it needs."""
        orders = self._orders()
        decisive = {
            "kind": self._phase.kind,
            "orders": orders,
            "takes": {
                role: [done[n].digest if n in done else self._fingerprint(n) for n in names]
                for role, names in self.takes.items()
            },
        }
        text = json.dumps(decisive, sort_keys=True)
        return Phase(
            name=self._name,
            kind=self._phase.kind,
            folder=self._config.path / self._name,
            takes=self.takes,
            orders=orders,
            digest=sha256(text.encode()).hexdigest()[:16],
            needs=self.needs,
        )

    def _fingerprint(self, name: str) -> str:
        """Of what no phase makes; a model of the hub that was never looked up is its name."""
        if could_be_of_hub(name):
            return recorded(self._config.path).get(name, name)
        return fingerprint(Path(name))

    def _check(self, role: str, taken: str) -> None:
        known = self._config.phases.get(taken)
        if known is None:
            if role != "runs" and could_be_of_hub(taken):
                return
            if not Path(taken).expanduser().is_dir():
                raise BadConfig(
                    f"phases.{self._name} takes {taken!r}, which is neither a phase "
                    f"({', '.join(self._config.phases)}) nor a folder"
                )
        elif isinstance(known, EvaluatePhase) or (
            isinstance(known, QuestionsPhase) and role != "questions"
        ):
            raise BadConfig(f"phases.{self._name} takes {taken!r}, which makes no model")

    def _questions(self) -> tuple[str, ...]:
        """Phases whose questions the environments read that this one is made with."""
        phase = self._phase
        climbs = {self._name: phase} if isinstance(phase, ClimbPhase) else {}
        if isinstance(phase, BasePhase | EvaluatePhase):
            climbs = {name: self._climb(name) for name in phase.tasks_of}
        envs = [self._whole(one).get("env") for one in climbs.values()]
        return tuple(name for name in self._built() if name in named_in(envs))

    def _built(self) -> dict[str, str]:
        """Folders of the questions that this machine builds, by phase."""
        return {
            name: str(built_in(self._config.path / name))
            for name, phase in self._config.phases.items()
            if isinstance(phase, QuestionsPhase)
        }

    def _orders(self) -> dict[str, Any]:
        phase = self._phase
        match phase:
            case BasePhase():
                return {
                    "base": phase.base.model_dump(mode="json", exclude={"corpus"}),
                    "beginnings": phase.beginnings.model_dump(mode="json"),
                    "env": {name: self._envs(name) for name in phase.tasks_of},
                }
            case QuestionsPhase():
                whole = merged(read_toml(str(self._where / phase.file)), phase.set)
                built = check_as(QuestionsConfig, whole, source=f"phases.{self._name}")
                return {
                    "recipe": built.model_dump(mode="json", exclude={"out", "workers"}),
                    "documents": _documents(built),
                }
            case PretrainPhase():
                whole = merged(read_toml(str(self._where / phase.file)), phase.set)
                recipe = check_as(PretrainRecipe, whole, source=f"phases.{self._name}")
                return {"recipe": recipe.model_dump(mode="json")}
            case ClimbPhase():
                return {"recipe": self._recipe(self._name, phase)}
            case ConsolidatePhase():
                whole = merged(CONSOLIDATION.model_dump(mode="json"), phase.set)
                source = f"phases.{self._name}.set"
                how = check_as(DistillConfig, whole, source=source)
                return {"distill": how.model_dump(mode="json"), "weights": dict(phase.weights)}
            case EvaluatePhase():
                recipes = {name: self._recipe(name, self._climb(name)) for name in phase.tasks_of}
                return {
                    "recipe": _for_all(list(recipes.values())),
                    "env": {name: list(recipe["env"]) for name, recipe in recipes.items()},
                    "most_tokens": max(each["length"]["stages"][-1] for each in recipes.values()),
                    "tasks": phase.tasks,
                    "runs": phase.runs,
                }

    def _recipe(self, name: str, phase: ClimbPhase) -> dict[str, Any]:
        """A climb's resolved config, without where it is kept and what it starts from."""
        whole = placed(self._whole(phase), self._built())
        whole |= {"name": name, "folder": "."}
        config = check_as(RunConfig, whole, source=f"phases.{name}")
        dumped = config.model_dump(mode="json")
        del dumped["folder"]
        if phase.model:
            dumped["model"]["path"] = ""
            del dumped["base"]
        return dumped

    def _whole(self, phase: ClimbPhase) -> dict[str, Any]:
        """A climb's keys as they are written, what replaces them laid over."""
        from_file = read_toml(str(self._where / phase.file)) if phase.file else {}
        return merged(merged(self._config.climb, from_file), phase.set)

    def _climb(self, name: str) -> ClimbPhase:
        found = self._config.phases.get(name)
        if not isinstance(found, ClimbPhase):
            raise BadConfig(
                f"phases.{self._name}.tasks_of names {name!r}, which is not a phase that climbs"
            )
        return found

    def _envs(self, name: str) -> list[Any]:
        return list(self._recipe(name, self._climb(name))["env"])


ROOM = (
    "max_turns",
    "start_deadline_s",
    "reply_deadline_s",
    "grade_deadline_s",
    "close_deadline_s",
)
"""Keys of a rollout of which more serves every phase."""


def _takes(phase: AnyPhase) -> Iterator[tuple[str, tuple[str, ...]]]:
    match phase:
        case ClimbPhase() if phase.model:
            yield "model", (phase.model,)
        case ConsolidatePhase():
            yield "onto", (phase.onto,)
            yield "runs", tuple(phase.weights)
        case EvaluatePhase():
            yield "models", phase.models


def _for_all(recipes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first recipe, with the judges, and the room for an episode, that any of them needs.

    What an environment's own budget says holds as it does in its phase.
    """
    judges = {name: judge for recipe in recipes for name, judge in recipe["judge"].items()}
    asked = [recipe["rollout"] for recipe in recipes]
    room = {key: max(rollout[key] for rollout in asked) for key in ROOM}
    lengths = [rollout["observation_tokens"] for rollout in asked]
    room["observation_tokens"] = max(lengths) if all(lengths) else 0  # 0 is without a limit
    first = recipes[0]
    return {**first, "judge": judges, "rollout": {**first["rollout"], **room}}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over each other; an environment replaces the one below it whole.

    Example:
        merged({"batch": {"num_groups": 8}}, {"batch": {"patience": 4}})  # both keys of batch
    """
    whole = dict(below)
    for key, value in above.items():
        lower = whole.get(key)
        both = isinstance(lower, Mapping) and isinstance(value, Mapping) and key != "env"
        whole[key] = merged(lower, value) if both else value  # type: ignore[arg-type]
    return whole


def fingerprint(folder: Path) -> str:
    """What a folder that no phase makes holds, told by names and digests of its files."""
    folder = folder.expanduser()
    if not (folder / "run.json").is_file():
        Checkpoint(folder).require()
    found = sha256()
    for file in sorted(path for path in folder.glob("*") if path.is_file()):
        if file.name in ("run.json", "report.html", ".lock"):
            continue
        found.update(f"{file.name}:{digest_of(file)}:".encode())
    return found.hexdigest()[:16]


def _documents(config: QuestionsConfig) -> list[list[str]]:
    """Names and digests of what questions are taken from; those that are not there are told when
    the phase begins."""
    with suppress(QuestionsError):
        files = [path for source in config.sources for path, _ in listed(source)]
        return [[str(path), digest_of(path)] for path in files]
    return []


# what each kind leaves in its folder


def checkpoint_of(phase: Phase) -> Path:
    """The model that a finished phase made.

    Raises:
        RunError: it has not finished.
    """
    manifest = phase.manifest
    if manifest is None or not manifest.get("model"):
        raise RunError(f"phase {phase.name} has made no model yet.")
    return phase.folder / str(manifest["model"])
