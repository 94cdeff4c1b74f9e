"""A climb as a batch script of Slurm's: one node, or several that Ray joins first."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from munro.machine.errors import BadConfig

PLAIN = re.compile(r"[\w.,:@/=+%\[\]-]+")
"""What may stand behind #SBATCH, where nothing can be quoted for certain."""
PORT = 6379


@dataclass(frozen=True, slots=True)
class Slurm:
    """What is asked of Slurm; empty or 0 leaves it to the cluster.

    Example:
        Slurm(partition="gpu", nodes=2, gpus=8, time="24:00:00")
    """

    partition: str = ""
    account: str = ""
    time: str = ""
    nodes: int = 1
    gpus: int = 0
    """On each node."""
    cpus: int = 0
    """On each node."""
    options: tuple[str, ...] = ()
    """Others, as sbatch takes them: "--qos=high"."""


def script(command: Sequence[str], *, name: str, folder: Path, slurm: Slurm) -> str:
    """The batch script.

    Args:
        command: the climb's words.
        name: of the job.
        folder: to run in, on a file system that all nodes share.
        slurm: what is asked for.

    Raises:
        BadConfig: an option holds what a line of #SBATCH cannot.
    """
    asked = {
        "job-name": name,
        "output": f"{name}-%j.log",
        "partition": slurm.partition,
        "account": slurm.account,
        "time": slurm.time,
        "nodes": str(slurm.nodes),
        "ntasks-per-node": "1",
        "gpus-per-node": str(slurm.gpus or ""),
        "cpus-per-task": str(slurm.cpus or ""),
        "signal": "B:TERM@120",
    }
    options = [f"--{key}={value}" for key, value in asked.items() if value]
    options += slurm.options
    for option in options:
        if not PLAIN.fullmatch(option) or not option.startswith("--"):
            raise BadConfig(
                f"{option!r} cannot stand in a line of #SBATCH: write --name=value, without blanks "
                "and quotes"
            )
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options), "", "set -euo pipefail"]
    lines.append(f"cd -- {shlex.quote(str(folder))}")
    words = list(command)
    if slurm.nodes > 1:
        lines += _cluster(Path(command[0]).with_name("ray"), slurm)
        words += ["--ray.address", "auto"]
    # Slurm's word of the end goes to the climb, which saves itself; the same job then resumes
    lines += [f"{shlex.join(words)} &", "climb=$!", "trap 'kill -TERM \"$climb\"' TERM"]
    lines += ['wait "$climb" || { status=$?; wait "$climb" || true; exit "$status"; }']
    return "\n".join(lines) + "\n"


def _cluster(ray: Path, slurm: Slurm) -> list[str]:
    """Lines that make one Ray cluster of the job's nodes; the climb runs on the first."""
    start = f"{shlex.quote(str(ray))} start --block"
    gpus = f" --num-gpus={slurm.gpus}" if slurm.gpus else ""
    return [
        'nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))',
        'head="${nodes[0]}"',
        'srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" '
        f'{start} --head --node-ip-address="$head" --port={PORT}{gpus} &',
        "sleep 20",
        'for node in "${nodes[@]:1}"; do',
        f'    srun --nodes=1 --ntasks=1 --overlap --nodelist="$node" {start} '
        f'--address="$head:{PORT}"{gpus} &',
        "done",
        "sleep 20",
    ]


def send(text: str) -> str:
    """Hand a script to sbatch; what that says.

    Raises:
        BadConfig: there is no sbatch here, or it refuses.
    """
    if shutil.which("sbatch") is None:
        raise BadConfig(
            "there is no sbatch here: type this on a login node of the cluster, or write the "
            "script with --dry-run"
        )
    done = subprocess.run(["sbatch"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadConfig(f"sbatch refused: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.strip()
