"""Runs a task's hidden tests under Harbor and writes its reward: 1 where all pass, else 0."""

import json
import sys
from pathlib import Path

import pytest

TESTS, REWARD = "/tests", "/logs/verifier/reward.txt"


class Passed:
    """Ids of tests that passed, once each, in every phase."""

    def __init__(self) -> None:
        self.seen: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase."""
        word = "other" if hasattr(report, "wasxfail") else report.outcome
        self.seen.setdefault(report.nodeid, []).append(word)

    def ids(self) -> set[str]:
        """Of tests that passed."""
        return {test for test, words in self.seen.items() if words == ["passed"] * 3}


def main(tests: Path, reward: Path) -> None:
    """Write the reward."""
    reward.write_text("0\n")
    wanted = set()
    for name in ("fail_to_pass", "pass_to_pass"):
        wanted |= set(json.loads((tests / f"{name}.json").read_text()))
    for name in json.loads((tests / "removed.json").read_text()):
        Path(name).unlink(missing_ok=True)
    paths = sorted({test.partition("::")[0] for test in wanted})
    sys.path.insert(0, ".")
    passed = Passed()
    arguments = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--rootdir=.", "--"]
    pytest.main([*arguments, *paths], plugins=[passed])
    reward.write_text(f"{int(bool(wanted) and wanted <= passed.ids())}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:] or (TESTS, REWARD)))
