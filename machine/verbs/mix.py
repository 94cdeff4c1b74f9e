"""`munro mix`: search for a mixture, and say how far to believe what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from munro.base_model.scaling.mixture_config import MixConfig
from munro.base_model.scaling.mixture_search import Findings, Search, Task, Trial, search
from munro.machine.loading import load_as
from munro.machine.run.files import explained, write_atomically
from munro.machine.run.lock import held_folder
from munro.machine.verbs.ladder import say
from munro.machine.verbs.verdicts import grid

if TYPE_CHECKING:
    from munro.base_model.results import TrainedRun
    from munro.base_model.scaling.plan import Plan

RESULTS = "mixtures.jsonl"
BEST = "mixture.toml"
SHOWN = 8
"""Rows of a table of many mixtures."""


def run_mix(file: str, overrides: Sequence[tuple[str, str]], *, dry_run: bool) -> int:
    """Search, train what is not trained yet, print what was found and write the best weights.

    Raises:
        BadConfig: a key is wrong.
        DataError, RungFailed, RunError: the text, a training or the disk.
    """
    config = load_as(MixConfig, file, overrides)
    if dry_run:
        click.echo(budget(config))
        return 0
    folder = Path(config.folder) / config.name
    with held_folder(folder, "give this search another --name"):
        _search(config, folder)
    return 0


def _search(config: MixConfig, folder: Path) -> None:
    """Search in `folder`, from what is trained there already, and tell what was found."""
    from munro.base_model.data.shards.texts import prepare
    from munro.base_model.results import as_line
    from munro.base_model.scaling.rungs import Setting
    from munro.machine.run.trainings import watched

    with explained(folder):
        text = prepare(config.data, folder / "data", note=say)
    unique = {name: float(text.part(name, held_out=False).num_tokens) for name in config.data.names}
    setting = Setting(
        text=text, folder=folder / "trainings", device=config.device, workers=config.workers
    )
    trained: dict[str, str] = {}

    def train(plans: Sequence[Plan]) -> list[TrainedRun]:
        distinct = list({setting.place(plan): plan for plan in plans}.values())
        runs = dict(zip(map(setting.place, distinct), watched(distinct, setting, say), strict=True))
        for plan in distinct:
            run = runs[setting.place(plan)]
            trained[f"{run.name} {run.rung}"] = as_line(run, sources=dict(plan.weights))
        write_atomically(folder / RESULTS, "".join(trained.values()))
        return [runs[setting.place(plan)] for plan in plans]

    task = Task(config=config, vocab_size=text.vocab_size, unique_tokens=unique)
    found = search(task, train, note=say)
    write_atomically(folder / BEST, weights_table(found))
    click.echo("\n".join(verdict(found, task)))
    click.echo(f"\nwrote {folder / RESULTS}\nwrote {folder / BEST}")


def budget(config: MixConfig) -> str:
    """What a search would train, before it is known on which mixtures."""
    from munro.base_model.scaling.plan import table

    task = Task(config=config, vocab_size=0, unique_tokens={})
    small, large = task.plan({}, "proxy"), task.plan({}, "finalist", large=True)
    categories = [source.category for source in config.data.sources]
    inside = sum(categories.count(one) > 1 for one in dict.fromkeys(categories))
    searches = config.rounds * (inside + (len({*categories}) > 1))
    *rows, _total = table((small, large)).split("\n")
    proxies = searches * config.proxies
    flops = (proxies + config.finalists) * small.flops + config.finalists * large.flops
    rows.append(
        f"{searches} searches of {config.proxies} proxies, then {config.finalists} finalists twice:"
        f" at most {proxies + 2 * config.finalists} trainings, {flops:.2e} FLOPs in all"
    )
    return "\n".join(rows)


def verdict(found: Findings, task: Task) -> Iterator[str]:
    """What was found, for a terminal."""
    for each in found.searches:
        yield from _searched(each)
        yield ""
    yield f"finalists, at the proxies' size and with {task.config.compute:g}x compute:"
    yield from _finalists(found)
    yield ""
    yield f"Pareto front, {len(found.front)} of the mixtures at the proxies' size:"
    front = sorted(found.front, key=lambda trial: trial.target)
    yield from _trials(front[:SHOWN])
    if len(front) > SHOWN:
        yield f"and {len(front) - SHOWN} more"
    yield ""
    yield from _conclusion(found, task)


def weights_table(found: Findings) -> str:
    """The winner as TOML: a phase's [mixture], or a candidate's weights."""
    accepted = "accepted" if found.accepted else "NOT accepted: the winner changed with the compute"
    lines = [f'"{name}" = {weight:g}' for name, weight in found.best.items()]
    return "\n".join([f"# from munro mix; {accepted}", "[mixture]", *lines]) + "\n"


def _searched(each: Search) -> Iterator[str]:
    best = min(each.trials, key=lambda trial: trial.target)
    yield (
        f"{each.name}: {len(each.trials)} mixtures, best measured target {best.target:.4f}, "
        f"predicted of the proposal {each.predicted:.4f}"
    )
    rows = [["", "form", "error unseen", "spread of losses"]]
    for category, surface in each.surfaces.items():
        told = "" if surface.error < surface.spread else "  (no better than the mean)"
        spread = f"{surface.spread:.2%}{told}"
        rows.append([category, surface.form, f"{surface.error:.2%}", spread])
    yield from grid(rows)


def _finalists(found: Findings) -> Iterator[str]:
    again = {tuple(trial.weights.items()): trial for trial in found.retrained}
    names = list(found.began)
    rows = [[*names, "target", "more compute", ""]]
    for trial in found.finalists:
        large = again[tuple(trial.weights.items())]
        shares = [f"{trial.weights[name]:.3f}" for name in names]
        mark = "the first weights" if trial.weights == found.began else ""
        rows.append([*shares, f"{trial.target:.4f}", f"{large.target:.4f}", mark])
    yield from grid(rows)


def _trials(trials: Sequence[Trial]) -> Iterator[str]:
    names, categories = list(trials[0].weights), list(trials[0].losses)
    rows = [[*names, *(f"NLL {one}" for one in categories), "target"]]
    for trial in trials:
        shares = [f"{trial.weights[name]:.3f}" for name in names]
        losses = [f"{trial.losses[one]:.4f}" for one in categories]
        rows.append([*shares, *losses, f"{trial.target:.4f}"])
    yield from grid(rows)


def _conclusion(found: Findings, task: Task) -> Iterator[str]:
    first, second = found.retrained[:2]
    lead = second.target / first.target - 1
    noise = max(surface.error for each in found.searches for surface in each.surfaces.values())
    rows = [["", *found.best], ["weights", *(f"{weight:.4f}" for weight in found.best.values())]]
    epochs = (
        weight * task.target_tokens / task.unique_tokens[name]
        for name, weight in found.best.items()
    )
    rows.append(["epochs", *(f"{each:.2f}" for each in epochs)])
    yield from grid(rows)
    if found.accepted:
        yield f"accepted: the same mixture wins with {task.config.compute:g}x the compute"
    else:
        yield (
            "not accepted: another mixture wins with more compute than at the proxies' size (rank "
            "flip). Search again with larger proxies."
        )
    if lead < noise:
        yield (
            f"note: it leads the next by {lead:.2%} of the target, no more than single losses "
            f"stray ({noise:.2%}): the two are not told apart"
        )
