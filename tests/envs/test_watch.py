"""A second judge looks at a sample of attempts, is never paid, and its failures cost nobody one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from munro.envs.config import EnvConfig
from munro.envs.loader import resolve_config
from munro.machine.climb.models import named
from munro.machine.config import RunConfig
from munro.rewards.combine.watch import is_looked_at
from munro.rl.config import ClipConfig
from munro.rl.group_metrics import group_metrics
from munro.rl.state import ClimbState
from tests.builders import make_group, tell
from tests.envs.test_combined import combined, graded

LONG = {"kind": "brevity", "args": {"most": 10, "unit": "characters"}}
SECOND = {"kind": "brevity", "args": {"most": 4, "unit": "characters"}, "share": 1.0}


def watched(**changes):
    return combined("brief", brief={**LONG, "watch": {**SECOND, **changes}})


def test_the_second_judge_is_shown_beside_and_never_paid():
    _, plain = graded(combined("brief", brief=LONG), ["yes", "yes yes"])
    _, seen = graded(watched(), ["yes", "yes yes"])
    assert [grade.reward for grade in seen] == [grade.reward for grade in plain]
    assert seen[0].parts["brief/watch"] == pytest.approx(0.25)
    assert seen[1].parts["brief/watch"] == 0
    assert seen[0].parts["brief/watch_failed"] == 0


def test_the_sample_has_its_share_and_is_the_same_anywhere():
    replies = [f"reply {n}" for n in range(400)]
    _, grades = graded(watched(share=0.1), replies)
    _, again = graded(watched(share=0.1), replies)
    looked = [("brief/watch" in grade.parts) for grade in grades]
    assert looked == [("brief/watch" in grade.parts) for grade in again]
    assert 20 <= sum(looked) <= 60
    # copies of one text are not all looked at, or none
    copies = [is_looked_at(0.5, "brief", "a", row, 3, "yes") for row in range(100)]
    assert 30 <= sum(copies) <= 70


def test_a_second_judge_that_fails_costs_nobody_an_attempt(tmp_path):
    (tmp_path / "moody.py").write_text(
        "from munro.rewards.errors import GraderError\n"
        "from munro.rewards.kinds import Grader, Kind\n"
        "class Moody(Grader):\n"
        "    kind = Kind(summary='declines', is_light=True)\n"
        "    def grade(self, item):\n"
        "        raise GraderError('I cannot help with that.')\n"
    )
    _, (grade,) = graded(watched(kind=str(tmp_path / "moody.py"), args={}), ["yes"])
    assert grade.reward == pytest.approx(0.7)
    assert grade.parts["brief/watch_failed"] == 1
    assert "brief/watch" not in grade.parts


def test_a_judge_that_compares_attempts_is_no_watch():
    with pytest.raises(ValueError, match=r"graders.brief.watch: judge_preference compares"):
        watched(kind="judge_preference", args={"judge": {"model": "m", "base_url": "http://h/v1"}})


def test_wrong_options_of_a_watch_are_told_by_its_name():
    with pytest.raises(ValueError, match=r"graders.brief.watch: .* has no option 'mst'"):
        watched(args={"mst": 3})
    with pytest.raises(ValueError, match="no grader 'brevty'"):
        watched(kind="brevty")


def test_its_figures_are_metrics_of_their_own():
    parts = [
        {"nice": 1.0, "nice/watch": 0.5, "nice/watch_failed": 0.0},
        {"nice": 0.5, "nice/watch": 0.5, "nice/watch_failed": 0.0},
        {"nice": 0.0, "nice/watch_failed": 1.0},
        {"nice": 0.0},
    ]
    group = make_group(*(0.0 for _ in parts))
    attempts = tuple(
        replace(attempt, grade=replace(attempt.grade, parts=each))
        for attempt, each in zip(group.attempts, parts, strict=True)
    )
    metrics = group_metrics(
        [tell(replace(group, attempts=attempts))], ClimbState.first(ClipConfig())
    )
    of_watch = {key: value for key, value in metrics.items() if key.startswith("watch/")}
    assert of_watch == {
        "watch/nice/failed": 1,
        "watch/nice/attempts": 2,
        "watch/nice/paid": 0.75,
        "watch/nice/watched": 0.5,
        "watch/nice/difference": 0.25,
    }
    assert "reward/nice/watch" not in metrics


def test_files_and_models_of_a_watch_are_found_as_those_of_a_grader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "mine.py").write_text(
        "from munro.rewards.kinds import Grader\n"
        "class Mine(Grader):\n    def grade(self, item): ...\n"
    )
    second = {"kind": "judge", "args": {"judge": {"model": "model"}, "ask": "scale"}}
    config = EnvConfig.model_validate(
        {
            "path": "arithmetic",
            "graders": {
                "nice": {**LONG, "watch": second},
                "kind": {**LONG, "watch": {"kind": "./mine.py"}},
            },
            "reward": "nice",
        }
    )
    resolved = resolve_config(config)
    assert resolved.graders["nice"].watch.args["judge"]["model"] == str(tmp_path / "model")
    assert resolved.graders["kind"].watch.kind == f"{tmp_path}/mine.py"
    run = RunConfig.model_validate({"num_steps": 1, "env": [config]})
    assert list(named(run)) == [("env.0.graders.nice.watch.judge.model", "model")]
