"""One climb with all of it: environments told apart, others evaluated, a tracker that breaks."""

from __future__ import annotations

import pytest

from munro.machine.run.folder import RunFolder
from tests.machine.climbing import MINE, munro, rows, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.climb, pytest.mark.timeout(900)]

EXAM = MINE.replace("class Mine", "class Exam").replace('f"say {i}"', 'f"tell {i}"')

BREAKS = '''
class Breaks:
    """Holds out for one step."""

    def __init__(self, run, **_):
        self.run = run

    def log(self, step, metrics):
        with open(self.run / "tracked", "a") as file:
            file.write(f"{step} {metrics.get('pass_rate/sampled/mine')}\\n")
        if step >= 1:
            raise ConnectionError("the service is gone")

    def close(self):
        raise ConnectionError("the service is gone")
'''


def test_figures_add_up_the_best_is_linked_and_a_broken_tracker_costs_nothing(tmp_path):
    recipe = write_recipe(tmp_path, "whole")
    (tmp_path / "exam.py").write_text(EXAM)
    (tmp_path / "breaks.py").write_text(BREAKS)
    mine = f"{tmp_path}/mine.py:Mine"
    text = recipe.read_text().replace(f'env = "{mine}"\n', f'tracking = ["{tmp_path}/breaks.py"]\n')
    text = text.replace("max_staleness = 0", "max_staleness = 2")
    text = text.replace(
        'engine = "transformers"', 'engine = "transformers"\ngroups_in_flight = "auto"'
    )
    text += f"""
[[eval.env]]
path = "{tmp_path}/exam.py:Exam"

[[env]]
path = "{mine}"

[[env]]
path = "{mine}"
name = "other"
weight = 2.0
"""
    recipe.write_text(text)
    done = munro("climb", str(recipe))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = rows(tmp_path / "runs" / "whole")
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 4]
    for line in lines[1:]:
        names = [name for name in ("mine", "other") if f"groups/trained/{name}" in line]
        parts = [
            line[f"pass_rate/trained/{name}"] * line[f"groups/trained/{name}"] for name in names
        ]
        assert sum(parts) / line["groups/trained"] == pytest.approx(line["pass_rate/trained"])
        # 256 sequences a batch at most, groups of 4; two batches of 2 groups until they are stale
        assert line["groups/in_flight_most"] == 2
    assert {"eval/exam/pass_rate", "eval/pass_rate_low"} <= lines[0].keys()
    assert lines[2]["eval/exam/pass_rate"] == lines[2]["eval/pass_rate"]
    assert "2 groups in flight: the engines hold 256 sequences at once" in done.stdout

    run = RunFolder.existing(tmp_path / "runs" / "whole")
    low = {
        line["step"]: line["eval/pass_rate_low"] for line in lines[1:] if "eval/pass_rate" in line
    }
    best = max(low, key=lambda step: (low[step], step))
    assert (run.checkpoints / "best").resolve().name == f"step-{best:06d}"

    assert done.stdout.count("breaks.py failed at step 1: ConnectionError") == 1
    asked = [line.split()[0] for line in (run.path / "tracked").read_text().splitlines()]
    assert asked == ["0", "1", "2", "4"]

    same = munro("regrade", str(run.path), "--out", str(tmp_path / "again"))
    assert same.returncode == 0, same.stdout + same.stderr
    assert "0 grades changed" in same.stdout
