"""What `munro sides` does."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from munro.evaluation.sides.desk import Desk
from munro.evaluation.sides.journal import Journal
from munro.evaluation.sides.make import Wanted, make
from munro.evaluation.sides.server import POLL_S, SidesServer
from munro.evaluation.sides.study import CLICKS, RATERS, Asked
from munro.evaluation.sides.tasks import told
from munro.evaluation.sides.types import BadSides
from munro.machine.run.files import write_atomically

REPORT = "report.json"


def run_make(a: str, b: str, out: str, wanted: Wanted) -> int:
    """Make a study.

    Raises:
        BadSides: a side cannot be used, or the folder is taken.
    """
    folder = Path(out)
    made = make(a, b, folder, wanted)
    found = made.found
    click.echo(f"{len(found.pairs):,} pairs for {len(made.lists)} raters, {_loads(made.lists)}")
    if found.equal:
        click.echo(f"{len(found.equal):,} tasks have equal answers: ties that nobody need look at")
    if found.missing:
        click.echo(
            f"{len(found.missing):,} tasks have one answer alone ({told(found.missing)}): left out"
        )
    if found.differing:
        click.echo(f"{len(found.differing):,} tasks have another prompt in {b}: left out")
    if found.num_names:
        click.echo(f"{found.num_names:,} names of models were taken out of the answers")
    if wanted.checks and not made.num_checks:
        click.echo(
            "no checks: every rater sees every prompt already, so none can be made of them; give "
            "some with --checks-file, or more tasks than --tasks takes"
        )
    else:
        click.echo(f"{made.num_checks:,} checks and what is seen again are mixed in")
    click.echo(f"wrote {folder}; to begin: munro sides serve {folder}")
    return 0


def run_serve(study: str, host: str, port: int) -> int:
    """Serve a study until Ctrl-C, or a request to end.

    Raises:
        BadSides: there is no study, or another process serves it.
        CannotListen: nothing can listen there.
    """
    folder = Path(study)
    asked = Asked.read(folder)
    journal = Journal(folder / CLICKS)
    desk = Desk(asked, journal)
    with SidesServer(desk, host=host, port=port) as server:
        if server.is_open:
            click.echo(
                f"warning: {host} is not this machine alone: whoever reaches it and has a link "
                "rates under that name, and links travel unencrypted. Keep it inside a network "
                "that you trust, or put a proxy with TLS before it.",
                err=True,
            )
        width = max(map(len, asked.raters))
        for rater, (done, total) in desk.progress().items():
            click.echo(f"{rater:<{width}}  {server.links()[rater]}  {done:,} of {total:,} done")
        click.echo(f"Send each rater the link (they are in {folder / RATERS} too). Ctrl-C ends.")
        # another thread, for `shutdown` waits until the one that serves has noticed
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        try:
            server.serve_forever(POLL_S)
        except KeyboardInterrupt:
            click.echo("")
    done = sum(done for done, _ in desk.progress().values())
    click.echo(f"{done:,} looks are done; the same command goes on")
    return 0


def run_report(study: str, without: Sequence[str], *, as_json: bool) -> int:
    """Print a study's figures; keep them and the preferences in its folder.

    Raises:
        BadSides: nothing was rated, or a file is damaged.
    """
    from munro.evaluation.sides.export import write_preferences
    from munro.evaluation.sides.ratings import read_ratings
    from munro.evaluation.sides.report import lines, report_of

    folder = Path(study)
    found = read_ratings(folder)
    report = report_of(found, without=without)
    plain: dict[str, Any] = report.as_json()
    write_atomically(folder / REPORT, json.dumps(plain, indent=2) + "\n")
    written = [folder / REPORT, *write_preferences(found, folder, without=without)]
    if as_json:
        click.echo(json.dumps(plain))
        return 0
    rows = list(lines(report))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")
    click.echo(f"wrote {', '.join(str(path) for path in written)}")
    return 0


def raters_of(raters: str) -> tuple[str, ...]:
    """`3` as r1, r2, r3; or names, parted by commas.

    Raises:
        BadSides: neither.
    """
    if raters.isascii() and raters.isdigit():
        if not 1 <= int(raters) <= 1000:
            raise BadSides(f"--raters {raters}: give 1 to 1000, or names parted by commas.")
        return tuple(f"r{number}" for number in range(1, int(raters) + 1))
    return tuple(name.strip() for name in raters.split(","))


def _loads(lists: dict[str, Any]) -> str:
    sizes = sorted({len(own) for own in lists.values()})
    return f"{sizes[0]:,} looks each" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} each"
