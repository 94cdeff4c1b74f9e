"""Answers of two models to the same prompts: read, paired, stripped of what names a model.

A side is a folder of results (`munro eval`), or JSONL:

    {"prompt": "...", "response": "..."}                      other columns are passed over
    {"id": "t1", "messages": [...], "response": "..."}        a conversation to be answered
    {"messages": [..., {"role": "assistant", ...}]}           whose last turn is the answer

Of an answer with thoughts people see what a user would: all that follows them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.evaluation.results import Results
from munro.evaluation.sides.assign import shuffled
from munro.evaluation.sides.names import Stripper
from munro.evaluation.sides.types import BadSides, Pair, Talk
from munro.rewards.language import visible
from munro.rewards.preference.context import content_of, messages_of

PROMPTS = ("prompt", "messages", "question", "context")
ANSWERS = ("response", "answer", "reply", "completion")
MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one model answered."""

    prompt: Talk
    text: str
    subset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model's answers by task."""

    name: str
    path: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two sides put together.

    Example:
        paired(read_side("a.jsonl"), read_side("b.jsonl"))
    """

    pairs: tuple[Pair, ...]
    """That people are to look at."""
    equal: tuple[str, ...]
    """Tasks with the same answer twice: ties that nobody needs to look at."""
    missing: tuple[str, ...]
    """Tasks with one answer alone, or an empty one."""
    differing: tuple[str, ...]
    """Tasks whose prompts differ."""
    num_names: int
    """Names of models that were taken out."""


def read_side(path: Path | str, entry: str = "") -> Side:
    """The answers of one model.

    Args:
        path: folder of results, or JSONL file.
        entry: of results, that alone.

    Raises:
        BadSides: it cannot be read, or lines of it are wrong; names them.
        BadResults: a folder of results is damaged.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        return _of_results(file, entry)
    answers: dict[str, Answer] = {}
    name = file.stem
    for number, row in _rows(file):
        try:
            task, answer = _answer(row)
        except ValueError as error:
            raise BadSides(f"{path}, line {number}: {error}.") from error
        if task in answers:
            raise BadSides(f"{path}, line {number}: the task {task!r:.60} is there twice.")
        answers[task] = answer
        name = str(row.get("model") or name)
    if not answers:
        raise BadSides(f"{path} is empty: write one prompt and its response a line.")
    return Side(name=name, path=str(path), answers=answers)


def paired(a: Side, b: Side, *, strip: Iterable[str] = ()) -> Paired:
    """Both sides' answers to the same prompts, without the names of models.

    Args:
        a: one model's.
        b: the other's.
        strip: further names to take out.
    """
    bare = Stripper([a.name, b.name, *strip])
    pairs, equal, missing, differing, num_names = [], [], [], [], 0
    for task in dict.fromkeys([*a.answers, *b.answers]):
        one, other = a.answers.get(task), b.answers.get(task)
        if one is None or other is None or not one.text.strip() or not other.text.strip():
            missing.append(task)
            continue
        if one.prompt != other.prompt:
            differing.append(task)
            continue
        (left, num_left), (right, num_right) = bare(one.text), bare(other.text)
        num_names += num_left + num_right
        if left.strip() == right.strip():
            equal.append(task)
            continue
        pairs.append(Pair(task=task, prompt=one.prompt, a=left, b=right, subset=one.subset))
    return Paired(
        pairs=tuple(pairs),
        equal=tuple(equal),
        missing=tuple(missing),
        differing=tuple(differing),
        num_names=num_names,
    )


def some_of(found: Paired, number: int, seed: int) -> tuple[Paired, tuple[Pair, ...]]:
    """So many tasks by lot, equal answers among them; and the pairs that are left over."""
    names = [*(pair.task for pair in found.pairs), *found.equal]
    if number < 1:
        raise BadSides(f"--tasks {number}: give at least 1.")
    if number > len(names):
        raise BadSides(
            f"--tasks {number}: only {len(names)} tasks have two answers to the same prompt."
        )
    chosen = set(shuffled(names, seed, "tasks")[:number])
    rest = tuple(pair for pair in found.pairs if pair.task not in chosen)
    return Paired(
        pairs=tuple(pair for pair in found.pairs if pair.task in chosen),
        equal=tuple(task for task in found.equal if task in chosen),
        missing=found.missing,
        differing=found.differing,
        num_names=found.num_names,
    ), rest


def read_checks(path: Path | str) -> tuple[Pair, ...]:
    """Pairs of which one is plainly wrong: {"prompt", "good", "bad"} a line.

    Raises:
        BadSides: the file or a line of it is wrong.
    """
    found = []
    for number, row in _rows(Path(path).expanduser()):
        try:
            good, bad = (_text(row, name) for name in ("good", "bad"))
            pair = Pair(task=f"check {number}", prompt=_talk(row), a=good, b=bad, is_check=True)
        except ValueError as error:
            raise BadSides(f"{path}, line {number}: {error}.") from error
        found.append(pair)
    if not found:
        raise BadSides(f"{path} is empty: write one check a line.")
    return tuple(found)


def made_checks(pairs: Sequence[Pair], seed: int) -> tuple[Pair, ...]:
    """Checks of the pairs themselves: an answer against one to quite another prompt."""
    order = shuffled(range(len(pairs)), seed, "made checks")
    found = []
    for place, at in enumerate(order):
        own, other = pairs[at], pairs[order[(place + 1) % len(order)]]
        if own.prompt != other.prompt and own.a.strip() != other.a.strip():
            task = f"check {own.task}"
            found.append(Pair(task=task, prompt=own.prompt, a=own.a, b=other.a, is_check=True))
    return tuple(found)


def told(what: Sequence[str]) -> str:
    """Names of tasks in a sentence."""
    shown = ", ".join(f"{name:.60}" for name in what[:MOST_NAMED])
    return shown if len(what) <= MOST_NAMED else f"{shown} and {len(what) - MOST_NAMED} more"


def _of_results(folder: Path, entry: str) -> Side:
    results = Results(folder)
    rows = results.rows(entry)
    if not rows:
        there = ", ".join(results.entries())
        why = f"has no entry {entry!r}: there are {there}" if there else "holds no results"
        raise BadSides(f"{folder} {why}.")
    answers = {}
    for row in rows:
        if row.run == 0 and not row.failed:
            answers[f"{row.entry}/{row.task}"] = Answer(
                prompt=({"role": "user", "content": row.prompt},),
                text=visible(row.reply),
                subset=row.labels.get("subset", "") or row.entry,
            )
    return Side(
        name=str(results.model().get("name", folder.name)), path=str(folder), answers=answers
    )


def _rows(file: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    raise BadSides(f"{file}, line {number}: not JSON.") from None
                if not isinstance(row, dict):
                    raise BadSides(f"{file}, line {number}: not a JSON object.")
                yield number, row
    except UnicodeDecodeError as error:
        raise BadSides(f"{file} is not UTF-8 text ({error.reason}).") from error
    except OSError as error:
        raise BadSides(f"cannot read {file}: {error.strerror or error}.") from error


def _answer(row: Mapping[str, Any]) -> tuple[str, Answer]:
    talk = _talk(row)
    named = next((name for name in ANSWERS if name in row), "")
    if named:
        said = _text(row, named)
    elif talk[-1]["role"] == "assistant" and len(talk) > 1:
        said, talk = talk[-1]["content"], talk[:-1]
    else:
        raise ValueError(f"no answer: give {' or '.join(ANSWERS)}")
    key = hashlib.blake2b(json.dumps(talk).encode(), digest_size=6).hexdigest()
    task = str(row.get("task") or row.get("id") or key)
    return task, Answer(prompt=talk, text=visible(said), subset=str(row.get("subset") or ""))


def _talk(row: Mapping[str, Any]) -> Talk:
    named = next((name for name in PROMPTS if name in row), "")
    if not named:
        raise ValueError(f"no prompt: give {' or '.join(PROMPTS)}")
    if not isinstance(row[named], list):
        return ({"role": "user", "content": _text(row, named)},)
    messages = messages_of(row[named], named)
    return tuple({"role": str(one["role"]), "content": _clean(content_of(one))} for one in messages)


def _text(row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row.get(name), str):
        raise ValueError(f"{name} is missing" if name not in row else f"{name} is no text")
    return _clean(row[name])


def _clean(text: str) -> str:
    """What may be written as UTF-8."""
    return text.encode(errors="backslashreplace").decode()
