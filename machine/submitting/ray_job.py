"""A climb as a job of a Ray cluster that is running: `ray job submit`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from munro.machine.errors import BadConfig

LEFT_HERE = ["runs", "models", "machines", "evals", "checkpoints", ".venv", ".git", "build"]
"""Folders that are not sent along."""
SCHEMES = ("http://", "https://", "ray://")
SAFE = re.compile(r"[\w./:=@%+,\"-]")


def command(climb: Sequence[str], *, name: str, folder: Path, address: str) -> list[str]:
    """The words of `ray job submit`.

    Args:
        climb: the words of the job, whose first is a command of the cluster's.
        name: of the job.
        folder: that is sent along and run in.
        address: of the cluster's dashboard; empty takes RAY_API_SERVER_ADDRESS or RAY_ADDRESS.

    Raises:
        BadConfig: there is no address, or a word cannot go through Ray's command line.
    """
    known = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS", "")
    if not known:
        raise BadConfig(
            "which cluster? Give --address http://HEAD:8265, the address of its dashboard, or set "
            "RAY_API_SERVER_ADDRESS"
        )
    if not known.startswith(SCHEMES):
        raise BadConfig(f"{known}: the address of a dashboard begins with http:// or https://")
    environment = json.dumps({"working_dir": str(folder), "excludes": LEFT_HERE})
    return [
        str(Path(sys.executable).with_name("ray")), "job", "submit", "--no-wait",
        "--address", known, "--runtime-env-json", environment,
        "--metadata-json", json.dumps({"climb": name}), "--", *map(through_ray, climb),
    ]  # fmt: skip


def through_ray(word: str) -> str:
    """A word as `ray job submit` must get it, so that the job's shell sees the very same.

    Ray joins words by the rules of Windows (`subprocess.list2cmdline`) and hands them to sh.

    Raises:
        BadConfig: no way of writing it survives both.
    """
    has_blank = " " in word or "\t" in word
    if "\\" in word or "\n" in word or (has_blank and re.search(r"[$`]", word)) or not word:
        raise BadConfig(
            f"{word!r} does not come through the command line of ray job submit: put it into the "
            "recipe"
        )
    if has_blank:  # Ray puts double quotes around it
        return word
    return "".join(one if SAFE.fullmatch(one) else f"\\{one}" for one in word)


def send(words: Sequence[str]) -> str:
    """Run `ray job submit`; what it says.

    Raises:
        BadConfig: it cannot be run, or refuses.
    """
    try:
        done = subprocess.run(list(words), capture_output=True, text=True, check=False)
    except OSError as error:
        raise BadConfig(f"{words[0]} cannot be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().split("\n")[-1]
        raise BadConfig(f"ray job submit refused: {' '.join(said.split())}")
    return done.stdout.strip()


def shown(words: Sequence[str]) -> str:
    """The command as one may type it."""
    return shlex.join(words)
