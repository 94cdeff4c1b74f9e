"""An agent that reads, edits, runs tests and ends, through a problem worker and real boxes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from munro.envs.budget import Budget
from munro.envs.swe import Swe
from munro.envs.swe.folder import read_folder, write_folder
from munro.envs.types import Ending
from munro.rewards.config import RewardsConfig
from munro.rewards.plugins import import_file
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from munro.rollout.store.store import RolloutStore
from tests.envs.swe.boxes import Bench
from tests.envs.swe.tasks import SMALL, task_of
from tests.rollout.builders import ScriptedEngine, make_tokenizer

AGENT = import_file(Path(__file__).parents[3] / "benchmarks" / "agents" / "agent_work.py")
CONFIG = RolloutConfig(
    group_size=2, num_early=2, early_pass_rate=(0.0, 1.0), pass_rate=(0.0, 1.0), template="plain"
)


async def test_an_agent_solves_what_it_works_on_and_nothing_else(swe: Bench, tmp_path: Path):
    for small in SMALL[:1]:
        task = task_of(small, swe)
        write_folder(task, tmp_path / "tasks" / task.id)
    env = Swe(str(tmp_path / "tasks"), store=str(swe.store), test_share=0.0)
    env.budget = Budget(turns=20, observation_tokens=2000, boxes=2).over(env.budget)
    tasks = [dataclasses.replace(task, env="swe") for task in env.tasks("train")]
    turns = [[*AGENT.work_on(read_folder(Path(t.payload["folder"])), swe.store)] for t in tasks]
    tokenizer = make_tokenizer(None)

    def writes(request):
        index, attempt, _, turn = request.key
        said = turns[index][turn] if attempt == 0 else "It is done."
        return [*tokenizer.encode(said), tokenizer.eos_token_id]

    worker = ProblemWorker(
        ScriptedEngine(writes), lambda name: env, tokenizer, CONFIG, RewardsConfig(), seed=0,
        max_context=50_000,
    )  # fmt: skip
    groups = [await worker.solve(index, task, 40_000) for index, task in enumerate(tasks)]
    env.sandbox.close()
    store = RolloutStore(tmp_path / "rollouts")
    store.write(1, groups, [[0.0, 0.0]] * len(groups))
    for group in store.read(1):
        worked, idled = group.attempts
        assert worked.grade.passed, worked.grade.reason
        assert not idled.grade.passed
        assert worked.trajectory.ending is idled.trajectory.ending is Ending.ANSWERED
        assert [call.name for call in worked.trajectory.calls[-2:]] == [
            "str_replace_editor",
            "bash",
        ]
        assert all(call.ok for call in worked.trajectory.calls)
        assert idled.trajectory.calls == ()
