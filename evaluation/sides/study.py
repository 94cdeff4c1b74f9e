"""A study's folder: what the server reads, what it never reads, and what raters said.

    STUDY/
      study.json       how it was made, what is asked; names no model
      pairs.jsonl      one pair a line, its two texts in a hidden order
      lists.jsonl      one rater a line: which pairs, which text on the left
      raters.json      the raters' tokens: who has one is that rater
      clicks.jsonl     every click, appended and flushed to the disk before it is answered
      key.json         what was whose, which looks are checks: the server never reads it

All but tokens and clicks follows from the two sides and the seed, byte for byte, so that anybody
can make it again and compare.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from munro.evaluation.files import write_atomically
from munro.evaluation.sides.assign import Design, drawn
from munro.evaluation.sides.types import BadSides, Kind, Look, Pair, Talk

STUDY, PAIRS, LISTS = "study.json", "pairs.jsonl", "lists.jsonl"
RATERS, CLICKS, KEY = "raters.json", "clicks.jsonl", "key.json"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the server may know of a study.

    Example:
        Asked.read(Path("sides/larch"))
    """

    name: str
    criteria: tuple[str, ...]
    """Each answer is graded by: a major issue, a minor one, none."""
    raters: tuple[str, ...]
    prompts: tuple[Talk, ...]
    texts: tuple[tuple[str, str], ...]
    """Of each pair, in a hidden order."""
    lists: Mapping[str, tuple[tuple[int, bool], ...]]
    """By rater: (pair, whether the second text is on the left)."""
    tokens: Mapping[str, str]
    """Token to rater."""

    @classmethod
    def read(cls, folder: Path) -> Asked:
        """All of it.

        Raises:
            BadSides: there is no study there, or it is damaged.
        """
        study = read_study(folder)
        try:
            pairs = [json.loads(line) for line in _lines(folder / PAIRS)]
            lists = [json.loads(line) for line in _lines(folder / LISTS)]
            tokens = json.loads((folder / RATERS).read_text(encoding="utf-8"))
            return cls(
                name=folder.resolve().name,
                criteria=tuple(study["criteria"]),
                raters=tuple(study["raters"]),
                prompts=tuple(tuple(pair["prompt"]) for pair in pairs),
                texts=tuple((pair["texts"][0], pair["texts"][1]) for pair in pairs),
                lists={
                    one["rater"]: tuple((pair, bool(turned)) for pair, turned in one["looks"])
                    for one in lists
                },
                tokens={token: rater for rater, token in tokens.items()},
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise _damaged(folder, error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What was whose."""

    a: str
    b: str
    tasks: tuple[str, ...]
    """Of each pair."""
    subsets: tuple[str, ...]
    a_first: tuple[bool, ...]
    """Of each pair, whether its first text is A's; of a check, the good one."""
    kinds: Mapping[str, tuple[Kind, ...]]
    """By rater, of each look."""
    equal: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    num_names: int = 0
    """Names of models that were taken out."""
    paths: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Key:
        """From its file.

        Raises:
            BadSides: it is not there, or damaged.
        """
        try:
            raw = json.loads((folder / KEY).read_text(encoding="utf-8"))
            raw["kinds"] = {rater: tuple(map(Kind, kinds)) for rater, kinds in raw["kinds"].items()}
            lists = ("tasks", "subsets", "a_first", "equal", "missing", "differing")
            return cls(**{**raw, **{name: tuple(raw[name]) for name in lists}})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(folder, error) from error


def read_study(folder: Path) -> dict[str, Any]:
    """What `write_study` said of itself.

    Raises:
        BadSides: there is no study there, or another version's.
    """
    try:
        study = json.loads((folder / STUDY).read_text(encoding="utf-8"))
        if study["version"] != VERSION:
            raise BadSides(f"{folder} was made by another version of munro sides: make it again.")
    except FileNotFoundError:
        raise BadSides(
            f"There is no study at {folder}: make one with munro sides make A B --out {folder}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadSides):
            raise
        raise _damaged(folder, error) from error
    assert isinstance(study, dict)
    return study


def write_study(
    folder: Path,
    design: Design,
    pairs: Sequence[Pair],
    lists: Mapping[str, Sequence[Look]],
    criteria: Sequence[str],
    key: Mapping[str, Any],
) -> None:
    """Make the folder.

    Args:
        folder: that nothing is in yet.
        design: of it.
        pairs: those to be compared, then the checks.
        lists: by rater.
        criteria: that each answer is graded by.
        key: further fields of `Key`: "a", "b", and what was left out.

    Raises:
        BadSides: there is a study already, or the disk refuses.
    """
    if (folder / STUDY).exists() or (folder / CLICKS).exists():
        raise BadSides(f"{folder} holds a study already: give this one another folder with --out.")
    # a coin for each pair, so that the order of its texts says nothing of whose they are
    a_first = [bool(drawn(design.seed, "order of texts", at) % 2) for at in range(len(pairs))]
    shown = (
        {"prompt": list(one.prompt), "texts": [one.a, one.b] if first else [one.b, one.a]}
        for one, first in zip(pairs, a_first, strict=True)
    )
    looks = (
        {"rater": rater, "looks": [[one.pair, int(one.a_left != a_first[one.pair])] for one in own]}
        for rater, own in lists.items()
    )
    made = {
        **key,
        "tasks": [one.task for one in pairs],
        "subsets": [one.subset for one in pairs],
        "a_first": a_first,
        "kinds": {rater: [one.kind.value for one in own] for rater, own in lists.items()},
    }
    study = {"version": VERSION, "criteria": list(criteria), "raters": list(lists)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PAIRS, _json_lines(shown))
        write_atomically(folder / LISTS, _json_lines(looks))
        _private(folder / KEY, json.dumps(made) + "\n")
        tokens = {rater: secrets.token_urlsafe(16) for rater in lists}
        _private(folder / RATERS, json.dumps(tokens, indent=2) + "\n")
        # last, for it says that the others are whole
        told = json.dumps(study | {"design": asdict(design)}, indent=2)
        write_atomically(folder / STUDY, told + "\n")
    except OSError as error:
        raise BadSides(f"cannot write {folder}: {error.strerror or error}.") from error


def _private(path: Path, text: str) -> None:
    """For the eyes of whoever runs the study alone."""
    write_atomically(path, text)
    os.chmod(path, 0o600)


def _json_lines(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _lines(path: Path) -> list[str]:
    # split at line feeds alone: answers hold what else Python takes for the end of a line
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]


def _damaged(folder: Path, error: Exception) -> BadSides:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return BadSides(f"the study at {folder} is damaged ({why}): copy it again, or make it anew.")
