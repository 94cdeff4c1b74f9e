"""What a task asks for: the issue, the pull request's text or the commit's, without what leaks.

Ids of commits, numbers of pull requests, addresses, fenced diffs and names that only the fix has
are taken out; what is left is measured against the lines that the fix adds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.patch import added_lines, split
from munro.envs.swe_build.proposal import Contents, Proposal

MERGE_LINE = re.compile(r"(?im)^merge (pull request|branch|remote-tracking branch|request)\b.*$")
TRAILER = re.compile(
    r"(?im)^(signed-off-by|co-authored-by|reviewed-by|change-id|cherry.picked from|see merge "
    r"request|git-svn-id)\b.*$"
)
FENCED_DIFF = re.compile(r"(?ms)^(```+|~~~+)[ \t]*(diff|patch)\b.*?^\1[ \t]*$")
DIFF_LINES = re.compile(r"(?m)^(diff --git .*|index [0-9a-f]+\.\..*|@@ .* @@.*|[-+]{3} \S.*)$\n?")
ADDRESS = re.compile(r"<?\b(https?|ssh|git)://[^\s>)\]]+>?|\bgit@\S+")
SHA = re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b|\b[0-9a-f]{40}\b")
NUMBER = re.compile(
    r"(?i)\s*\(#\d+\)"
    r"|(?:\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?|refs?|see|re|issue|pr|pull request|gh)[ :]*)?"
    r"(?:#\d+|\bgh-\d+|!\d+)(?:\s*(?:,|and)\s*(?:#\d+|gh-\d+))*"
)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{3,}")
ADDRESS_IN_MEMORY = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
"""Another one in each run, and a task is to be the same bytes."""
FORMS = {"-", "*", "+"}
MOST_SHOWN = 1200
LEAST_CHARS = 20
"""A statement of fewer says nothing; such a candidate is left out unless a judge writes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What the model is told, and how much of the fix that gives away."""

    text: str
    source: str
    """"issue", "commit", "judge" or "test"."""
    leak: float
    """Share of the fix's added lines that stand in the text, 0 to 1."""
    scrubbed: tuple[str, ...] = ()
    """Kinds of things that were taken out."""


def read_issues(folder: Path) -> dict[str, str]:
    """Exported issues and pull requests by their number.

    Files `NUMBER.md` or `NUMBER.txt` hold text, `NUMBER.json` an object with title and body.

    Raises:
        BadRepository: there is no such folder, or a file in it is neither.
    """
    if not folder.is_dir():
        raise BadRepository(f"{folder}: there is no such folder of exported issues")
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.stem.isdigit() and path.suffix in (".md", ".txt"):
            found[path.stem] = path.read_text(encoding="utf-8", errors="replace")
        elif path.stem.isdigit() and path.suffix == ".json":
            try:
                row = json.loads(path.read_text(encoding="utf-8"))
                found[path.stem] = f"{row['title']}\n\n{row.get('body') or ''}"
            except (ValueError, KeyError, TypeError) as failure:
                raise BadRepository(
                    f"{path}: an exported issue is an object with title and body"
                ) from failure
    if not found:
        raise BadRepository(f"{folder} holds no exported issue: files like 17.md or 17.json")
    return found


def linked(proposal: Proposal, issues: Mapping[str, str]) -> str:
    """The issue that a fix names, or its own pull request where that was exported; "" for none."""
    named = re.findall(
        r"(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?)[ :]+(?:issue )?(?:#|gh-)(\d+)",
        proposal.message,
    )
    others = re.findall(r"#(\d+)", proposal.message)
    for number in [*named, *others, proposal.provenance.get("number", "")]:
        if number in issues:
            return issues[number]
    return ""


def stated(
    proposal: Proposal, before: Mapping[str, bytes], issues: Mapping[str, str] | None = None
) -> Statement:
    """The statement of a proposal, from its linked issue or else from what was written about it.

    Args:
        before: files that the box begins with; names that only the fix has are no part of it.
        issues: exported ones by number; None takes the message always.
    """
    issue = linked(proposal, issues) if issues else ""
    text, scrubbed = scrub(issue or proposal.message)
    text, hidden = _without_new_names(text, new_names(proposal, before))
    if hidden:
        scrubbed = (*scrubbed, "names that only the fix has")
    return Statement(
        text=text,
        source="issue" if issue else "commit",
        leak=leak_of(text, proposal.gold, before),
        scrubbed=scrubbed,
    )


def scrub(text: str) -> tuple[str, tuple[str, ...]]:
    """A text without what points to the fix, and the kinds of things that were taken out."""
    text = text.replace("\r\n", "\n").replace("\0", "")
    taken = []
    for what, pattern, instead in (
        ("merge lines", MERGE_LINE, ""),
        ("trailers", TRAILER, ""),
        ("diffs", FENCED_DIFF, ""),
        ("diffs", DIFF_LINES, ""),
        ("addresses", ADDRESS, ""),
        ("commit ids", SHA, ""),
        ("numbers", NUMBER, ""),
    ):
        text, count = pattern.subn(instead, text)
        if count and what not in taken:
            taken.append(what)
    lines = [re.sub(r"[ \t]{2,}", " ", line.rstrip()) for line in text.split("\n")]
    kept = [line for line in lines if line.strip() not in FORMS]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), tuple(taken)


def new_names(proposal: Proposal, before: Mapping[str, bytes]) -> set[str]:
    """Private names that the fix makes: no test can ask for them, so no statement needs them.

    A public name may be what a test imports; `interface` of a task says those.
    """
    known = {name for contents in before.values() for name in names_in(contents)}
    made = {name for new in proposal.gold.values() if new for name in names_in(new)}
    asked = {name for new in proposal.tests.values() if new for name in names_in(new)}
    return {name for name in made - known - asked if name.startswith("_") or "_" in name}


def names_in(contents: bytes) -> set[str]:
    """Words that may be identifiers."""
    return set(NAME.findall(contents.decode(errors="replace")))


def _without_new_names(text: str, names: Iterable[str]) -> tuple[str, bool]:
    hidden = False
    for name in sorted(names, key=lambda one: (-len(one), one)):
        text, count = re.subn(rf"`*\b{re.escape(name)}\b(\(\))?`*", "(a helper)", text)
        hidden = hidden or bool(count)
    return text, hidden


def leak_of(text: str, gold: Contents, before: Mapping[str, bytes]) -> float:
    """Share of the added lines that a text holds; lines of under 8 characters do not count."""
    said = " ".join(text.split())
    added = []
    for path, new in gold.items():
        lines = split(new or b"")
        for number in added_lines(before.get(path, b""), new or b""):
            line = " ".join(lines[number - 1].decode(errors="replace").split())
            if len(line) >= 8 and not line.startswith(('"""', "#")):
                added.append(line)
    return sum(line in said for line in added) / len(added) if added else 0.0


def of_failures(proposal: Proposal, messages: Mapping[str, str]) -> Statement:
    """The statement of a made task: what one of its tests shows, never the change itself.

    Args:
        messages: of the tests that fail before the fix, by id, or of their files, by path.

    Raises:
        Dropped: they show nothing, and nothing else tells what is wrong.
    """
    name = min(messages, key=lambda one: (len(messages[one]), one), default="")
    shown = _symptom(messages[name]) if name else ""
    if proposal.kind == "function":
        text = f"{proposal.message}\n\nWhat it must do is said by its docstring and its callers."
    else:
        text = "Something in this repository does not do what it did."
    if not shown and proposal.kind != "function":
        raise Dropped("leak-free", "no test shows what is wrong")
    if shown:
        text += f"\n\nOne of its tests, `{name.rpartition('::')[2]}`, shows:\n\n```\n{shown}\n```"
    return Statement(text=text, source="test", leak=0.0)


def _symptom(message: str) -> str:
    """The call of the test itself and what came of it: no line of the code that is wrong."""
    lines = message.splitlines()
    told = [line for line in lines if line.startswith("E ")]
    call: list[str] = []
    for at, line in enumerate(lines):
        if re.match(r"\S+\.py:\d+: in test", line):
            call = [one for one in lines[at + 1 :] if not one.startswith("E ")]
            frames = [n for n, one in enumerate(call) if re.match(r"\S+\.py:\d+: in ", one)]
            call = call[: frames[0]] if frames else call
            break
    return ADDRESS_IN_MEMORY.sub("0x...", "\n".join([*call, *told]))[:MOST_SHOWN]
