"""`munro world`: worlds of tools, and tasks in them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.cli.listing import Listing


@click.group(cls=Listing)
def world() -> None:
    """Make tasks in worlds of tools, each proven; no model is needed."""


@world.command(name="list")
def list_() -> None:
    """Domains that worlds are made of, and kinds of tasks."""
    from munro.envs.worlds.making.kinds import KINDS
    from munro.envs.worlds.spec import available, domain

    for name, line in available().items():
        click.echo(f"{name:<12} {len(domain(name).tools):>3} tools  {line}")
    click.echo()
    for name, line in KINDS.described():
        click.echo(f"{name:<20} {line}")


@world.command()
@click.option("--out", required=True, help="Folder of tasks to write.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    help="A name of `munro world list`, or a .toml of your own; again for more. All unless given.",
)
@click.option("--tasks", default=1000, show_default=True, help="Tasks, a tenth of them held out.")
@click.option("--tools", default=0, help="Tools that a task shows; 0 for all of its world.")
@click.option("--size", default=1.0, show_default=True, help="Times the rows that tables name.")
@click.option("--kinds", default="", help='Shares, as in "read=1,write=2"; all kinds unless given.')
@click.option("--seed", default=0, show_default=True, help="Another one makes other tasks.")
@click.option("--from", "wish", default="", help="A domain in plain words, for --author to write.")
@click.option("--author", default="", help="judge:NAME, who writes the domain of --from.")
@click.option("--config", "recipe", default="", help="Recipe whose [judge.NAME] is asked.")
def build(
    out: str,
    domains: tuple[str, ...],
    tasks: int,
    tools: int,
    size: float,
    kinds: str,
    seed: int,
    wish: str,
    author: str,
    recipe: str,
) -> None:
    """Draw worlds and tasks, and keep those that are proven.

    With --from, a judge writes a domain first, to OUT.toml, and the tasks are about that one and
    those of --domain.
    """
    from munro.envs.world.source import composed
    from munro.envs.worlds.making.build import build as build_
    from munro.envs.worlds.making.draw import SHARES, Menu
    from munro.envs.worlds.spec import available

    if tasks < 1 or tools < 0 or not 0 < size <= 100:
        raise click.UsageError("--tasks must be at least 1, --tools 0 or more, --size in (0, 100].")
    if wish or author:
        file = Path(out.rstrip("/") + ".toml")
        _written(wish, author, recipe, file)
        domains = (*domains, str(file))
    names = domains or tuple(name for name in available() if name != "stall")
    made = composed(names)
    menu = Menu(shares=_shares(kinds) or SHARES, num_tools=tools)
    found = build_(made, menu, Path(out), num_tasks=tasks, size=size, seed=seed, on_task=_tell)
    for name, number in sorted(found.items()):
        click.echo(f"{number:>6} {name}")
    click.echo(f"{tasks} tasks with up to {len(made.tools)} tools, all proven, in {out}")


@world.command()
@click.argument("folder")
def check(folder: str) -> None:
    """Prove the tasks in FOLDER again."""
    from munro.envs.worlds.making.build import check as check_

    wrong = check_(Path(folder))
    for name, why in wrong:
        click.echo(f"{name}: {why}")
    click.echo(f"{len(wrong)} tasks are none" if wrong else "every task is proven")
    sys.exit(1 if wrong else 0)


@world.command(context_settings=OVERRIDABLE)
@first("name")
@click.option("--stdio", is_flag=True, help="One session over stdin and stdout.")
@click.option("--http", "port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="That --http listens at.")
@click.option("--task", default="", help="Of an environment: whose tools and state; the first.")
@click.option("--seed", default=0, show_default=True, help="Of a world's rows.")
@click.pass_context
def serve(
    context: click.Context,
    name: str,
    stdio: bool,
    port: int | None,
    host: str,
    task: str,
    seed: int,
) -> None:
    """Show the tools of NAME to any MCP client, each session with a state of its own.

    NAME is a domain of `munro world list`, several with commas between, a .toml of your own, or an
    environment with tools, by its name or path; further options are its arguments.
    """
    from munro.envs.mcp.serving.run import over_http, over_stdio
    from munro.envs.mcp.serving.shown import shown_of
    from munro.machine.loading import overrides_of, value_of

    if stdio == (port is not None):
        raise click.UsageError("give one of --stdio and --http PORT.")
    args = {key: value_of(text) for key, text in overrides_of(context.args)}
    shown = shown_of(name, task=task, seed=seed, args=args)
    if stdio:
        over_stdio(shown)
        return
    assert port is not None

    def ready(address: str) -> None:
        click.echo(f"{len(shown.tools)} tools of {name} at {address} (Ctrl-C ends it)")

    over_http(shown, host, port, ready)


def _written(wish: str, author: str, recipe: str, file: Path) -> None:
    """A domain by a judge, in a file of its own."""
    from munro.envs.worlds.making.author import write_domain
    from munro.machine.climb.models import in_place, settle
    from munro.machine.loading import load

    kind, _, name = author.partition(":")
    if kind != "judge" or not name or not recipe or not wish:
        raise click.UsageError("--from WORDS goes with --author judge:NAME and --config RECIPE.")
    if file.exists():
        raise click.UsageError(f"{file} is there already: give it as --domain, or remove it.")
    config = load(recipe)
    judges = in_place(config, settle(config, only="judge.")).judge
    if name not in judges:
        known = ", ".join(judges) or "none"
        raise click.UsageError(f"{recipe} has no [judge.{name}]; there is {known}.")
    text = write_domain(wish, judges[name], name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    click.echo(f"{file}: a domain by judge {name}")


def _shares(kinds: str) -> Mapping[str, float]:
    shares = {}
    for each in filter(None, kinds.split(",")):
        name, _, share = each.partition("=")
        try:
            shares[name.strip()] = float(share or 1)
        except ValueError as error:
            raise click.UsageError(f"--kinds: {each!r} is not NAME=SHARE.") from error
        if not 0 < shares[name.strip()] < float("inf"):
            raise click.UsageError(f"--kinds: the share of {name!r} must be above 0.")
    return shares


def _tell(number: int) -> None:
    if number % 250 == 0:
        click.echo(f"{number} tasks", err=True)
