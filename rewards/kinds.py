"""The graders that have a name, and how a name is found: each kind is one class in one file.

A grader takes an item, which is a response with what it is graded against as JSON can say it, and
returns a `Grade`. What a kind takes and where it runs stands in its class (`Grader.kind`), and
nowhere else. One name serves `munro grade --kind NAME`, the service (`munro.rewards.service`), and
graders that a TOML file names:

    math                  ours: `munro/rewards/graders/math.py`
    polite                an entry point of the group "munro.graders", of any installed package
    package.module:Class  anything importable
    path/to/file.py:Class a file of the user's; `:Class` may be left out where only one fits

    with make("math") as grader:
        grader.grade({"response": "<answer>2/4</answer>", "answer": "0.5"})
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from munro.rewards.errors import EpisodeError, GraderError
from munro.rewards.plugins import BadPlugin, Registry, blame, installed, resolve
from munro.rewards.types import Grade

Item = Mapping[str, Any]
"""A response and what it is graded against, by the field names of its kind; JSON-like."""
Options = Mapping[str, Any]
"""Arguments of a grader's constructor, by name; JSON-like."""
STRETCH = 5
"""Wall seconds that a CPU second may take on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of an item."""

    what: str
    """For a person: what to put there."""
    types: tuple[type, ...] = (str,)
    """What JSON may hold there."""
    is_required: bool = True


Role = Literal["", "condition", "price", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A figure that a grade holds beside its reward, and that a reward may be made of."""

    range: tuple[float, float] = (0.0, 1.0)
    """Least and largest value."""
    role: Role = ""
    """A condition is for gates; a price counts what is short of best, and is for sums; a flag is 1
    where something is wrong, which is told and refused in a reward: a gate opens at 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the figures of a grader may be.

    Example:
        Scale(parts={"compliance": Part(role="condition"), "criterion_*": Part()})
    """

    range: tuple[float, float] = (0.0, 1.0)
    """Least and largest reward."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """By name; one with a star stands for all that fit it."""
    only_gates: bool = False
    """The reward itself says whether something is wrong (0) or not (1): it may open a gate, and is
    refused anywhere else in a reward."""

    @property
    def mixes(self) -> bool:
        """Whether the reward is a condition and a price in one figure."""
        return {"condition", "price"} <= {part.role for part in self.parts.values()}

    def part(self, name: str) -> Part | None:
        """The part of that name, if there is one."""
        fitting = [part for key, part in self.parts.items() if fnmatchcase(name, key)]
        return self.parts.get(name) or (fitting[0] if fitting else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of grader, as data.

    Example:
        Kind(summary="the final answer, as mathematics", fields={"answer": Field(what="a number")})
    """

    summary: str = ""
    """One line, for lists; the first one of the class's docstring unless given."""
    fields: Mapping[str, Field] = field(default_factory=dict)
    """What an item holds beside `response`, which every kind takes."""
    scale: Scale = Scale()
    """What its figures may be, where its options do not matter to that."""
    file_args: tuple[str, ...] = ()
    """Options that name files, dotted inside tables: made absolute for other processes."""
    model_args: tuple[str, ...] = ()
    """Options that name a model, by folder or by its name on the hub, dotted inside tables: made
    a folder before a climb begins. One inside a table that has a `base_url` is a service's."""
    is_light: bool = False
    """Only a little arithmetic: a climb grades it where it stands, without queue or process."""
    in_process: bool = False
    """The grader runs in threads of the service's process: it keeps what is dangerous in killable
    processes of its own, or waits for others most of the time. False runs all of it in sealed
    child processes (`munro.rewards.workers`), which start no processes, open no sockets and write
    no files."""
    workers: int = 2
    """Gradings at the same moment."""
    timeout_s: float = 10.0
    """CPU seconds that one grading may take before its process is killed."""
    memory_mb: int = 1024
    """Address space of a killable process, MiB."""
    tries: int = 2
    """Times that a grading is begun before a failure of its machinery counts; a grader that tries
    again by itself needs one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What `[rewards]` of a recipe says of a kind, where nobody says otherwise."""

    options: Options = field(default_factory=dict)
    """Of its graders."""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    """Of its pool, by the keys of a `PoolConfig`."""


class Grader(ABC):
    """Grades items of one kind. Safe to use from many threads; close it in the end.

    Example:
        class Polite(Grader):
            kind = Kind(summary="says the word", is_light=True)

            def __init__(self, word: str = "please") -> None:
                self._word = word

            def grade(self, item: Item) -> Grade:
                return Grade.of(self._word in item["response"])
    """

    kind: ClassVar[Kind] = Kind()

    @classmethod
    def scale(cls, options: Options) -> Scale:  # noqa: ARG003 - some kinds look at them
        """What the figures of a grader with these options may be."""
        return cls.kind.scale

    @classmethod  # noqa: B027 - most are refused as they are made
    def refuse(cls, options: Options) -> None:
        """Refuse options that no grader can be made of, where it is made elsewhere or later.

        Raises:
            ValueError: one sentence that names the option.
        """

    @classmethod
    def usual(cls, rewards: Any) -> Usual:  # noqa: ARG003 - those that are asked say more
        """What a recipe's `RewardsConfig` says of this kind (whose file imports this one)."""
        return Usual()

    @abstractmethod
    def grade(self, item: Item) -> Grade:
        """Judge one item, whose fields were checked.

        Raises:
            EpisodeError: no grade could be had; the item says nothing about the policy.
            ValueError: a field holds something that this kind cannot use; says which and why.
        """

    def check(self, item: Item) -> None:  # noqa: B027 - most take whatever has the right fields
        """Refuse an item that `grade` would refuse, before anything is paid for; grades nothing.

        Raises:
            ValueError: as `grade`.
        """

    def metrics(self) -> Mapping[str, float]:
        """Events so far, of a grader that asks others: requests, failures, tokens in and out."""
        return {}

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Free what is held. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _is_grader(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Grader) and value is not Grader


GRADERS = Registry(
    what="grader", group="munro.graders", home="munro.rewards.graders", fits=_is_grader
)
RESPONSE = Field(what="what the model wrote")


def find(name: str) -> type[Grader]:
    """The class that a name, a module or a path means; a file is read again once it changed.

    Raises:
        PluginNotFound: there is none; offers the nearest.
        BadPlugin: it is there, but cannot be imported, or is no grader.
    """
    path = resolve(name)
    file = Path(path.partition(":")[0])
    is_file = file.suffix == ".py" and file.is_file()
    return _found(path, file.stat().st_mtime_ns if is_file else 0)


@lru_cache(maxsize=256)
def _found(path: str, changed: int) -> type[Grader]:  # noqa: ARG001 - a key of the cache
    found: type[Grader] = GRADERS.find(path)
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise BadPlugin(f"{path}: {found.__name__} lacks {', '.join(missing)}.")
    if not isinstance(getattr(found, "kind", None), Kind):
        raise BadPlugin(f"{path}: {found.__name__}.kind is no Kind.")
    return found


def check_name(name: str) -> None:
    """Refuse a plain name of nothing. Files and modules are looked at when they are loaded, for a
    config may be read where they are not.

    Raises:
        PluginNotFound: there is none of that name; offers the nearest.
    """
    if ":" not in name and not name.endswith(".py") and name not in GRADERS.names():
        find(name)


def ships(name: str) -> bool:
    """Whether a kind is Munro's own, so that looking at it runs nobody else's code."""
    is_plain = ":" not in name and not name.endswith(".py")
    return is_plain and name in GRADERS.names() and name not in installed(GRADERS.group)


def label(name: str) -> str:
    """What metrics and messages call a kind: a file without its folders."""
    return name.rpartition("/")[2]


def check_item(name: str, item: Item) -> None:
    """Refuse an item that lacks a field or holds the wrong type in one.

    Raises:
        ValueError: one sentence that names the field and what belongs there.
    """
    for key, wanted in {"response": RESPONSE, **find(name).kind.fields}.items():
        if key not in item:
            if wanted.is_required:
                raise ValueError(f"{key!r} is missing: {wanted.what}")
        elif not _is_of(item[key], wanted.types):
            types = " or ".join(_JSON_NAMES[each] for each in wanted.types)
            raise ValueError(f"{key!r} is not {types}: {wanted.what}")


def _is_of(value: Any, types: tuple[type, ...]) -> bool:
    """Whether a value is what JSON calls so: true is no number, and NaN is none either."""
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) and not (isinstance(value, float) and not math.isfinite(value))


_JSON_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def is_joint(name: str) -> bool:
    """Whether graders of that kind compare items with each other (`grade_group`)."""
    return hasattr(find(name), "grade_group")


def takes(name: str) -> Mapping[str, inspect.Parameter]:
    """Options of a kind's graders by name."""
    return inspect.signature(find(name)).parameters


def check_options(name: str, options: Options) -> None:
    """Refuse options that graders of that kind do not have, or miss one that they need.

    Raises:
        ValueError: no such kind or option.
    """
    known = takes(name)
    named = [key for key, one in known.items() if one.kind is not one.VAR_KEYWORD]
    for option in options:
        if option not in named and len(named) == len(known):
            hint = f"It takes: {', '.join(named)}." if named else "It takes none."
            raise ValueError(f"the grader {name!r} has no option {option!r}. {hint}")
    for option in named:
        has_default = known[option].default is not inspect.Parameter.empty
        if option not in options and not has_default and known[option].kind is not _REST:
            raise ValueError(f"the grader {name!r} needs the option {option!r}: give it in args.")


_REST = inspect.Parameter.VAR_POSITIONAL


def make(name: str, /, **options: Any) -> Grader:
    """A grader of that kind.

    Args:
        name: of the kind.
        options: what its constructor takes by name.

    Raises:
        ValueError: no such kind or option, or an option's value is unusable.
        EpisodeError: what it needs cannot be had on this machine.
    """
    check_options(name, options)
    try:
        return find(name)(**options)
    except (ValueError, EpisodeError):
        raise
    except Exception as error:
        raise BadPlugin(f"the grader {name!r} cannot be made: {blame(error)}") from error


def graded(outcome: Any) -> Grade:
    """What a grader's `grade` returned, if it is a grade.

    Raises:
        GraderError: it is something else.
    """
    if not isinstance(outcome, Grade):
        raise GraderError(
            f"the grader returned {outcome!r:.80} ({type(outcome).__name__}): return a Grade, such "
            "as Grade.of(True)"
        )
    return outcome


def described() -> str:
    """Every kind with the fields that it takes, as lines for a person. What other packages bring
    is named without being imported."""
    lines = []
    foreign = installed(GRADERS.group)
    for name in GRADERS.names():
        if name in foreign:
            lines.append(f"{name}: installed ({foreign[name].value})")
            continue
        found = find(name)
        docstring = inspect.getdoc(found) or ""
        lines.append(f"{name}: {found.kind.summary or docstring.partition(chr(10))[0]}")
        for key, about in found.kind.fields.items():
            lines.append(f"    {key + ('' if about.is_required else '?'):<21} {about.what}")
    return "\n".join(lines)
