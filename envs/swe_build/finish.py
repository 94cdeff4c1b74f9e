"""provisional"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from munro.envs.swe_build.patch import patch_of
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.requirements import Needs
from munro.envs.swe_build.statement import Statement
from munro.envs.swe_build.suite import Suite
from munro.envs.swe_build.validate import Verdict
from munro.rewards.sandbox import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """All that is known of a task that is kept."""

    proposal: Proposal
    before: Mapping[str, bytes]
    base: Layer
    packages: Layer
    date: str
    needs: Needs
    history: str
    statement: Statement
    interface: tuple[str, ...]
    verdict: Verdict


def write_task(done: Finished, folder: Path, suite: Suite) -> None:
    folder.mkdir()
    p = done.proposal
    old = {k: done.before.get(k) for k in p.gold}
    (folder / "patch.diff").write_text(patch_of(old, p.gold))
    (folder / "f2p.json").write_text(json.dumps(done.verdict.fail_to_pass))
    (folder / "p2p.json").write_text(json.dumps(done.verdict.pass_to_pass))
    (folder / "instruction.md").write_text(done.statement.text + "\n" + "\n".join(done.interface))
    (folder / "meta.json").write_text(
        json.dumps(
            [
                done.base.digest,
                done.packages.digest,
                done.date,
                done.verdict.strength,
                done.verdict.survivors,
                done.verdict.unneeded,
                p.provenance,
            ],
            default=str,
        )
    )
