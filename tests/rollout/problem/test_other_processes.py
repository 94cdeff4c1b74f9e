"""An environment in a process of its own, which is killed twice while a group plays in it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from munro.envs.config import EnvConfig
from munro.envs.loader import load_config
from munro.envs.problem_set import TaskPool
from munro.rewards.config import RewardsConfig
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from tests.envs.remote import sides
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)
CONFIG = RolloutConfig(group_size=4, num_early=4, template="plain", retries=8, max_turns=40)
FILE = '''
from munro.envs import Environment, Episode, Message, Task

class Sums(Environment):
    """Adds up what it is told; right is the sum of all of it."""
    def tasks(self, split): return [Task(id=split, prompt="Numbers, please.")]
    def start(self, task): return Sum()

class Adding(Episode):
    def __init__(self, turn=0, total=0): self.turn, self.total = turn, total
    async def reply(self, message):
        self.turn, self.total = self.turn + 1, self.total + int(message.content)
        return [Message(role="user", content=str(self.total))] if self.turn < 10 else None
    def grade(self, trajectory):
        said = [int(m.content) for m in trajectory.messages if m.role == "assistant"]
        return len(said) == 10 and sum(said) == self.total
'''
RESTORING = """
class Sum(Adding):
    def save(self): return f"{self.turn} {self.total}".encode()
Sums.restore = lambda self, task, saved: Sum(*map(int, saved.split()))
"""
ANEW = "Sum = Adding\n"
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("how", [RESTORING, ANEW])
async def test_a_group_loses_its_process_and_is_graded_as_if_it_had_not(
    tmp_path: Path, how: str
) -> None:
    (tmp_path / "sums.py").write_text(FILE + how)
    env = load_config(EnvConfig(path=str(tmp_path / "sums.py"), isolate=True))
    task = TaskPool(env, "train").draw(0, 0)
    killed = 0

    async def group_of(kills: tuple[int, ...]):
        num = 0

        def writes(request):
            nonlocal num, killed
            num += 1
            if num in kills:
                sides.kill_side(env)
                killed += 1
            number = random.Random(request.seed).randrange(100)
            return [*TOKENIZER.encode(str(number)), TOKENIZER.eos_token_id]

        worker = ProblemWorker(
            ScriptedEngine(writes),
            lambda name: env,
            TOKENIZER,
            CONFIG,
            RewardsConfig(),
            seed=0,
            max_context=4000,
        )
        return await worker.sample(0, task, 3000, 4)

    calm, stormy = await group_of(()), await group_of((9, 31))
    assert killed == 2
    assert [attempt.grade.solved for attempt in stormy.attempts] == [True] * 4
    streams = [[a.trajectory.token_ids.tolist() for a in g.attempts] for g in (calm, stormy)]
    # one that is played anew draws anew
    assert streams[0] == streams[1] or how is ANEW
    assert (stormy.num_resumed > 0) == (how is RESTORING)
    assert (stormy.num_unscored > 0) == (how is ANEW)
