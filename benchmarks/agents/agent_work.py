"""What an agent does that knows a task's solution: look, edit, run tests, say that it is done."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from munro.envs.swe.folder import TaskFolder, read_from

LINES_SEEN = 12
"""On either side of a place that it will edit."""


def work_on(task: TaskFolder, store: Path) -> Iterator[str]:
    """The turns of an agent that solves the task, the last of which says so."""
    layers = task.image(store).layers
    yield "Let me look around.\n" + call("bash", command="git log --oneline | head -3; ls")
    gold = task.gold(store)
    for path, contents in sorted(gold.items()):
        before = read_from(layers, path)
        if contents is None:
            yield call("bash", command=f"rm -- '{path}'")
        elif before is None:
            yield call(
                "str_replace_editor", command="create", path=path, file_text=contents.decode()
            )
        else:
            yield from _edited(path, before.decode(), contents.decode())
    tests = sorted({name.partition("::")[0] for name in task.pass_to_pass})
    seen = [path for path in tests if read_from(layers, path) is not None]
    asked = f"python3 -m pytest -q {seen[0]}" if seen else "python3 -m compileall -q ."
    yield "Does it hold?\n" + call("bash", command=f"{asked} 2>&1 | tail -n 4")
    yield "It is done."


def _edited(path: str, before: str, after: str) -> Iterator[str]:
    """Look at each place of a file that is to change, and change it; the last place first."""
    lines, wanted = before.splitlines(keepends=True), after.splitlines(keepends=True)
    blocks = difflib.SequenceMatcher(a=lines, b=wanted, autojunk=False).get_opcodes()
    for kind, first, last, start, end in reversed(blocks):
        if kind == "equal":
            continue
        text, around = "".join(lines), 0
        while True:
            top, bottom = max(first - around, 0), min(last + around, len(lines))
            old = "".join(lines[top:bottom])
            if old and text.count(old) == 1:
                break
            around += 1
        new = "".join([*lines[top:first], *wanted[start:end], *lines[last:bottom]])
        shown = [max(top + 1 - LINES_SEEN, 1), min(bottom + LINES_SEEN, len(lines))]
        yield call("str_replace_editor", command="view", path=path, view_range=shown)
        yield call("str_replace_editor", command="str_replace", path=path, old_str=old, new_str=new)
        lines[first:last] = wanted[start:end]


def call(name: str, **arguments: Any) -> str:
    """A call in the Hermes form, whose arguments cannot close it."""
    said = json.dumps({"name": name, "arguments": arguments}).replace("</", "<\\/")
    return f"<tool_call>{said}</tool_call>"
