"""What a model wrote is graded again where it was graded first: in processes that can be killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.envs.types import Message, Task
from munro.machine.climb.start import raw
from munro.machine.config import RunConfig
from munro.machine.run.folder import RunFolder
from munro.rollout.store.store import RolloutStore
from tests.builders import make_attempt, make_group, make_trajectory
from tests.machine.regrading.test_regrade import lines, regrade

SUMS = '''
from munro.envs import SingleTurn, Task


class Sums(SingleTurn):
    """Graded by what the recipe names."""

    needs_graders = True

    def tasks(self, split):
        return [Task(id="two", prompt="What is 2 + 2?", payload={"answer": "4"})]

    def grade(self, task, reply):
        return 0.0
'''

REPLIES = (
    r"\boxed{4}",
    r"\boxed{9^{9^{9^{9^{9}}}}}",
    r"\boxed{" + r"\frac{1}{" * 300 + "0" + "}" * 301,
    r"\boxed{\text{__import__('os').system('touch FILE')}}",
    "\x00\ud7ff</script>[bold]" * 200,
)


@pytest.mark.slow
def test_replies_that_would_hang_or_run_cost_a_grade_and_no_more(tmp_path: Path):
    file, ran = tmp_path / "sums.py", tmp_path / "ran"
    file.write_text(SUMS)
    config = RunConfig.model_validate(
        {"name": "sums", "num_steps": 1, "env": f"{file}:Sums", "folder": str(tmp_path)}
    )
    run = RunFolder(tmp_path / "sums")
    run.begin(raw(config), seed=0, provenance={})

    def told(reply):
        reply = reply.replace("FILE", str(ran))
        said = Message(role="assistant", content=reply, is_sampled=True)
        return make_attempt(0.0, trajectory=make_trajectory(reply=reply, messages=(said,)))

    task = Task(id="two", env="sums", prompt="What is 2 + 2?", payload={"answer": "4"})
    group = make_group(index=0, task=task, attempts=tuple(map(told, REPLIES)), early_pass_rate=0.0)
    RolloutStore(run.rollouts).write(1, [group], [[0.0] * len(REPLIES)])

    recipe = tmp_path / "math.toml"
    recipe.write_text(
        f'num_steps = 1\n[env]\npath = "{file}:Sums"\nreward = "right"\n'
        '[env.graders.right]\nkind = "math"\n'
    )
    status, said = regrade(run, "--config", str(recipe), "--out", str(tmp_path / "out"))
    assert status in (0, 1), said
    rows = {row["trace"]: row for row in lines(tmp_path / "out", "grades.jsonl")}
    assert len(rows) == len(REPLIES)
    assert rows["1/0/0"]["new"]["solved"]
    for number in range(1, len(REPLIES)):
        assert not rows[f"1/0/{number}"]["new"].get("solved", False)
    assert not ran.exists()
    (changed,) = lines(tmp_path / "out", "changes.jsonl")
    assert (changed["trace"], changed["new"]["solved"]) == ("1/0/0", True)
