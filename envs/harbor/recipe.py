"""A Dockerfile as data: its instructions with the lines that they stand in, variables put in.

    read_recipe("FROM python:3.11\\nENV HOME=/root\\nWORKDIR /app\\n", "environment/Dockerfile")

Only the text is read here; `build` carries it out.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from munro.envs.harbor.errors import BadFolder

KNOWN = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
_HEREDOC = re.compile(r"<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_]*)\2")
_DIRECTIVE = re.compile(r"#\s*([A-Za-z]+)\s*=\s*(\S+)\s*$")
_VARIABLE = re.compile(r"\\\$|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:[-+])([^}]*))?\})")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction.

    Example:
        Instruction(name="RUN", rest="make -C /app", line=4, place="environment/Dockerfile")
    """

    name: str
    rest: str
    """What stands behind its name, without flags; lines that were continued are one."""
    flags: Mapping[str, str]
    bodies: tuple[tuple[str, str], ...] = ()
    """(word, text) of the here-documents that follow it."""
    line: int
    """Where it begins, from 1."""
    place: str
    """The file, as it is told of."""

    def refused(self, why: str) -> BadFolder:
        """For the caller to raise."""
        shown = " ".join(f"{self.name} {self.rest}".split())
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        return BadFolder(f"{self.place} line {self.line}, {shown!r}: {why}")

    @property
    def exec_form(self) -> list[str] | None:
        """The words of `["a", "b"]`; None where it is no such list."""
        if not self.rest.startswith("["):
            return None
        try:
            words = json.loads(self.rest)
        except ValueError:
            return None
        is_words = isinstance(words, list) and all(isinstance(word, str) for word in words)
        return words if is_words else None

    def words(self) -> list[str]:
        """Its arguments, without quotes.

        Raises:
            BadFolder: a quote is not closed.
        """
        if (listed := self.exec_form) is not None:
            return listed
        try:
            return shlex.split(self.rest)
        except ValueError as error:
            raise self.refused(str(error).lower()) from error

    def pairs(self) -> dict[str, str]:
        """Of ENV, ARG and LABEL: `A=1 B="2 3"`, or `A 1` as it was written of old.

        Raises:
            BadFolder: it is neither.
        """
        name, _, value = self.rest.partition(" ")
        if "=" not in name:
            if not value.strip():
                raise self.refused("a name without a value")
            return {name: value.strip()}
        pairs = [word.partition("=") for word in self.words()]
        if bad := [name for name, is_pair, _ in pairs if not is_pair]:
            raise self.refused(f"{bad[0]!r} is no NAME=VALUE")
        return {name: value for name, _, value in pairs}


def read_recipe(text: str, place: str) -> list[Instruction]:
    """The instructions of a Dockerfile, in order; variables are as they were written.

    Raises:
        BadFolder: a line is none of an instruction, or there is no FROM.
    """
    found = list(_instructions(text.splitlines(), place))
    if not any(each.name == "FROM" for each in found):
        raise BadFolder(f"{place}: there is no FROM in it")
    return found


def _instructions(lines: list[str], place: str) -> Iterator[Instruction]:
    escape, at = "\\", 0
    while at < len(lines) and (told := _DIRECTIVE.match(lines[at].strip())):
        if told[1].lower() == "escape":
            escape = told[2]
        at += 1
    while at < len(lines):
        first = at
        parts: list[str] = []
        while at < len(lines):
            line = lines[at]
            at += 1
            if line.lstrip().startswith("#") or (parts and not line.strip()):
                continue  # also between the lines of one instruction
            stripped = line.rstrip()
            parts.append(stripped.removesuffix(escape))
            if not stripped.endswith(escape):
                break
        whole = "".join(parts).strip()
        if not whole:
            continue
        while not lines[first].strip() or lines[first].lstrip().startswith("#"):
            first += 1
        name, rest = [*whole.split(None, 1), ""][:2]
        made = Instruction(name=name.upper(), rest=rest, flags={}, line=first + 1, place=place)
        if made.name not in KNOWN:
            raise made.refused("there is no such instruction")
        bodies: list[tuple[str, str]] = []
        if made.name in ("RUN", "COPY", "ADD"):
            for dash, _, word in _HEREDOC.findall(rest):
                body, at = _body(lines, at, word, strips=bool(dash))
                if body is None:
                    raise made.refused(f"its here-document has no end {word!r}")
                bodies.append((word, body))
        yield _with_flags(made, rest, bodies)


def _body(lines: list[str], at: int, word: str, *, strips: bool) -> tuple[str | None, int]:
    taken: list[str] = []
    for number in range(at, len(lines)):
        line = lines[number].lstrip("\t") if strips else lines[number]
        if line == word:
            return "".join(f"{each}\n" for each in taken), number + 1
        taken.append(line)
    return None, at


def _with_flags(made: Instruction, rest: str, bodies: list[tuple[str, str]]) -> Instruction:
    flags: dict[str, str] = {}
    rest = rest.strip()
    while made.name not in ("ENV", "CMD", "ENTRYPOINT") and (flag := _FLAG.match(rest)):
        flags[flag[1]] = flag[2] or ""
        rest = rest[flag.end() :]
    return Instruction(
        name=made.name,
        rest=rest,
        flags=flags,
        bodies=tuple(bodies),
        line=made.line,
        place=made.place,
    )


def filled(text: str, values: Mapping[str, str]) -> str:
    """`$A`, `${A}`, `${A:-b}` and `${A:+b}` by what they stand for; what nobody knows is empty."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "\\$":
            return "$"
        known = values.get(found[1] or found[2], "")
        if found[3] == ":-":
            return known or found[4]
        if found[3] == ":+":
            return found[4] if known else ""
        return known

    return _VARIABLE.sub(value, text)
