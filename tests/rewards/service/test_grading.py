"""Mixed gradings with poison among them, while graders are killed: none lost, none wrong."""

from __future__ import annotations

import pytest

from tests.rewards.graders import POINTS
from tests.rewards.mixed import Report, mixture, run
from tests.rewards.plugged import installed


@pytest.fixture(autouse=True)
def _known(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(installed(tmp_path, "munro.graders", **POINTS))


def examine(report: Report, num: int) -> None:
    print("\n".join(report.table()))  # noqa: T201 - the table that a person wants to see
    assert sorted(each.asked.number for each in report.outcomes) == list(range(num)), "lost"
    assert [(each.asked, each.passed) for each in report.wrong] == []
    assert all(len(each.failure) > 10 for each in report.outcomes if each.failure)
    assert report.left == []


def test_mixed_gradings_with_poison_and_kills_all_come_back_and_none_is_wrong():
    report = run(mixture(160, poisoned=0.1), every_s=2, timeout_s=1)
    examine(report, 160)
    assert {each.asked.poison for each in report.outcomes if each.asked.poison}
    assert report.kills > 0
    assert len(report.unlucky) <= 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_mixed_gradings_with_poison_and_a_kill_every_five_seconds():
    report = run(mixture(10_000), every_s=5, timeout_s=2)
    examine(report, 10_000)
    assert report.kills >= 5
    assert len(report.unlucky) <= 10
