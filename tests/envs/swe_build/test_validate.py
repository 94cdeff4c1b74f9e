"""How tests are sorted over rounds, on results that are made up; and what makes a task weak."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from munro.envs.swe_build.errors import Dropped
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.statements.interface import interface_of
from munro.envs.swe_build.validate import Bounds, measured, paths_of, run_rounds

OLD = b"def size(x):\n    return len(x)\n"
NEW = (
    b"def size(x, least=0):\n    if x is None:\n        return least\n"
    b"    return max(len(x), least)\n"
)
BEFORE = {"sizes.py": OLD, "test_sizes.py": b"import sizes\n", "test_all.py": b"import sizes\n"}
PROPOSAL = Proposal(
    id="a", kind="merge", rev="", seconds=0,
    gold={"sizes.py": NEW}, tests={"test_sizes.py": b"import sizes  # more\n"},
)  # fmt: skip


@dataclass
class Ran:
    results: Mapping[str, str]
    is_finished: bool = True
    log: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str] = field(default_factory=dict)


class Runs:
    """A suite whose results are given by which of three runs it is, and by round."""

    def __init__(self, base, before, after, wrong=None) -> None:
        self.base, self.before, self.after, self.wrong = base, before, after, wrong
        self.asked = []

    def __call__(self, changes, paths, number, only=(), until_failure=False):
        self.asked.append((sorted(changes), list(paths), number, list(only)))
        if changes.get("sizes.py") not in (None, NEW):
            results = self.wrong(changes["sizes.py"])
            return Ran(dict(zip(own(*results), results.values(), strict=True)))
        given = self.after if "sizes.py" in changes else self.before if changes else self.base
        if isinstance(given, Ran):
            return given
        results = given[min(number, len(given) - 1)]
        results = dict(zip(own(*results), results.values(), strict=True))
        return Ran({name: said for name, said in results.items() if not only or name in only})


P, F = "passed", "failed"


def own(*names):
    """Ids of tests in the proposal's own file; of others as they are."""
    return tuple(name if "::" in name else f"test_sizes.py::{name}" for name in names)


def test_tests_are_sorted_by_what_they_do_in_every_round():
    run = Runs(
        base=[{"old": P, "broken": F, "new": P}],
        before=[{"old": P, "broken": P, "fails": F, "flaky": F, "late": P}, {"old": P, "flaky": P}],
        after=[
            {
                "old": P,
                "broken": P,
                "fails": P,
                "flaky": P,
                "late": P,
                "absent": P,
                "skip": "skipped",
            },
            {"old": P, "broken": P, "fails": P, "flaky": P, "late": F, "absent": P, "once": P},
        ],
    )
    verdict = run_rounds(PROPOSAL, BEFORE, run, Bounds(rounds=2))
    assert verdict.fail_to_pass == own("absent", "fails")
    assert verdict.pass_to_pass == own("old")
    assert verdict.unstable == 3, "fails, flaky and late"
    assert verdict.paths == ("test_sizes.py",), "no test of the other file is asked again"
    assert [len(changes) for changes, *_ in run.asked] == [2, 1, 0, 2, 1, 0]
    again = list(own("absent", "fails", "flaky", "late", "old"))
    assert [only for *_, only in run.asked] == [[], [], [], again, again, again]


def test_of_what_must_go_on_passing_the_nearest_are_asked_again():
    tests = (
        b"import sizes\nclass TestAll:\n    def test_size(self):\n        assert size([]) == 0\n"
        + b"".join(b"def test_%d():\n    pass\n" % number for number in range(9))
    )
    ids = [f"test_all.py::test_{number}" for number in range(9)]
    every = dict.fromkeys(("test_all.py::TestAll::test_size", *ids), P)
    run = Runs(base=[every], before=[{**every, "t": F}], after=[{**every, "t": P}])
    before = {**BEFORE, "test_all.py": tests}
    verdict = run_rounds(PROPOSAL, before, run, Bounds(rounds=3, most_pass_to_pass=4))
    assert verdict.fail_to_pass == own("t")
    assert len(verdict.pass_to_pass) == 4
    assert "test_all.py::TestAll::test_size" in verdict.pass_to_pass
    assert all(
        sorted(only) == sorted([*verdict.pass_to_pass, *own("t")]) for *_, only in run.asked[3:]
    )
    again = Runs(base=[every], before=[{**every, "t": F}], after=[{**every, "t": P}])
    assert run_rounds(PROPOSAL, before, again, Bounds(most_pass_to_pass=4)) == verdict


def test_what_is_not_run_of_tests_that_are_as_they_were():
    proposal = Proposal(
        id="a", kind="bug", rev="", seconds=0, planted={"sizes.py": b"x"},
        gold={"sizes.py": NEW}, tests={"test_sizes.py": BEFORE["test_sizes.py"]},
    )  # fmt: skip
    run = Runs(base=None, before=[{"t": F}], after=[{"t": P}])
    assert run_rounds(proposal, BEFORE, run, Bounds(rounds=2)).fail_to_pass == own("t")
    assert len(run.asked) == 4


@pytest.mark.parametrize(
    ("before", "after", "stage", "why"),
    [
        ([{"t": P}], [{"t": P}], "F2P", "the tests pass before the fix"),
        ([{"t": F}], [{"t": P}, {"t": F}], "stable", "do not say the same"),
        ([{"t": F, "u": P}], [{"t": F, "u": P}], "F2P", "what fails before fails after too"),
        ([{}], Ran({}, log="OSError: Network is unreachable"), "suite runs", "need the network"),
        (
            [{}],
            Ran({}, log="ModuleNotFoundError: No module named 'x'"),
            "suite runs",
            "import fails",
        ),
        ([{}], Ran({}), "suite runs", "no test is found"),
        ([{}], Ran({"t": "error"}), "suite runs", "no test passes with the fix"),
        ([{}], Ran({"t": P}, is_finished=False), "suite runs", "do not end in time"),
        (
            [{"u": P}],
            Ran({own("u")[0]: P}, broken={"f": "ImportError: no x"}),
            "F2P",
            "import fails: no x",
        ),
    ],
)
def test_what_falls_out_and_why(before, after, stage, why):
    with pytest.raises(Dropped, match=why) as dropped:
        run_rounds(PROPOSAL, BEFORE, Runs([{"u": P}], before, after), Bounds(rounds=2))
    assert dropped.value.stage == stage


def sorted_out(wrong, least=0.5):
    run = Runs([{"t": P}], [{"t": F}], [{"t": P}], wrong)
    verdict = run_rounds(PROPOSAL, BEFORE, run, Bounds(rounds=1))
    return measured(PROPOSAL, BEFORE, verdict, run, Bounds(least_strength=least))


def test_tests_that_accept_wrong_fixes_are_weak():
    strength, survivors, unneeded = sorted_out(lambda source: {"t": F})
    assert (strength, survivors, unneeded) == (1.0, (), ())
    strength, survivors, _ = sorted_out(lambda source: {"t": F if b"least=1" in source else P}, 0)
    assert 0 < strength < 0.5
    assert all(" at sizes.py:" in survivor for survivor in survivors)
    with pytest.raises(Dropped, match="accept most of the wrong fixes"):
        sorted_out(lambda source: {"t": P})


def test_names_that_tests_ask_for_and_nobody_told_are_an_interface():
    proposal = Proposal(
        id="a", kind="merge", rev="", seconds=0, gold={"sizes.py": NEW},
        tests={"test_sizes.py": b"assert size([], least=3) == 3\n"},
    )  # fmt: skip
    assert interface_of(proposal, BEFORE, "size fails") == ["sizes.py: def size(x, least=0)"]
    assert interface_of(proposal, BEFORE, "give size a least") == []
    assert interface_of(proposal, {"sizes.py": NEW}, "") == []


def test_test_files_of_a_proposal():
    assert paths_of(PROPOSAL, BEFORE) == ("test_sizes.py", "test_all.py")
    gone = Proposal(
        id="a", kind="merge", rev="", seconds=0, gold={"sizes.py": NEW},
        tests={"test_sizes.py": b"import sizes", "test_all.py": None, "tests/a.txt": b""},
    )  # fmt: skip
    assert paths_of(gone, BEFORE) == ("test_sizes.py",)
