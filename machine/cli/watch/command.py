"""`munro watch`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at. At any other one whoever reaches it can read the runs: there is no "
    "password.",
)
@click.option("--port", default=0, type=int, help="Port to listen at; a free one unless given.")
@click.option("--terminal", is_flag=True, help="A table here, instead of a page in a browser.")
def watch(runs: tuple[str, ...], host: str, port: int, terminal: bool) -> None:
    """RUNS in a browser, while they go on: curves over each other, groups, tokens."""
    paths = [Path(run) for run in runs]
    if terminal:
        from munro.machine.watch.open import opened
        from munro.machine.watch.terminal import watch_in_terminal

        watch_in_terminal(opened(paths))
        return
    from munro.machine.watch.open import watch as serve

    serve(paths, host, port, _ready)


def _ready(url: str, notes: list[str]) -> None:
    for note in notes:
        click.echo(note, err=True)
    click.echo(f"watch at {url} (Ctrl-C ends)")
