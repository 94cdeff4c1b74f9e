"""`munro distill` and `munro consolidate`: traces of runs onto a base."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from munro.distill.config import CONSOLIDATION, DistillConfig
from munro.machine.loading import BadConfig, check_as, override, read_toml
from munro.machine.pipeline.plan import merged
from munro.machine.run.files import RunError
from munro.machine.run.folder import STEP_NAME

if TYPE_CHECKING:
    from munro.base_model.training.pretrain import StepMetrics
    from munro.distill.prepare import Account
    from munro.distill.sources import Source

Overrides = Sequence[tuple[str, str]]


def run_distill(
    run: str,
    onto: str,
    out: str,
    *,
    file: str,
    steps: tuple[int | None, int | None],
    dry_run: bool,
    overrides: Overrides,
) -> int:
    """Distil one run; its own `[distill]` table says how, unless a file does.

    Raises:
        BadConfig: a key is wrong.
        RunError: there is no run.
        CannotDistill: see `munro.distill.distil.distil`.
    """
    from munro.distill.sources import Source

    folder, up_to = _run_and_step(run)
    raw = _table(file) if file else _own_table(folder)
    config = _config(raw, overrides, source=file or str(folder / "config.toml"))
    first, last = steps
    if last is None:
        last = up_to
    source = Source(run=folder, name=folder.resolve().name, first_step=first, last_step=last)
    return _make([source], onto, out, config, dry_run=dry_run)


def run_consolidate(
    runs: Sequence[str],
    onto: str,
    out: str,
    *,
    weights: str,
    file: str,
    dry_run: bool,
    overrides: Overrides,
) -> int:
    """Make one model of several runs.

    Raises:
        As `run_distill`; BadConfig also where the weights do not name the runs.
    """
    from munro.distill.sources import Source

    folders = [_run_folder(run) for run in runs]
    names = [folder.resolve().name for folder in folders]
    shares = parse_weights(weights, names)
    raw = merged(CONSOLIDATION.model_dump(mode="json"), _table(file) if file else {})
    config = _config(raw, overrides, source=file or "command line")
    if unknown := sorted(set(config.teachers) - set(names)):
        raise BadConfig(
            f"teachers.{unknown[0]} names no run: the runs are {', '.join(sorted(names))}."
        )
    sources = [
        Source(run=folder, name=name, weight=shares[name])
        for folder, name in zip(folders, names, strict=True)
    ]
    return _make(sources, onto, out, config, dry_run=dry_run)


def parse_weights(text: str, names: Sequence[str]) -> dict[str, float]:
    """`stem=0.56,agentic=0.11` as numbers, one for each run; all alike where the text is empty.

    Raises:
        BadConfig: a weight is no positive number, or names no run; a run has no weight, or two
            runs have one name.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadConfig(f"two runs are called {twice[0]}: rename one of their folders.")
    if not text:
        return dict.fromkeys(names, 1.0)
    weights: dict[str, float] = {}
    for piece in text.split(","):
        name, _, number = (part.strip() for part in piece.partition("="))
        if name not in names:
            raise BadConfig(
                f"--weights names {name!r}, which is none of the runs {', '.join(names)}."
            )
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = 0.0
        if not 0 < weights[name] < float("inf"):
            raise BadConfig(f"--weights {piece.strip()}: give a number above 0.")
    if missing := [name for name in names if name not in weights]:
        raise BadConfig(f"--weights says nothing of {', '.join(missing)}: give every run a weight.")
    return weights


def _make(
    sources: Sequence[Source], onto: str, out: str, config: DistillConfig, *, dry_run: bool
) -> int:
    from munro.base_model.checkpoint import Checkpoint
    from munro.base_model.hub import folder_of
    from munro.distill.distil import distil, look

    base = folder_of(onto)
    if dry_run:
        Checkpoint(base).prove()
        _show_account(look(sources, base, config))
        return 0
    target = Path(out).expanduser().absolute()
    is_there = target.exists()
    distil(sources, base, target, config, on_progress=_show, on_account=_show_account)
    click.echo(f"{out} was made before, from the same" if is_there else f"wrote {out}")
    return 0


def _run_and_step(run: str) -> tuple[Path, int | None]:
    """A run; of one of its checkpoints, the run and the step up to which it had climbed."""
    folder = Path(run).expanduser().resolve()
    step = STEP_NAME.fullmatch(folder.name)
    if step and folder.parent.name == "checkpoints":
        return _run_folder(str(folder.parent.parent)), int(step[1])
    return _run_folder(run), None


def _run_folder(run: str) -> Path:
    folder = Path(run).expanduser()
    if not (folder / "rollouts").is_dir():
        raise RunError(f"There is no run at {run}: it has no rollouts.")
    return folder


def _own_table(folder: Path) -> dict[str, Any]:
    """The run's `[distill]`, as far as it is about how and not about when."""
    try:
        raw = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as broken:
        raise RunError(f"{folder / 'config.toml'} is not TOML: {broken}.") from broken
    table = raw.get("distill", {})
    return {key: value for key, value in table.items() if key in DistillConfig.model_fields}


def _table(file: str) -> dict[str, Any]:
    """A recipe's `[distill]`, or the whole file where it has no such table."""
    raw = read_toml(file)
    table = raw.get("distill", raw)
    known = DistillConfig.model_fields
    return {k: v for k, v in table.items() if table is raw or k in known}


def _config(raw: dict[str, Any], overrides: Overrides, *, source: str) -> DistillConfig:
    for key, value in overrides:
        override(raw, key, value)
    return check_as(DistillConfig, raw, source=source)


def _show_account(account: Account) -> None:
    from munro.distill.accounts import table

    click.echo(table(account))


def _show(metrics: StepMetrics) -> None:
    click.echo(
        f"step {metrics.step} of {metrics.num_steps}: loss {metrics.loss:.3f}, "
        f"{metrics.seconds_left:.0f} s left",
        err=True,
    )
