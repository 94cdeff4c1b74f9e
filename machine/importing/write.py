"""`munro import`: a recipe out of another trainer's configuration, and what became of each key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from munro.machine.errors import BadConfig
from munro.machine.importing.draft import Draft
from munro.machine.importing.prime_rl import read_prime_rl
from munro.machine.importing.trl import read_trl
from munro.machine.importing.trl_rows import HERE
from munro.machine.importing.verl import read_verl
from munro.machine.loading import check, override
from munro.machine.run.files import explained

READERS: Mapping[str, Callable[[Path], Draft]] = {
    ".py": read_trl,
    ".yaml": read_verl,
    ".yml": read_verl,
    ".toml": read_prime_rl,
}
"""By the ending of the file."""
SUFFIX = "_munro"
FUNCTIONS = "_rewards.py"
NUMBERS = re.compile(r"\[\n((?: +[-+.e\d]+,\n)+)\]")
"""A list of numbers, as the writer of TOML lays it out."""


def run_import(
    source: str, out: str, overrides: Sequence[tuple[str, str]], *, force: bool = False
) -> str:
    """Write the recipe, and say what was taken over, decided, and has no counterpart.

    Args:
        source: their file.
        out: the recipe's; empty for one named after the source, in the working directory.
        overrides: dotted keys of ours, for what theirs does not say.
        force: write over a file that is there.

    Raises:
        BadConfig: it is no such file, or lacks what a recipe cannot do without.
        RunError: the disk refused.
    """
    file = Path(source).expanduser()
    draft = _read(file)
    target = Path(out).expanduser() if out else Path(f"{file.stem}{SUFFIX}.toml")
    if target.suffix != ".toml":
        raise BadConfig(f"--out {out}: a recipe's name ends in .toml")
    beside = target.with_name(target.stem + FUNCTIONS)
    _name_functions(draft.raw, beside)
    for key, text in overrides:
        override(draft.raw, key, text)
        draft.lines.append(f"said here: {key} = {text}")
    _require(draft, file)
    check(draft.raw, source=f"{file}, as a recipe")
    texts = {target: _recipe(draft, file)}
    if draft.files:
        texts[beside] = draft.files[HERE]
    for path in texts:
        if path.exists() and not force:
            raise BadConfig(f"{path} is there already: name another by --out, or say --force")
    for path, text in texts.items():
        with explained(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return "\n".join(
        [
            f"from {draft.trainer}'s {file}:",
            *(f"  {line}" for line in draft.lines),
            *([] if draft.missing else ["everything has a counterpart"]),
            *(["not taken over:"] if draft.missing else []),
            *(f"  {line}" for line in draft.missing),
            f"wrote {' and '.join(map(str, texts))}; now:",
            f"  munro climb {target} --dry-run",
        ]
    )


def _read(file: Path) -> Draft:
    if file.is_dir():
        raise BadConfig(f"{file} is a folder: name a file in it")
    if not file.is_file():
        raise BadConfig(f"there is no file {file}")
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise BadConfig(
            f"{file}: a script of TRL's ends in .py, a configuration of verl's in .yaml, one of "
            "prime-rl's in .toml; nothing else is read"
        )
    try:
        return reader(file)
    except BadConfig:
        raise
    except (TypeError, ValueError) as error:
        raise BadConfig(f"{file}: a value is not what its key takes: {error}") from error


def _name_functions(node: Any, beside: Path) -> None:
    """Put the name of the file of reward functions where it is still open."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, str) and value.startswith(HERE):
            node[key] = value.replace(HERE, str(beside), 1)
        for inner in value if isinstance(value, list) else [value]:
            _name_functions(inner, beside)


def _require(draft: Draft, file: Path) -> None:
    for key, theirs in draft.wanted.items():
        node: Any = draft.raw
        for name in key.split("."):
            node = node[0] if isinstance(node, list) else node
            node = node.get(name) if isinstance(node, dict) else None
        is_graded = key != "env.path" or node != "prompts" or "graders" in draft.raw["env"]
        if not node or not is_graded:
            example = {"model.path": "OWNER/NAME", "env.path": "qa"}.get(key, "rows.jsonl")
            raise BadConfig(
                f"{file}: {theirs} does not say what the recipe needs: add --{key} {example}"
            )


def _recipe(draft: Draft, file: Path) -> str:
    head = [f"# From {draft.trainer}'s {file.name}, by munro import."]
    if draft.missing:
        head.append("# What was not taken over:")
        head += [f"#   {' '.join(line.split())}" for line in draft.missing]
    text = NUMBERS.sub(_on_one_line, tomli_w.dumps(_ordered(draft.raw)))
    return "\n".join(head) + "\n\n" + text


def _on_one_line(found: re.Match[str]) -> str:
    return f"[{', '.join(found[1].replace(',', ' ').split())}]"


def _ordered(raw: dict[str, Any]) -> dict[str, Any]:
    """Bare keys first, as TOML needs them to stand before tables; then as a recipe is read."""
    order = ("name", "num_steps", "seed", "tracking", "model", "env", "rollout", "learner", "clip",
             "batch", "sync", "length", "rewards", "checkpoint", "eval")  # fmt: skip
    names = sorted(raw, key=lambda name: order.index(name) if name in order else len(order))
    return {name: raw[name] for name in names}
