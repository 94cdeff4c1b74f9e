"""HumanEval: good solutions pass, and small mistakes in them fail, in the real sandbox."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from munro.envs.human_eval import problems, row_of
from munro.rewards.code import CodeGrader, completed, from_data
from munro.rewards.config import RewardsConfig, SandboxConfig
from tests.rewards.mutants import KINDS, Mutant, judge, mutants

CONFIG = RewardsConfig(sandbox=SandboxConfig(cpu_s=2, wall_s=120))
PROBLEMS = {problem["task_id"]: problem for problem in problems()}
SLICE = ["HumanEval/0", "HumanEval/32", "HumanEval/50"]
MUTANTS_OF_A_KIND = 2


@pytest.fixture(scope="module")
def grader() -> Iterator[CodeGrader]:
    with CodeGrader(CONFIG) as grader:
        yield grader


def passes(grader: CodeGrader, name: str, program: str) -> bool:
    """Our verdict on a whole program."""
    row = row_of(PROBLEMS[name])
    whole = completed(row["starter"], program, row["entry_point"])
    return bool(grader.run_tests(whole, from_data(row["tests"])).passed)


def canonical(name: str) -> str:
    return PROBLEMS[name]["prompt"] + PROBLEMS[name]["canonical_solution"]


def mistakes(names: Sequence[str], most: int) -> Iterator[tuple[Mutant, bool, bool]]:
    """Mutants of these problems: what they change, and what they fail, by the oracle."""
    for name in names:
        made = mutants(name, canonical(name), PROBLEMS[name]["entry_point"], most)
        verdicts = judge(PROBLEMS[name], [mutant.source for mutant in made])
        for mutant, verdict in zip(made, verdicts, strict=True):
            yield mutant, verdict.changes_output, verdict.fails_check


@pytest.mark.parametrize("name", SLICE)
def test_a_good_solution_passes_and_its_mutants_do_as_in_plain_python(grader, name) -> None:
    assert passes(grader, name, canonical(name))
    seen = [
        (mutant, fails, not passes(grader, name, mutant.source))
        for mutant, _, fails in mistakes([name], 1)
    ]
    assert len(seen) >= 4
    assert any(fails for _, fails, _ in seen)
    for mutant, fails, ours in seen:
        assert ours is fails, f"{mutant.kind} in line {mutant.line}:\n{mutant.source}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_164_solutions_pass(grader) -> None:
    assert len(PROBLEMS) == 164
    assert [name for name in PROBLEMS if not passes(grader, name, canonical(name))] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_mutant_that_changes_behaviour_fails(grader, capsys) -> None:
    made, changed, failed, tolerated, wrong = (Counter[str]() for _ in range(5))
    lines = []
    for mutant, changes, fails in mistakes(list(PROBLEMS), MUTANTS_OF_A_KIND):
        ours = not passes(grader, mutant.problem, mutant.source)
        made[mutant.kind] += 1
        changed[mutant.kind] += fails
        failed[mutant.kind] += fails and ours
        tolerated[mutant.kind] += changes and not fails
        if ours is not fails:
            wrong[mutant.kind] += 1
            lines.append(f"{mutant.problem} {mutant.kind} line {mutant.line}: ours fails is {ours}")
    with capsys.disabled():
        sys.stdout.write(table(made, changed, failed, tolerated))
    assert lines == []
    assert failed.total() == changed.total() >= 500
    assert all(failed[kind] for kind in KINDS)


def table(
    made: Counter[str], changed: Counter[str], failed: Counter[str], tolerated: Counter[str]
) -> str:
    """Numbers of mutants by kind.

    "tolerated" are those that return something else on an input of the check, which the check's own
    assertions let pass (nearly equal floats, say, or an assertion that is always true).
    """
    head = f"\n{'mutants':<14}{'made':>8}{'change':>8}{'failed':>8}{'tolerated':>12}\n"
    rows = [
        f"{kind:<14}{made[kind]:>8}{changed[kind]:>8}{failed[kind]:>8}{tolerated[kind]:>12}\n"
        for kind in KINDS
    ]
    totals = (made.total(), changed.total(), failed.total())
    foot = f"{'all':<14}{totals[0]:>8}{totals[1]:>8}{totals[2]:>8}{tolerated.total():>12}\n"
    return "".join((head, *rows, foot))
