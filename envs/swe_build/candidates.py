"""The candidates of a build, in one order: mined first, since that costs nothing but reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from munro.envs.swe_build.errors import Dropped
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.mine import Rules, propose, sources
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.statements.statement import LEAST_CHARS, scrub


@dataclass(slots=True)
class Candidates:
    """What was found in a history: proposals, and the rest with reasons."""

    num_commits: int = 0
    proposals: list[Proposal] = field(default_factory=list)
    dropped: dict[str, Dropped] = field(default_factory=dict)
    """By id."""


def mined(
    repository: Repository,
    name: str,
    rules: Rules,
    *,
    since: str = "",
    until: str = "",
    limit: int = 0,
    has_issues: bool = False,
) -> Candidates:
    """Go through a history, newest first.

    Args:
        name: that ids of tasks begin with.
        since, until: dates as git reads them; "" for all.
        limit: at most so many proposals; 0 for all.
        has_issues: statements may come from elsewhere, so that a bare message is no reason to drop.
    """
    found, digests = Candidates(), set[str]()
    every = list(sources(repository, since, until))
    found.num_commits = len(every)
    for source in every:
        if limit and len(found.proposals) >= limit:
            break
        key = f"{name}-{source.fix.oid[:10]}"
        if key in found.dropped or any(one.id == key for one in found.proposals):
            continue  # the tip of a pull request that is on the line itself
        try:
            one = propose(repository, source, rules, name)
            if one.digest() in digests:
                raise Dropped("candidates", "the same patch as another")
            if not has_issues and len(scrub(one.message)[0]) < LEAST_CHARS:
                raise Dropped("candidates", "its message says nothing")
        except Dropped as dropped:
            found.dropped[key] = dropped
        else:
            digests.add(one.digest())
            found.proposals.append(one)
    return found


def made(proposals: Iterable[Proposal], number: int) -> Candidates:
    """The first so many made bugs or functions."""
    chosen = list(islice(_different(islice(proposals, 4 * number)), number))
    return Candidates(num_commits=len(chosen), proposals=chosen)


def _different(proposals: Iterable[Proposal]) -> Iterator[Proposal]:
    seen: set[str] = set()
    for one in proposals:
        if one.id not in seen:
            seen.add(one.id)
            yield one


def contents_at(repository: Repository, rev: str) -> Mapping[str, bytes]:
    """The plain files of a commit, by path."""
    tree = {
        path: entry for path, entry in repository.tree(rev).items() if entry.mode.startswith("100")
    }
    blobs = repository.blobs(entry.oid for entry in tree.values())
    return {path: blobs[entry.oid] for path, entry in tree.items()}
