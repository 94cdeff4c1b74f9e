"""The graders that have a name: what each is given, and where it is made. The only such table.

A grader takes an item, which is a response with what it is graded against as JSON can say it, and
returns a `Grade`. One name serves `munro grade --kind NAME`, the service (`munro.rewards.service`),
and graders that a TOML file names. A new kind is one entry in `KINDS` and one small class.

    with make("math") as grader:
        grader.grade({"response": "<answer>2/4</answer>", "answer": "0.5"})
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from munro.rewards.types import Grade

Item = Mapping[str, Any]
"""A response and what it is graded against, by the field names of its kind; JSON-like."""


class Grader(ABC):
    """Grades items of one kind. Safe to use from many threads; close it in the end."""

    @abstractmethod
    def grade(self, item: Item) -> Grade:
        """Judge one item, whose fields were checked.

        Raises:
            EpisodeError: no grade could be had; the item says nothing about the policy.
            ValueError: a field holds something that this kind cannot use; says which and why.
        """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of an item."""

    what: str
    """For a person: what to put there."""
    types: tuple[type, ...] = (str,)
    """What JSON may hold there."""
    is_required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of grader, as data.

    Example:
        Kind(
            summary="the final answer, as mathematics",
            factory="munro.rewards.service.graders:MathGrader",
            fields={"answer": Field(what="the reference")},
        )
    """

    summary: str
    """One line, for lists."""
    factory: str
    """`module:name` of what makes a `Grader` from options."""
    fields: Mapping[str, Field] = field(default_factory=dict)
    """What an item holds beside `response`, which every kind takes."""
    in_process: bool = False
    """The grader runs in threads of the service's process: it keeps what is dangerous in killable
    processes of its own, or waits for others most of the time. False runs all of it in sealed
    child processes (`munro.rewards.workers`), which start no processes, open no sockets and write
    no
    files."""
    workers: int = 2
    """Gradings at the same moment."""
    timeout_s: float = 10.0
    """CPU seconds that one grading may take before its process is killed."""
    memory_mb: int = 1024
    """Address space of a killable process, MiB."""
    tries: int = 2
    """Times that a grading is begun before a failure of its machinery counts; a grader that tries
    again by itself needs one."""


STRETCH = 5
"""Wall seconds that a CPU second may take on a busy machine."""
RESPONSE = Field(what="what the model wrote")
KINDS: dict[str, Kind] = {
    "math": Kind(
        summary="the final answer, compared as mathematics with a reference",
        factory="munro.rewards.service.graders:MathGrader",
        fields={
            "answer": Field(what="the reference answer", types=(str, int, float)),
            "question": Field(what="what was asked, for a judge to read", is_required=False),
        },
        in_process=True,
        timeout_s=5.0,
    ),
    "code": Kind(
        summary="the program in the response, run against tests in a sandbox",
        factory="munro.rewards.service.graders:ProgramGrader",
        fields={
            "tests": Field(
                what='a list such as [{"stdin": "1 2", "stdout": "3"}], or with function, args and '
                "expected, or with source",
                types=(list,),
            ),
            "language": Field(what="python unless given", is_required=False),
            "limits": Field(what='such as {"cpu_s": 2}', types=(dict,), is_required=False),
            "starter": Field(what="code that the response completes", is_required=False),
            "entry_point": Field(what="the function that it completes", is_required=False),
        },
        in_process=True,
        tries=3,
    ),
    "instructions": Kind(
        summary="instructions that a program can check, IFEval's and others",
        factory="munro.rewards.instructions.grader:InstructionsGrader",
        fields={
            "instructions": Field(
                what='a list such as [{"id": "punctuation:no_comma"}], with kwargs where it needs '
                "some",
                types=(list,),
                is_required=False,
            ),
            "instruction_id_list": Field(
                what="ids as IFEval has them", types=(list,), is_required=False
            ),
            "kwargs": Field(
                what="of each of instruction_id_list", types=(list,), is_required=False
            ),
        },
    ),
    "judge": Kind(
        summary="an LLM judge: equivalence, scale, rubric, honesty or policy",
        factory="munro.rewards.judge.grader:JudgeGrader",
        fields={
            "question": Field(what="what was asked", is_required=False),
            "answer": Field(what="the reference, for equivalence and honesty", is_required=False),
            "criteria": Field(what="of a rubric", types=(list,), is_required=False),
            "guide": Field(what="the standard of a scale", is_required=False),
            "rules": Field(what="the policy", is_required=False),
            "target": Field(what="refuse, partial or do-not-refuse", is_required=False),
            "severity": Field(what="of the request, 0 to 3", types=(int,), is_required=False),
        },
        in_process=True,
        workers=16,
        tries=1,
    ),
    "preference": Kind(
        summary="a preference model, which reads a response beside others",
        factory="munro.rewards.service.graders:PreferenceGrader",
        fields={
            "prompt": Field(what="what was asked"),
            "others": Field(
                what="responses to compare with; graded as a group without",
                types=(list,),
                is_required=False,
            ),
        },
        in_process=True,
        workers=1,
        tries=1,
    ),
    "judge_preference": Kind(
        summary="an LLM judge that compares a response with others",
        factory="munro.rewards.judge.grader:JudgePreferenceGrader",
        fields={
            "question": Field(what="what was asked; or prompt", is_required=False),
            "others": Field(
                what="responses to compare with; graded as a group without",
                types=(list,),
                is_required=False,
            ),
        },
        in_process=True,
        tries=1,
    ),
    "brevity": Kind(
        summary="shorter is better: 1 for nothing, 0 at a length of your choice",
        factory="munro.rewards.length.brevity:BrevityGrader",
        in_process=True,
    ),
    "length_range": Kind(
        summary="-1 for a length outside what is usual in its context (munro lengths)",
        factory="munro.rewards.length.usual:LengthRangeGrader",
        in_process=True,
    ),
}


def kind_of(name: str) -> Kind:
    """The kind of that name.

    Raises:
        ValueError: there is none; offers the nearest.
    """
    if name in KINDS:
        return KINDS[name]
    close = difflib.get_close_matches(name, KINDS, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(KINDS)}."
    raise ValueError(f"there is no grader {name!r}. {hint}")


def check_item(name: str, item: Item) -> None:
    """Refuse an item that lacks a field or holds the wrong type in one.

    Raises:
        ValueError: one sentence that names the field and what belongs there.
    """
    for key, wanted in {"response": RESPONSE, **kind_of(name).fields}.items():
        if key not in item:
            if wanted.is_required:
                raise ValueError(f"{key!r} is missing: {wanted.what}")
        elif not isinstance(item[key], wanted.types):
            types = " or ".join(_JSON_NAMES[each] for each in wanted.types)
            raise ValueError(f"{key!r} is not {types}: {wanted.what}")


_JSON_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def factory_of(name: str) -> Callable[..., Grader]:
    """What makes graders of that kind: imports what they need.

    Raises:
        ValueError: no such kind.
    """
    module, _, attribute = kind_of(name).factory.partition(":")
    factory: Callable[..., Grader] = getattr(importlib.import_module(module), attribute)
    return factory


def is_joint(name: str) -> bool:
    """Whether graders of that kind compare items with each other (`grade_group`)."""
    return hasattr(factory_of(name), "grade_group")


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that graders of that kind do not have.

    Raises:
        ValueError: no such kind or option.
    """
    known = inspect.signature(factory_of(name)).parameters
    for option in options:
        if option not in known:
            takes = f"It takes: {', '.join(known)}." if known else "It takes none."
            raise ValueError(f"the grader {name!r} has no option {option!r}. {takes}")


def make(name: str, /, **options: Any) -> Grader:
    """A grader of that kind.

    Args:
        name: of the kind.
        options: what its factory takes by name.

    Raises:
        ValueError: no such kind or option, or an option's value is unusable.
        EpisodeError: what it needs cannot be had on this machine.
    """
    check_options(name, options)
    return factory_of(name)(**options)


def described() -> str:
    """Every kind with the fields that it takes, as lines for a person."""
    lines = []
    for name, kind in KINDS.items():
        lines.append(f"{name}: {kind.summary}")
        for key, about in kind.fields.items():
            lines.append(f"    {key + ('' if about.is_required else '?'):<21} {about.what}")
    return "\n".join(lines)
