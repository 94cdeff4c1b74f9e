"""`munro swe build | bugs | functions`: make tasks, and say where the others fell out."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from munro.envs.swe.folder import LAYERS
from munro.envs.swe_build.author import (
    AUTHOR,
    TRANSCRIPT,
    Setup,
    Workshop,
    setup_in,
    written_setup,
)
from munro.envs.swe_build.build import Builder, HasLayers, Options, explained_disk
from munro.envs.swe_build.candidates import Candidates, contents_at, made, mined
from munro.envs.swe_build.errors import BadRepository
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.history import write_tree
from munro.envs.swe_build.journal import Journal
from munro.envs.swe_build.made.bugs import propose_bugs
from munro.envs.swe_build.made.functions import propose_functions
from munro.envs.swe_build.mine import Rules
from munro.envs.swe_build.packages.installed import Installed
from munro.envs.swe_build.packages.prepare import Packages
from munro.envs.swe_build.packages.requirements import needs_of
from munro.envs.swe_build.related import test_files
from munro.envs.swe_build.statements.rewrite import Rewrite, rewriter
from munro.envs.swe_build.statements.statement import read_issues
from munro.envs.swe_build.validate import Bounds
from munro.machine.run.lock import held_folder
from munro.rewards import sandbox
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.sandbox import layer_of

NO_TESTS = "has no tests that pytest would find: files named test_*.py, *_test.py or tests.py"
NOTHING = Setup()
MAKERS = {"bug": propose_bugs, "function": propose_functions}


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Options that all three commands have."""

    resume: bool
    jobs: int
    packages: str
    requirements: str
    test_s: float
    wall_s: float
    least_strength: float

    @property
    def needed(self) -> tuple[str, ...]:
        """The lines of the file of requirements; none where there is no such option.

        Raises:
            BadRepository: it cannot be read, or says nothing.
        """
        if not self.requirements:
            return ()
        try:
            text = Path(self.requirements).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as failure:
            raise BadRepository(f"--requirements {self.requirements}: {failure}") from failure
        lines = [line.strip() for line in text.splitlines()]
        found = tuple(line for line in lines if line and not line.startswith("#"))
        if not found:
            raise BadRepository(f"--requirements {self.requirements}: there is none in it")
        return found

    def settings(self, repository: Repository, **more: object) -> dict[str, str]:
        """What tasks depend on, for the journal."""
        python = ".".join(map(str, sys.version_info[:2]))
        return {
            "repository": repository.resolve("HEAD"),
            "python": python,
            "packages": self.packages,
            "requirements": " ".join(self.needed),
            "test_s": f"{self.test_s:g}",
            "wall_s": f"{self.wall_s:g}",
            "least_strength": f"{self.least_strength:g}",
            **{key: str(value) for key, value in more.items()},
        }


def run_build(
    repo: str,
    out: str,
    *,
    since: str,
    until: str,
    limit: int,
    only: Sequence[str],
    history: str,
    statement: str,
    issues: str,
    recipe: str,
    author: str = "",
    **common: object,
) -> int:
    """Tasks from pull requests.

    Raises:
        BadRepository: the repository, the folder or the options are not what they should be.
        SandboxError: there is no sandbox to be had.
    """
    shared = _common(common)
    if not re.fullmatch(r"commit|issue|judge:\S+", statement):
        raise BadRepository(f"--statement {statement}: write commit, issue or judge:NAME")
    if statement == "issue" and not issues:
        raise BadRepository("--statement issue takes them from a folder: add --issues FOLDER")
    if author and not re.fullmatch(r"judge:\S+", author):
        raise BadRepository(f"--author {author}: write judge:NAME")
    if author and shared.requirements:
        raise BadRepository("--author finds out what --requirements says: give one of them")
    writer = _judge(author.partition(":")[2], recipe, "--author") if author else None
    exported = read_issues(Path(issues).expanduser()) if issues else {}
    repository = Repository(repo)
    name, folder = name_of(repository), Path(out).expanduser()
    rewrite = _rewriter(statement.partition(":")[2], recipe) if ":" in statement else None
    with held_folder(folder, "give this build another --out"), explained_disk(folder):
        found = mined(
            repository,
            name,
            Rules(only=tuple(f"{folder.strip('/')}/" for folder in only)),
            since=since,
            until=until,
            limit=limit,
            has_issues=bool(exported) or rewrite is not None,
        )
        if not found.proposals and not test_files(contents_at(repository, "HEAD")):
            raise BadRepository(f"{repo} {NO_TESTS}")
        setup = NOTHING
        if writer is not None:
            setup = set_up(repository, folder, found, writer, shared, author.partition(":")[2])
        settings = shared.settings(
            repository,
            history=history,
            statement=statement,
            issues=len(exported),
            since=since,
            until=until,
            only=only,
            **({"author": json.dumps(setup.as_data(), sort_keys=True)} if author else {}),
        )
        journal = Journal.open(folder, settings, resume=shared.resume)
        return _build(repository, folder, found, journal, shared, history, exported, rewrite, setup)


def set_up(
    repository: Repository,
    folder: Path,
    found: Candidates,
    writer: JudgeConfig,
    shared: Common,
    name: str,
) -> Setup:
    """What tests need, found out by a judge on the newest base; once a folder.

    Raises:
        BadRepository: it did not get them to run.
        SandboxError: there is no sandbox to be had.
    """
    place = folder / AUTHOR
    if (known := setup_in(place)) is not None:
        return known
    if not found.proposals:
        return Setup()
    newest, layers = max(found.proposals, key=lambda one: one.seconds), folder / LAYERS
    with tempfile.TemporaryDirectory() as scratch:
        tree = write_tree(repository, newest.rev, Path(scratch))
        base = layer_of(Path(scratch), layers)
    shop = Workshop(
        tree,
        base,
        needs_of(tree),
        newest.seconds,
        _packages(shared.packages, layers).layer,
        store=layers,
        test_s=shared.test_s,
        wall_s=shared.wall_s,
    )
    made = written_setup(writer, name, shop, place)
    what = f"{len(made.requirements)} requirements and {len(made.files)} files"
    found_out = f"{what} after {made.turns} turns"
    if not made.turns:
        found_out = "that the tests run as they are"
    click.echo(f"the author found {found_out}; {place / TRANSCRIPT}")
    return made


def run_made(kind: str, repo: str, out: str, *, number: int, seed: int, **common: object) -> int:
    """Tasks from made bugs or removed functions.

    Raises:
        BadRepository: the repository, the folder or the options are not what they should be.
        SandboxError: there is no sandbox to be had.
    """
    shared = _common(common)
    repository, folder = Repository(repo), Path(out).expanduser()
    tree = contents_at(repository, repository.resolve("HEAD"))
    if not test_files(tree):
        raise BadRepository(f"{repo} {NO_TESTS}")
    if number < 1:
        raise BadRepository(f"--n {number}: at least one is to be tried")
    settings = shared.settings(repository, kind=kind, seed=seed)
    with held_folder(folder, "give this build another --out"), explained_disk(folder):
        journal = Journal.open(folder, settings, resume=shared.resume)
        proposals = MAKERS[kind](repository, tree, name_of(repository), seed)
        found = made(proposals, number)
        if not found.proposals:
            raise BadRepository(
                f"{repo}: its tests mention no code in which a {kind} could be made"
            )
        return _build(repository, folder, found, journal, shared, "none", {}, None)


def _rewriter(name: str, recipe: str) -> Rewrite:
    """Statements by the judge of that name in a recipe."""
    try:
        return rewriter(_judge(name, recipe, "--statement"), name)
    except ValueError as failure:
        raise BadRepository(str(failure)) from failure


def _judge(name: str, recipe: str, option: str) -> JudgeConfig:
    """The judge of that name in a recipe."""
    from munro.machine.climb.models import in_place, settle
    from munro.machine.loading import load

    if not recipe:
        raise BadRepository(f"{option} judge:{name} asks [judge.{name}] of a recipe: --config F")
    config = load(recipe)
    judges = in_place(config, settle(config, only="judge.")).judge
    if name not in judges:
        known = ", ".join(judges) or "none"
        raise BadRepository(f"{recipe} has no [judge.{name}]; there is {known}")
    return judges[name]


def _common(options: dict[str, object]) -> Common:
    common = Common(**options)  # type: ignore[arg-type]
    if common.jobs < 1:
        raise BadRepository(f"--jobs {common.jobs}: at least one")
    if not 0 <= common.least_strength <= 1:
        raise BadRepository(f"--least-strength {common.least_strength:g}: a share from 0 to 1")
    if min(common.test_s, common.wall_s) <= 0:
        raise BadRepository("--test-s and --wall-s are seconds: more than 0")
    return common


def _build(
    repository: Repository,
    folder: Path,
    found: Candidates,
    journal: Journal,
    common: Common,
    history: str,
    issues: dict[str, str],
    rewrite: Rewrite | None,
    setup: Setup = NOTHING,
) -> int:
    """Make what was found, and print the funnel; exit status 1 where nothing was kept."""
    for candidate, dropped in found.dropped.items():
        if candidate not in journal.done:
            journal.drop(candidate, dropped, cheap=True)
    options = Options(
        history=history,
        bounds=Bounds(least_strength=common.least_strength),
        test_s=common.test_s,
        wall_s=common.wall_s,
        jobs=common.jobs,
        issues=issues,
        requirements=setup.requirements or common.needed,
        files=setup.files,
        rewrite=rewrite,
    )
    began = time.monotonic()
    layers = folder / LAYERS
    with sandbox.open("namespaces", store=layers) as box:
        builder = Builder(
            repository=repository,
            out=folder,
            options=options,
            journal=journal,
            box=box,
            store=layers,
            packages=_packages(common.packages, layers),
            say=click.echo,
        )
        builder.build(found.proposals)
    for line in journal.funnel(found.num_commits):
        click.echo(line)
    _tell_time(builder, time.monotonic() - began, common.jobs, click.echo)
    kept = sum(row["outcome"] == "kept" for row in journal.done.values())
    click.echo(f"{kept} tasks in {folder}")
    return 0 if kept else 1


def _packages(kind: str, layers: Path) -> HasLayers:
    return Installed(layers) if kind == "installed" else Packages(layers, is_dated=kind == "dated")


def _tell_time(builder: Builder, wall_s: float, jobs: int, say: Callable[[str], None]) -> None:
    clock = builder.clock
    if clock.runs:
        ratio = wall_s * min(jobs, max(builder.num_made, 1)) / clock.seconds
        say(
            f"{clock.runs} runs of tests; the whole build took {ratio:.2f} times as long as they, "
            f"{60 * builder.num_made / wall_s:.1f} candidates a minute"
        )


def name_of(repository: Repository) -> str:
    """What ids of its tasks begin with: the folder's name, made plain."""
    path = repository.path.resolve()
    name = path.parent.name if path.name in ("repo", ".git", "repo.git") else path.name
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name.removesuffix(".git").rpartition("+")[2])
    return plain.strip("-").lower() or "repository"
