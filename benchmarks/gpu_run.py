"""Every GPU figure of Munro in one run of under ten minutes on one card, beside its peers.

    python benchmarks/gpu_run.py                 all sections, each in a process with its own limit
    python benchmarks/gpu_run.py head            one section
    python benchmarks/gpu_run.py --smoke         the same at toy sizes on a CPU: no figure counts

Results go to gpu_run/gpu_run.json (`--out FOLDER`) after every section and as a table at the end.
A peer that is not installed, or fails, is a row that says why. Needs torch, Triton, transformers
and pydantic; the peers that are worth racing are pure Python:

    pip install liger-kernel cut-cross-entropy trl

docs/gpu.md has the bars and what was measured, with card, date and commit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import torch
from gpu.rows import Row, Rows

SECTIONS = {  # seconds that each may take
    "ceilings": 25,
    "tests": 90,
    "head": 110,
    "nucleus": 30,
    "experts": 75,
    "attention": 75,
    "learner": 130,
    "pretrain": 60,
}
WHOLE_S = 570


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--smoke", action="store_true", help="toy sizes, on a CPU")
    parser.add_argument("--no-peers", action="store_true", help="Munro's own subjects alone")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu_run")))
    parser.add_argument("--here", action="store_true", help="in this process, without a limit")
    options = parser.parse_args()
    chosen = options.section or list(SECTIONS)
    if unknown := set(chosen) - SECTIONS.keys():
        parser.error(f"there is no section {min(unknown)!r}; there are: {', '.join(SECTIONS)}")
    if not options.smoke and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; --smoke runs the same at toy sizes on a CPU")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.here:
        for name in chosen:
            rows = Rows(part(options.out, name), peers=not options.no_peers)
            import_module(f"gpu.{name}").run(rows, smoke=options.smoke)
    else:
        flags = [flag for flag in ("--smoke", "--no-peers") if flag in sys.argv]
        found = in_turn(chosen, options.out, flags)
        if options.smoke and any("error" in row for rows in found.values() for row in rows):
            sys.exit("something did not run: see the rows above")


def in_turn(names: list[str], out: Path, flags: list[str]) -> dict[str, list[Row]]:
    """Each section in a process of its own: one that dies or hangs costs only itself."""
    started = time.monotonic()
    everything: dict[str, list[Row]] = {}
    for name in names:
        limit = min(SECTIONS[name], WHOLE_S - (time.monotonic() - started))
        everything[name] = one_process(name, out, flags, limit_s=limit)
        (out / "gpu_run.json").write_text(json.dumps(everything, indent=1), encoding="utf-8")
    for name, rows in everything.items():
        print(f"\n== {name}")
        for row in rows:
            print("  " + "  ".join(f"{key}={value}" for key, value in row.items()))
    return everything


def one_process(name: str, out: Path, flags: list[str], *, limit_s: float) -> list[Row]:
    """The rows of a section, and at their end how it went."""
    if limit_s < 15:
        return [{"error": "no time left"}]
    part(out, name).unlink(missing_ok=True)
    command = [sys.executable, __file__, name, "--here", "--out", str(out)]
    began = time.monotonic()
    try:
        done = subprocess.run([*command, *flags], timeout=limit_s, check=False)
        ended = "" if done.returncode == 0 else f"exit {done.returncode}"
    except subprocess.TimeoutExpired:
        ended = f"stopped after {limit_s:.0f} s"
    rows: list[Row] = json.loads(part(out, name).read_text()) if part(out, name).exists() else []
    part(out, name).unlink(missing_ok=True)
    wall: Row = {"wall_s": round(time.monotonic() - began, 1)}
    return [*rows, *([{"error": ended}] if ended else []), wall]


def part(out: Path, name: str) -> Path:
    """Where a running section keeps its rows."""
    return out / f"{name}.part.json"


if __name__ == "__main__":
    main()
