"""A task is tried early, then in full, and only what can teach reaches the learner."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter

import pytest

from munro.envs.base import Episode, SingleTurn
from munro.envs.types import Message
from munro.machine.sentences import is_sentence
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import EpisodeError, GraderError, SandboxError
from munro.rewards.types import Grade
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker, asking
from munro.rollout.render import BadTemplate
from munro.rollout.types import Abandoned, Group, Reason
from tests.builders import make_task
from tests.rollout.builders import ScriptedEngine, make_tokenizer

TOKENIZER = make_tokenizer(None)
EOS = TOKENIZER.eos_token_id
CONFIG = RolloutConfig(
    group_size=8, num_early=4, template="plain", max_turns=3, retries=2, grade_deadline_s=30
)
TASK = make_task()
REWARDS = RewardsConfig()


class Sum(SingleTurn):
    """Right is "42"."""

    def tasks(self, split):
        return [TASK]

    def grade(self, task, reply):
        return Grade.of(reply == "42", reason=f"said {reply}")


def policy(is_right, right="42", wrong="41"):
    """Says the right thing in the attempts for which `is_right(attempt)` holds."""
    return ScriptedEngine(
        lambda r: [*TOKENIZER.encode(right if is_right(r.key[1]) else wrong), EOS]
    )


def worker(
    engine,
    environment,
    config=CONFIG,
    rewards=REWARDS,
    max_context=1000,
    tokenizer=TOKENIZER,
    **fields,
):
    return ProblemWorker(
        engine,
        {"arithmetic": environment}.__getitem__,
        tokenizer,
        config,
        rewards,
        seed=1,
        max_context=max_context,
        **fields,
    )


async def solved(engine, environment=None, config=CONFIG, **fields):
    return await worker(engine, environment or Sum(), config, **fields).solve(3, TASK, 100)


async def test_a_task_between_the_gates_gives_a_full_group_with_the_early_attempts_in_it():
    engine = policy(lambda attempt: attempt % 2 == 0)
    group = await solved(engine)
    assert isinstance(group, Group)
    assert [attempt.grade.passed for attempt in group.attempts] == [True, False] * 4
    assert (group.index, group.pass_rate, group.early_pass_rate) == (3, 0.5, 0.5)
    assert sorted(call[0] for call in engine.calls) == [(3, n, 0, 0) for n in range(8)]
    assert set(group.seconds) == {"generate", "grade"}


async def test_without_reuse_the_group_is_sampled_anew():
    engine = policy(lambda attempt: attempt in (0, 4, 5))
    group = await solved(engine, config=CONFIG.model_copy(update={"reuse_early": False}))
    assert [attempt.grade.passed for attempt in group.attempts] == [True] * 2 + [False] * 6
    assert (group.early_pass_rate, len(engine.calls)) == (0.25, 12)


@pytest.mark.parametrize(
    ("right", "reason", "pass_rate", "attempts"),
    [
        ([], Reason.TOO_HARD_EARLY, 0.0, 4),
        (range(4), Reason.TOO_EASY_EARLY, 1.0, 4),
        ([0], Reason.TOO_HARD, 1 / 8, 8),
        ([0, 1, 2, 4, 5, 6, 7], Reason.TOO_EASY, 7 / 8, 8),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else "",
)
async def test_outside_a_gate_the_task_is_abandoned(right, reason, pass_rate, attempts):
    config = CONFIG.model_copy(update={"pass_rate": (0.2, 0.8)})
    given_up = await solved(policy(lambda attempt: attempt in right), config=config)
    assert isinstance(given_up, Abandoned)
    assert (given_up.reason, given_up.pass_rate) == (reason, pass_rate)
    assert (given_up.num_attempts, given_up.num_sampled) == (attempts, 3 * attempts)


@pytest.mark.parametrize("num_right", [2, 6], ids=["low", "high"])
async def test_the_bounds_belong_to_the_gate(num_right):
    config = CONFIG.model_copy(update={"early_pass_rate": (0, 1), "pass_rate": (0.25, 0.75)})
    group = await solved(policy(lambda attempt: attempt < num_right), config=config)
    assert group.pass_rate == num_right / 8


async def test_rewards_are_composed_with_the_pass_rate_of_the_whole_group():
    rewards = RewardsConfig(language_weight=0.5, language_alpha=0.1, length_weight=0.25)
    engine = policy(lambda attempt: attempt % 4 == 0, right="42", wrong="это 41")
    group = await solved(engine, rewards=rewards)
    right, wrong = group.attempts[0].reward, group.attempts[1].reward
    assert group.pass_rate == 0.25
    assert (right.task, right.language, right.length) == (1.0, 1.0, 0.25 * 3 / 100)
    assert right.total == pytest.approx(1 + 0.5 - 0.25 * 0.25 * 3 / 100)
    assert (wrong.task, wrong.language) == (0.0, pytest.approx(0.9))


class Flaky(Sum):
    """Its grader fails the first times that each attempt asks."""

    def __init__(self, failure, times):
        self.failure, self.times, self.asked = failure, times, Counter()

    def grade(self, task, reply):
        self.asked[reply] += 1
        if self.asked[reply] <= self.times:
            raise self.failure
        return reply.endswith(("0", "2", "4", "6"))


def numbered():
    """A policy that says which attempt it is."""
    return ScriptedEngine(lambda r: [*TOKENIZER.encode(str(r.key[1])), EOS])


@pytest.mark.parametrize(
    "failure", [GraderError("judge away"), SandboxError("no room"), ZeroDivisionError("its bug")]
)
async def test_a_failed_attempt_is_made_again_and_counted_and_never_scored(failure):
    engine = numbered()
    group = await solved(engine, Flaky(failure, times=2))
    assert [attempt.grade.passed for attempt in group.attempts] == [True, False] * 4
    assert group.num_unscored == 16
    tries = {call[0][2] for call in engine.calls}
    assert (len(engine.calls), tries) == (24, {0, 1, 2})


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (GraderError("judge away"), "GraderError: judge away"),
        (
            ZeroDivisionError("its bug"),
            r"EnvironmentFailure: grade of arithmetic/17\+25 raised ZeroDivisionError: its bug",
        ),
    ],
    ids=["grader", "bug"],
)
async def test_when_retries_run_out_the_task_is_unscored_and_says_why(failure, told):
    given_up = await solved(numbered(), Flaky(failure, times=3))
    assert (given_up.reason, given_up.pass_rate) == (Reason.UNSCORED, None)
    assert (given_up.num_attempts, given_up.num_unscored) == (0, 12)
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(given_up.detail)


async def test_one_attempt_that_cannot_be_graded_takes_the_task_with_it():
    class Picky(Sum):
        def grade(self, task, reply):
            return float("nan") if reply == "6" else reply in "024"

    given_up = await solved(numbered(), Picky())
    assert (given_up.reason, given_up.num_attempts) == (Reason.UNSCORED, 7)
    assert "nan" in given_up.detail


async def test_no_server_is_no_wrong_answer():
    engine = policy(lambda attempt: True)
    engine.is_down = True
    given_up = await solved(engine)
    assert given_up.reason is Reason.UNSCORED
    assert given_up.detail == "PolicyError: the scripted engine is down"


@pytest.mark.parametrize("kind", ["thread", "coroutine"])
async def test_a_grader_that_never_returns_is_given_up_at_its_deadline(kind):
    never = threading.Event()

    class Hangs(Sum):
        if kind == "thread":

            def grade(self, task, reply):
                never.wait()
        else:

            async def grade(self, task, reply):
                await asyncio.Event().wait()

    config = CONFIG.model_copy(update={"grade_deadline_s": 0.2, "retries": 0})
    given_up = await solved(numbered(), Hangs(), config)
    never.set()
    assert given_up.reason is Reason.UNSCORED
    assert "took longer than rollout.grade_deadline_s = 0.2" in given_up.detail


@pytest.mark.parametrize("what", ["start", "reply", "grade", "close"])
async def test_each_word_of_an_environment_has_a_deadline_of_its_own(what):
    class Slow(Guess):
        def start(self, task):
            game = super().start(task)
            if what == "start":
                time.sleep(0.5)
            else:
                own = getattr(game, what)

                async def late(*args):
                    await asyncio.sleep(0.5)
                    return own(*args)

                setattr(game, what, late)
            return game

    short = CONFIG.model_copy(update={f"{what}_deadline_s": 0.05, "retries": 0})
    given_up = await solved(numbered(), Slow(), short)
    assert given_up.detail == (
        f"GraderError: {what} of arithmetic/17+25 took longer than rollout.{what}_deadline_s = 0.05"
    )


def test_a_recipe_from_before_the_four_deadlines_keeps_its_one():
    old = RolloutConfig.model_validate({"grade_deadline_s": 7})
    four = ("start_deadline_s", "reply_deadline_s", "grade_deadline_s", "close_deadline_s")
    assert [getattr(old, key) for key in four] == [7] * 4
    mixed = RolloutConfig.model_validate({"grade_deadline_s": 7, "reply_deadline_s": 90})
    assert [getattr(mixed, key) for key in four] == [7, 90, 7, 7]


@pytest.mark.parametrize(
    "leaves", [SystemExit(3), KeyboardInterrupt("stop"), asyncio.CancelledError("theirs")]
)
@pytest.mark.parametrize("kind", ["thread", "coroutine"])
async def test_code_that_wants_to_end_the_process_breaks_its_attempt_alone(leaves, kind):
    class Quits(Sum):
        if kind == "thread":

            def grade(self, task, reply):
                raise leaves
        else:

            async def grade(self, task, reply):
                await asyncio.sleep(0)
                raise leaves

    async with asyncio.timeout(20):
        given_up = await solved(numbered(), Quits())
    assert given_up.reason is Reason.UNSCORED
    name = type(leaves).__name__
    assert given_up.detail.startswith(
        f"EnvironmentFailure: grade of arithmetic/17+25 raised {name}: "
    )


async def test_threads_that_never_return_are_bounded(monkeypatch):
    monkeypatch.setattr(asking, "MOST_CALLS", 1)
    monkeypatch.setattr(asking, "MOST_LOST", 2)
    never = threading.Event()

    class Hangs(Sum):
        def grade(self, task, reply):
            never.wait()

    config = CONFIG.model_copy(update={"grade_deadline_s": 0.2, "retries": 0})
    solver = worker(numbered(), Hangs(), config)
    await solver.solve(0, TASK, 100)
    given_up = await solver.solve(1, TASK, 100)
    never.set()
    assert "more than 2 calls into environments never returned" in given_up.detail


class Guess(SingleTurn):
    """Several turns, and a record of what became of its episodes."""

    def __init__(self, breaks=""):
        self.breaks, self.started, self.closed = breaks, 0, 0

    def tasks(self, split):
        return [TASK]

    def grade(self, task, reply):
        raise AssertionError("the episode grades")

    def start(self, task):
        self.started += 1
        environment = self

        class Game(Episode):
            turns = 0

            def reply(self, message):
                if environment.breaks == "reply":
                    raise LookupError("no such room")
                self.turns += 1
                again = [Message(role="user", content="again")]
                return again if self.turns < 2 else None

            async def grade(self, trajectory):
                if environment.breaks == "grade":
                    raise LookupError("no such judge")
                return len(trajectory.messages) == 3 and trajectory.reply == "42"

            async def close(self):
                environment.closed += 1
                if environment.breaks == "close":
                    raise LookupError("no such door")

        return Game()


async def test_episodes_of_several_turns_are_played_and_closed():
    environment = Guess()
    group = await solved(policy(lambda attempt: attempt % 2), environment)
    assert group.pass_rate == 0.5
    assert (environment.started, environment.closed) == (8, 8)


@pytest.mark.parametrize("place", ["reply", "grade", "close"])
async def test_whatever_breaks_in_an_environment_is_named_and_its_episodes_are_closed(place):
    environment = Guess(breaks=place)
    given_up = await solved(policy(lambda attempt: True), environment)
    assert given_up.detail.startswith(
        f"EnvironmentFailure: {place} of arithmetic/17+25 raised LookupError: no such"
    )
    assert (environment.started, environment.closed) == (12, 12)


async def test_cancelling_a_task_closes_its_episodes_and_is_no_failure():
    environment, engine = Guess(breaks="close"), policy(lambda attempt: True)
    engine.hangs = True
    running = asyncio.ensure_future(solved(engine, environment))
    while len(engine.calls) < 4:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert environment.closed == 4


async def test_a_prompt_that_fills_the_context_is_too_long():
    given_up = await solved(policy(lambda attempt: True), max_context=10)
    assert given_up.reason is Reason.TOO_LONG
    assert given_up.detail == "a prompt of 15 tokens leaves no room in a context of 10"


async def test_a_template_that_refuses_ends_the_run_with_the_task_in_one_sentence():
    refusing = "{{ raise_exception('roles must alternate') }}"
    solver = worker(
        policy(lambda attempt: True),
        Sum(),
        CONFIG.model_copy(update={"template": "chat"}),
        tokenizer=make_tokenizer(refusing),
    )
    with pytest.raises(BadTemplate, match=r"arithmetic/17\+25: .*: roles must alternate$") as error:
        await solver.solve(0, TASK, 100)
    assert is_sentence(error.value)


def test_a_tokenizer_that_names_no_end_is_warned_of():
    (line,) = worker(numbered(), Sum(), tokenizer=make_tokenizer(None, eos=None)).warnings()
    assert line.startswith("nothing ends a turn: the tokenizer names no end-of-text token")
    assert worker(numbered(), Sum()).warnings() == []


class Ranked(Sum):
    """Judges a whole group: only the first of those that were right keeps its grade."""

    def __init__(self, breaks=None):
        self.breaks, self.groups = breaks, []

    def grade_group(self, task, trajectories, grades):
        self.groups.append(len(trajectories))
        if self.breaks:
            raise self.breaks
        best = next(i for i, grade in enumerate(grades) if grade.solved)
        return [grade if i == best else Grade.of(False) for i, grade in enumerate(grades)]


async def test_the_group_has_the_last_word_on_its_grades():
    environment = Ranked()
    group = await solved(policy(lambda attempt: attempt % 2 == 0), environment)
    assert environment.groups == [8]
    assert [attempt.grade.passed for attempt in group.attempts] == [True] + [False] * 7
    assert [attempt.reward.task for attempt in group.attempts] == [1.0] + [0.0] * 7


async def test_a_group_that_cannot_be_judged_is_unscored():
    environment = Ranked(GraderError("no quorum"))
    given_up = await solved(policy(lambda attempt: attempt % 2 == 0), environment)
    assert (given_up.reason, given_up.detail) == (Reason.UNSCORED, "GraderError: no quorum")
    assert environment.groups == [8, 8, 8]


async def test_an_evaluation_has_no_gates():
    engine = policy(lambda attempt: True)
    told = await worker(engine, Sum()).evaluate([(-1, TASK, 50), (-2, TASK, 50)], 3, version=0)
    assert [[one.grade.passed for one in group.attempts] for group in told] == [[True] * 3] * 2
    assert engine.calls == [[(-2, n, 0, 0) for n in range(3)] + [(-1, n, 0, 0) for n in range(3)]]


async def test_an_evaluation_with_a_hole_is_no_measurement():
    with pytest.raises(EpisodeError, match=r"arithmetic/17\+25: unscored: GraderError: judge away"):
        await worker(numbered(), Flaky(GraderError("judge away"), 9)).evaluate(
            [(-1, TASK, 50)], 2, version=0
        )


async def test_a_wave_in_lockstep_is_the_same_whatever_its_graders_timing():
    class Dawdles(Guess):
        def __init__(self, seed):
            super().__init__()
            self.random = random.Random(seed)

        def start(self, task):
            time.sleep(self.random.random() * 0.01)
            return super().start(task)

    async def wave(seed):
        engines = [policy(lambda attempt: attempt % 3 == 0) for _ in range(2)]
        told = await worker(engines[0], Dawdles(seed), servers=engines).solve_all(
            [(index, TASK, 100) for index in range(5)], version=0
        )
        streams = [[a.trajectory.token_ids.tolist() for a in group.attempts] for group in told]
        return streams, [engine.calls for engine in engines]

    first = await wave(0)
    assert all([await wave(seed) == first for seed in (1, 2, 3)])
    streams, calls = first
    assert len(streams) == 5
    assert [len(batch) for batch in calls[0]] == [10, 10, 10, 10]
