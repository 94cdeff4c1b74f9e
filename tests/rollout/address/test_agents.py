"""An attempt is an agent's run: what it did is graded, what broke is never scored."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from munro.envs.agent_run import AgentRun
from munro.envs.base import call
from munro.envs.combined import Combined
from munro.envs.loader import BadEnvironment, load
from munro.envs.types import Ending, Message
from munro.rewards.combine.parts import GraderConfig
from munro.rewards.errors import PolicyError
from munro.rewards.types import Grade
from munro.rl.batch import build_batch
from munro.rollout.types import Abandoned, Group, Reason
from tests.documented import blocks
from tests.rollout.address.agents import END, PLAIN, TASK, Agent, chat, engine, said, user, worker


def lucky(turns=1):
    """An agent that is right in every other attempt, as the policy says."""

    async def agent(address):
        messages = [user(TASK.prompt)]
        for _ in range(turns):
            messages.append(said(await chat(address, *messages)))
            messages.append(user("go on"))
        return messages[-2]["content"] == "42"

    return agent


def policy():
    served = engine()
    served.writes = lambda r: [*PLAIN.encode("42" if r.key[1] % 2 else "41"), END]
    return served


async def test_a_loop_of_ones_own_is_an_episode():
    group = await worker(policy(), Agent(lucky(3))).solve(3, TASK, 200)
    assert isinstance(group, Group)
    assert [attempt.grade.passed for attempt in group.attempts] == [False, True] * 2
    for attempt in group.attempts:
        told = attempt.trajectory
        assert (told.ending, told.forks, told.num_sampled) == (Ending.ANSWERED, (), 9)
    assert build_batch([group]).num_global_sequences == 4


async def test_twenty_lines_of_the_standard_library_are_an_agent():
    class Plain(AgentRun):
        def tasks(self, split):
            return [TASK]

        def run(self, task, address):
            asked = {"model": address.model, "messages": [user(task.prompt)]}
            request = urllib.request.Request(
                f"{address.base_url}/chat/completions",
                json.dumps(asked).encode(),
                {"Authorization": f"Bearer {address.key}"},
            )
            with urllib.request.urlopen(request, timeout=60) as got:
                return json.load(got)["choices"][0]["message"]["content"] == "42"

    group = await worker(policy(), Plain()).solve(3, TASK, 200)
    assert isinstance(group, Group)
    assert group.pass_rate == 0.5


async def test_the_loop_of_the_docs_is_an_episode(tmp_path):
    (text,) = (b.text for b in blocks(Path("docs/any_agent.md")) if "class Loop" in b.text)
    (tmp_path / "loop.py").write_text(text)
    environment = load(str(tmp_path / "loop.py"))
    (task,) = [task for task in environment.tasks("train") if task.id == "35"]
    made = worker(policy(), environment)
    group = await made.solve(3, replace(task, env="arithmetic"), 200)
    assert isinstance(group, Group)
    assert [attempt.grade.passed for attempt in group.attempts] == [False, True] * 2
    assert {attempt.trajectory.num_sampled for attempt in group.attempts} == {6}


async def test_the_policy_does_not_answer_for_turns_that_the_agent_made_up():
    async def agent(address):
        example = {"role": "assistant", "content": "la la la la " * 20}
        return "42" in said(await chat(address, user("sing"), example, user("17 + 25?")))["content"]

    group = await worker(policy(), Agent(agent)).solve(3, TASK, 200)
    assert isinstance(group, Group)
    assert {one.reward.repetition for one in group.attempts} == {0.0}
    assert {sum(m.is_sampled for m in one.trajectory.messages) for one in group.attempts} == {1}
    assert {len(one.trajectory.messages) for one in group.attempts} == {4}


async def test_branches_train_with_the_advantage_of_their_attempt():
    async def agent(address):
        parts = [chat(address, user(TASK.prompt), user(f"part {n}")) for n in range(3)]
        return [said(one)["content"] for one in await asyncio.gather(*parts)] == ["42"] * 3

    group = await worker(policy(), Agent(agent)).solve(3, TASK, 200)
    batch = build_batch([group])
    assert [len(one.forks) for one in batch.sequences] == [2] * 4
    assert batch.num_global_tokens == 4 * 3 * 3
    for sequence in batch.sequences:
        branches = sequence.branches()
        assert {one.advantage for one in branches} == {sequence.advantage}
        assert sum(one.num_sampled for one in branches) == sequence.num_sampled


async def test_graders_of_a_recipe_grade_runs():
    graders = {"said": GraderConfig(kind="pattern", args={"pattern": "42"})}
    environment = Combined(Agent(lucky()), graders, "said")
    assert environment.endpoint
    group = await worker(
        policy(), environment, early_pass_rate=(0.0, 1.0), pass_rate=(0.0, 1.0)
    ).solve(3, TASK, 200)
    assert isinstance(group, Group), group
    assert [attempt.grade.parts["said"] for attempt in group.attempts] == [0, 1, 0, 1]


async def given_up(agent, served=None, **budget):
    environment = Agent(agent)
    environment.budget = environment.budget.model_copy(update=budget)
    made = await worker(served or engine(), environment).solve(3, TASK, 200)
    assert isinstance(made, Abandoned)
    assert made.reason is Reason.UNSCORED
    assert made.num_unscored == 4  # two attempts, each tried twice
    return made.detail


async def test_an_agent_that_never_asks_is_not_scored():
    async def agent(address):
        return False

    assert "without one answer from its address, which it never asked" in await given_up(agent)


async def test_an_agent_that_only_asks_for_what_is_not_to_be_had_is_not_scored():
    async def agent(address):
        await chat(address, user("hello"), n=2)
        return False

    assert "it was told 'n must be 1" in await given_up(agent)


async def test_an_agent_that_dies_is_not_scored():
    async def agent(address):
        await chat(address, user("hello"))
        raise SystemExit(3)

    assert "raised SystemExit: 3" in await given_up(agent)


@pytest.mark.parametrize("asks", [False, True])
async def test_an_agent_that_hangs_is_given_up(asks):
    async def agent(address):
        if asks:
            await chat(address, user("hello"))
        await asyncio.Event().wait()

    key = "reply_s = 0.3" if asks else "start_s = 0.2"
    assert f"made no request for {key}" in await given_up(agent, start_s=0.2, reply_s=0.3)


async def test_a_slow_policy_is_no_silence_of_the_agent():
    served = policy()
    inner = served.generate

    async def slow(requests):
        await asyncio.sleep(0.3)
        return await inner(requests)

    served.generate = slow
    environment = Agent(lucky())
    environment.budget = environment.budget.model_copy(update={"reply_s": 0.2})
    group = await worker(served, environment).solve(3, TASK, 200)
    assert isinstance(group, Group)


async def test_where_the_policy_cannot_be_had_nothing_is_scored_and_nobody_waits():
    served = engine()
    served.is_down = True

    async def agent(address):
        while "error" in await chat(address, user("hello")):
            await asyncio.sleep(0.01)
        return False

    assert "the scripted engine is down" in await given_up(agent, served)


async def test_a_call_past_its_deadline_is_not_scored():
    served = engine()

    async def late(requests):
        await asyncio.sleep(0.05)
        raise PolicyError("worker-0 waited 600 s for 1 completions of server-0")

    served.generate = late

    async def agent(address):
        return said(await chat(address, user("hello"))) == "42"

    assert "PolicyError: worker-0 waited 600 s" in await given_up(agent, served)


async def test_an_agent_whose_turns_are_spent_is_graded_as_it_stands():
    class Careless(Agent):
        def grade(self, task, trajectory):
            return Grade(reward=0.25, passed=trajectory.reply == "42")

    async def agent(address):
        messages = [user(TASK.prompt)]
        while True:
            messages.append(said(await chat(address, *messages)))  # a KeyError in the end
            messages.append(user("go on"))

    environment = Careless(agent)
    environment.budget = environment.budget.model_copy(update={"turns": 3})
    group = await worker(policy(), environment).solve(3, TASK, 200)
    assert isinstance(group, Group)
    assert {one.trajectory.ending for one in group.attempts} == {Ending.TRUNCATED_TURNS}
    assert {one.grade.reward for one in group.attempts} == {0.25}


async def test_an_agent_that_asks_after_its_episode_changes_nothing():
    late = []

    async def agent(address):
        right = said(await chat(address, user(TASK.prompt)))["content"] == "42"

        async def again():
            await asyncio.sleep(0.05)
            late.append(await chat(address, user("one more")))

        late.append(asyncio.ensure_future(again()))
        return right

    served = policy()
    group = await worker(served, Agent(agent)).solve(3, TASK, 200)
    await asyncio.gather(
        *[one for one in late if isinstance(one, asyncio.Future)], return_exceptions=True
    )
    assert isinstance(group, Group)
    assert {one.trajectory.num_sampled for one in group.attempts} == {3}
    assert len(served.calls) == 4


async def test_waves_and_evaluations_play_agents_freely():
    made = worker(policy(), Agent(lucky()))
    (group,) = await made.evaluate([(-1, TASK, 200)], 4, version=3)
    assert [one.grade.passed for one in group.attempts] == [False, True] * 2
    strict = worker(policy(), Agent(lucky()), lockstep="always")
    with pytest.raises(BadEnvironment, match='"always" cannot hold'):
        await strict.solve_all([(3, TASK, 200)], version=3)


async def test_nobody_replies_to_a_run():
    episode = await call(Agent(lucky()).start, TASK)
    with pytest.raises(TypeError, match="takes no replies"):
        await call(episode.reply, Message(role="assistant", content="42"))
