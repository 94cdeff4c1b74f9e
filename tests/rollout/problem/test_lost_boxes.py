"""Boxes of the real sandbox that die under an agent: no command is lost, done twice or scored."""

from __future__ import annotations

import json
import random

import psutil
import pytest

from munro.envs.budget import Budget
from munro.envs.shell import BOX, Shell
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, layer_of
from munro.rollout.types import Abandoned
from tests.builders import make_task
from tests.rollout.problem.test_resume import CONFIG, EOS, TOKENIZER, sampled

TURNS = 12


class Lines(Shell):
    """Each command adds a line; right is every line once. Some boxes die before a command."""

    budget = Budget(turns=TURNS + 1, boxes=4)

    def __init__(self, store: str, share: float) -> None:
        super().__init__(store=store)
        self.rng, self.share, self.num_killed = random.Random(7), share, 0

    def tasks(self, split):
        return [make_task()]

    def image(self, task):
        return Image(layers=(layer_of({"log": "begun\n"}, self.store),))

    def setup(self, task):
        # not before anything is saved: such an attempt begins anew, which is another matter
        return self.doomed(super().setup(task), num_spared=1)

    def restore_state(self, task, saved):
        return self.doomed(super().restore_state(task, saved))

    def doomed(self, state, num_spared=0):
        session, run = state[BOX].session, state[BOX].session.run
        spared = iter(range(num_spared))

        def may_die(*args, **options):
            if next(spared, None) is None and self.rng.random() < self.share:
                self.num_killed += 1
                session._keeper.kill()
            return run(*args, **options)

        session.run = may_die
        return state

    def grade(self, task, reply, state):
        said = state[BOX].session.look("log").contents.decode()
        return said == "begun\n" + "".join(f"{turn}\n" for turn in range(TURNS))


def writes(request):
    turn = request.key[-1]
    call = {"name": "bash", "arguments": {"command": f"echo {turn} >> log"}}
    said = f"<tool_call>{json.dumps(call)}</tool_call>" if turn < TURNS else "done"
    return [*TOKENIZER.encode(said), EOS]


@pytest.mark.timeout(300)
async def test_boxes_that_die_cost_a_turn_each_and_no_score(tmp_path) -> None:
    try:
        environment = Lines(str(tmp_path / "store"), share=0.15)
        assert environment.sandbox.run(["true"]).is_ok
    except SandboxError as failure:
        pytest.skip(str(failure))
    config = CONFIG.model_copy(update={"retries": 20})
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    group, engine = await sampled(environment, config, num=4, writes=writes)
    assert environment.num_killed > 3, "the test says nothing"
    assert [attempt.grade.solved for attempt in group.attempts] == [True] * 4
    assert group.num_unscored == 0, group.last_failure
    assert group.num_resumed == environment.num_killed
    assert len(engine.calls) == 4 * (TURNS + 1)
    # what was saved of them is gone, and so are their boxes
    assert len(list((tmp_path / "store").glob("[!.]*"))) == 1
    assert list((tmp_path / "store").glob(".owned/*/*")) == []
    environment.sandbox.close()
    left = {each.pid for each in psutil.Process().children(recursive=True)} - before
    assert left == set()


class Ungraded(Lines):
    """Nobody can ever grade it."""

    def grade(self, task, reply, state):
        raise SandboxError("no grader to be had")


@pytest.mark.timeout(300)
async def test_what_attempts_saved_that_are_given_up_does_not_stay(tmp_path) -> None:
    environment = Ungraded(str(tmp_path / "store"), share=0.0)
    config = CONFIG.model_copy(update={"retries": 1})
    done, _ = await sampled(environment, config, num=2, writes=writes)
    assert isinstance(done, Abandoned), done
    assert done.num_unscored == 4
    assert len(list((tmp_path / "store").glob("[!.]*"))) == 1
    environment.sandbox.close()
