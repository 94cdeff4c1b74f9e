"""One phase of a machine, in a process of its own: `python -m munro.machine.pipeline.phase FOLDER`.

FOLDER holds `phase.json`, what the machine ordered. When all is made, `manifest.json` is written as
the last thing. The process ends with the machine that started it, however that ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from munro.machine.pipeline.plan import MANIFEST, ORDERS
from munro.machine.run.files import RunError, write_atomically
from munro.machine.run.folder import RunFolder, versions
from munro.machine.sentences import in_one_line, is_sentence

PATIENCE_S = 30.0
"""For the process of a machine that was killed to let go of its run."""
PROGRESS_LINES = 20
"""That a training writes, whatever its length."""


class Interrupted(Exception):
    """Somebody asked the phase to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What `phase.json` says, with the folders that the phase takes."""

    folder: Path
    kind: str
    digest: str
    orders: Mapping[str, Any]
    paths: Mapping[str, Mapping[str, str]]
    """What for, to name, to folder."""

    @classmethod
    def read(cls, folder: Path) -> Orders:
        raw = json.loads((folder / ORDERS).read_text(encoding="utf-8"))
        return cls(
            folder=folder,
            kind=raw["kind"],
            digest=raw["digest"],
            orders=raw["orders"],
            paths=raw["paths"],
        )

    def one(self, role: str) -> Path:
        """The only folder of that role."""
        (path,) = self.paths[role].values()
        return Path(path)


Made = Mapping[str, Any]
"""What a phase says of itself in its manifest: "model" (below its folder), figures."""


def run_phase(folder: Path) -> Made:
    """Make what is ordered and write the manifest; a phase that was begun goes on.

    Raises:
        Interrupted: it was asked to stop; the next call goes on.
        Exceptions of `munro.machine.sentences`: told in one line.
    """
    raw = json.loads((folder / ORDERS).read_text(encoding="utf-8"))
    orders, began = Orders.read(folder), time.monotonic()
    made = KINDS[orders.kind](orders)
    # seconds of earlier, interrupted tries are not known any more
    manifest = {key: value for key, value in raw.items() if key != "paths"} | {
        **made,
        "seconds": round(time.monotonic() - began, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return made


def _base(orders: Orders) -> Made:
    from munro.machine.pipeline.base import make_base

    checkpoint = make_base(orders.orders, orders.folder, _progress())
    return {"model": str(checkpoint.path.relative_to(orders.folder))}


def _climb(orders: Orders) -> Made:
    from munro.machine.climb.process import run_climb
    from munro.machine.loading import check

    recipe = dict(orders.orders["recipe"]) | {"folder": str(orders.folder.parent)}
    if "model" in orders.paths:
        recipe["model"] = {"path": str(orders.one("model"))}
    config = check(recipe, source=str(orders.folder / ORDERS))
    run = RunFolder(orders.folder)
    _wait_until_free(run)
    if run_climb(config, unattended=True):
        raise Interrupted
    newest = run.newest_checkpoint()
    if newest is None:
        raise RunError(f"{run.path} is finished but holds no checkpoint.")
    rates = [line["eval/pass_rate"] for line in run.metrics.read() if "eval/pass_rate" in line]
    figures = {"before": rates[0], "after": rates[-1]} if rates else {}
    return {"model": str(newest[1].relative_to(run.path)), "steps": newest[0], **figures}


def _wait_until_free(run: RunFolder) -> None:
    """Let a process of a machine that was killed a moment ago end first."""
    end = time.monotonic() + PATIENCE_S
    while run.holder is not None and time.monotonic() < end:
        time.sleep(0.2)


def _consolidate(orders: Orders) -> Made:
    from munro.distill.config import DistillConfig
    from munro.distill.distil import Source, distil

    weights = orders.orders["weights"]
    sources = [
        Source(run=Path(path), name=Path(path).name, weight=weights[name])
        for name, path in orders.paths["runs"].items()
    ]
    how = DistillConfig.model_validate(orders.orders["distill"])
    out = orders.folder / "model"
    distil(sources, orders.one("onto"), out, how, on_progress=_progress())
    return {"model": "model"}


def _questions(orders: Orders) -> Made:
    from munro.machine.loading import check_as
    from munro.machine.pipeline.questions import built_in
    from munro.machine.questions.verbs import build_and_score
    from munro.questions.config import QuestionsConfig

    recipe = dict(orders.orders["recipe"]) | {"out": str(built_in(orders.folder))}
    config = check_as(QuestionsConfig, recipe, source=str(orders.folder / ORDERS))
    return {"questions": build_and_score(config)}


def _evaluate(orders: Orders) -> Made:
    from munro.machine.pipeline.scores import score

    return {"scores": score(orders.orders, orders.paths["models"], orders.folder)}


def _pretrain(orders: Orders) -> Made:
    from munro.machine.pipeline.base import make_pretrained

    tellers: dict[str, Callable[[Any], None]] = {}

    def tell(phase: str, metrics: Any) -> None:
        tellers.setdefault(phase, _progress(f"{phase}  "))(metrics)

    checkpoint = make_pretrained(orders.orders, orders.folder, tell)
    return {"model": str(checkpoint.path.relative_to(orders.folder))}


KINDS: Mapping[str, Callable[[Orders], Made]] = {
    "base": _base,
    "questions": _questions,
    "pretrain": _pretrain,
    "climb": _climb,
    "consolidate": _consolidate,
    "evaluate": _evaluate,
}


def _progress(head: str = "") -> Callable[[Any], None]:
    """A line now and then: some twenty over the whole training."""
    told = 0

    def tell(metrics: Any) -> None:
        nonlocal told
        if metrics.step * PROGRESS_LINES >= metrics.num_steps * (told + 1):
            told = metrics.step * PROGRESS_LINES // metrics.num_steps
            click.echo(f"{head}step {metrics.step}/{metrics.num_steps}  loss {metrics.loss:.3f}")

    return tell


def _end_with_parent() -> None:
    """Standard input is a pipe from the machine's process: at its end that process is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main() -> None:
    """Entry point: the exit statuses of `munro`."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _end_with_parent()
    try:
        run_phase(Path(sys.argv[1]))
    except (KeyboardInterrupt, Interrupted):
        sys.exit(130)
    except Exception as error:
        if not is_sentence(error):
            raise
        click.echo(f"munro: {in_one_line(error)}")
        sys.exit(2)


if __name__ == "__main__":
    main()
