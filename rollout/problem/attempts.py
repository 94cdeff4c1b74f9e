"""One attempt: an episode played and graded, and again while machinery fails.

    Player.make ──► Environments.started ──► play ──► grade ──► Played
         ▲                       │ EpisodeError
         └───────────────────────┘  at most `rollout.retries` times

Where an agent of its own plays it, it is run at an address (`munro.rollout.address`).

Broken machinery is tried again, and is never scored as wrong: from where the episode was last
saved, with all the tokens that it had, where its environment restores episodes, else anew.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from munro.envs.agent_run import AgentEpisode
from munro.envs.base import Episode, as_grade
from munro.envs.types import Message, Task, Trajectory
from munro.rewards.errors import EpisodeError
from munro.rewards.types import Grade
from munro.rollout.address import Addresses, Policy, Session
from munro.rollout.address import play as run
from munro.rollout.calls import Reader
from munro.rollout.config import RolloutConfig
from munro.rollout.episode import Limits, Progress, begun, play
from munro.rollout.lockstep import Together
from munro.rollout.problem.asking import Environments
from munro.rollout.render import BadTemplate, Renderer


@dataclass(frozen=True, slots=True)
class Played:
    """An attempt that has its grade, before anything is known of its siblings."""

    trajectory: Trajectory
    grade: Grade
    seconds: Counter[str]
    """Wall seconds by phase."""


@dataclass(slots=True)
class Account:
    """What became of one task's attempts so far."""

    played: list[Played] = field(default_factory=list)
    num_unscored: int = 0
    last_failure: str = ""
    num_resumed: int = 0
    """Times that an attempt went on from where it was saved, after its machinery had failed."""
    gave_up: bool = False
    """An attempt failed more often than `rollout.retries` allows."""

    @property
    def pass_rate(self) -> float | None:
        """Share of the attempts that passed; None where none was graded."""
        return fmean(one.grade.solved for one in self.played) if self.played else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What all attempts at one task have in common."""

    index: int
    """Place in the problem set's stream."""
    task: Task
    cap: int
    """Tokens of a response, at most."""


@dataclass(slots=True)
class _Standing:
    """How one attempt stands: its tokens, and its environment as that was last saved."""

    again: int
    """Times that it was begun anew."""
    began: float = field(default_factory=time.monotonic)
    progress: Progress | None = None
    saved: bytes | None = None
    _kept: Progress | None = None
    """As it was when `saved` was."""
    _lost: int = 0
    """Failures since then."""

    def keep(self, saved: bytes | None) -> None:
        """The environment as it is now; None where it has only been started."""
        assert self.progress is not None
        self.saved, self._kept, self._lost = saved, self.progress.copy(), 0

    def goes_on(self, retries: int) -> bool:
        """Whether to go on from where it was saved; its tokens are then what they were there, and
        a turn that waits for its answer."""
        if self._kept is None or self.progress is None or self._lost >= retries:
            return False
        self._lost += 1
        if self.progress.num_replies != self._kept.num_replies:
            self.progress = self._kept.copy()
        return True


@contextlib.contextmanager
def showing(task: Task) -> Iterator[None]:
    """A template that cannot show the task says which task it is."""
    try:
        yield
    except BadTemplate as error:
        raise BadTemplate(f"{task.env}/{task.id}: {error}") from error


class Player:
    """Plays attempts.

    Args:
        environments: where episodes are started and graded.
        renderer: the template.
        reader: of calls.
        config: sampling, turns and retries.
        seed: the run's.
        max_context: longest token stream, prompt included.
    """

    def __init__(
        self,
        environments: Environments,
        renderer: Renderer,
        reader: Reader,
        config: RolloutConfig,
        *,
        seed: int,
        max_context: int,
    ) -> None:
        self._environments = environments
        self._renderer = renderer
        self._reader = reader
        self._config = config
        self._seed = seed
        self._max_context = max_context
        self._addresses = Addresses()

    async def make(
        self, numbers: Sequence[int], problem: Problem, account: Account, together: Together
    ) -> None:
        """Make these attempts, all at once, and enter into the account what came of them.

        Attempts whose siblings gave up are finished all the same: cutting them short would let the
        timing of a failure decide what is in a lockstep batch.
        """
        made = await together.gather(
            [self._persist(number, problem, account, together) for number in numbers]
        )
        account.played.extend(one for one in made if one is not None)

    async def _persist(
        self, number: int, problem: Problem, account: Account, together: Together
    ) -> Played | None:
        """One attempt, made again while machinery fails and retries are left.

        Begun anew it draws anew, but for a machine that is lost whatever it does it goes on with
        what it drew. A turn that costs its machine every time is not waited for more often than
        `rollout.retries` allows.
        """
        retries = self._config.retries
        standing = _Standing(again=0)
        while True:
            try:
                return await self._play((problem.index, number), problem, together, standing)
            except EpisodeError as failure:
                account.last_failure = f"{type(failure).__name__}: {failure}"
            if standing.goes_on(retries):
                account.num_resumed += 1
                continue
            account.num_unscored += 1
            await self._environments.forgotten(problem.task, standing.saved)
            if standing.again == retries:
                account.gave_up = True
                return None
            standing = _Standing(again=standing.again + 1)

    async def _play(
        self, place: tuple[int, int], problem: Problem, together: Together, standing: _Standing
    ) -> Played:
        task, environments = problem.task, self._environments
        async with environments.started(task, standing.saved, together.away) as episode:
            key = (*place, standing.again)
            if isinstance(episode, AgentEpisode):
                trajectory = await self._run(key, problem, together, episode)
            else:
                trajectory = await self._turns(key, problem, together, standing, episode)
            generated = time.monotonic()
            grade = as_grade(await environments.ask(task, "grade", episode.grade, trajectory))
            spent = {"generate": generated - standing.began, "grade": time.monotonic() - generated}
        return Played(trajectory, grade, Counter(spent))

    async def _run(
        self,
        key: tuple[int, int, int],
        problem: Problem,
        together: Together,
        episode: AgentEpisode,
    ) -> Trajectory:
        """An episode that an agent of its own plays."""
        task = problem.task
        policy = Policy(
            generate=together.generate,
            renderer=self._renderer,
            reader=self._reader,
            limits=self._limits(problem),
            seed=self._seed,
            key=key,
        )
        patience = self._environments.patience(task)
        name = f"{task.env}/{task.id}"
        async with self._environments.runs:
            session = Session(task, policy)
            return await run(name, episode, session, self._addresses, patience)

    async def _turns(
        self,
        key: tuple[int, int, int],
        problem: Problem,
        together: Together,
        standing: _Standing,
        episode: Episode,
    ) -> Trajectory:
        """An episode that answers turn by turn."""
        task, environments, ask = problem.task, self._environments, self._environments.ask
        limits, is_kept = self._limits(problem), environments.restores(task)

        async def reply(message: Message) -> Sequence[Message] | None:
            seen: Sequence[Message] | None
            seen = await ask(task, "reply", episode.reply, message)
            return seen

        async def keep() -> None:
            if is_kept and (saved := await environments.saved(task, episode)) is not None:
                standing.keep(saved)

        with showing(task):
            if standing.progress is None:
                standing.progress = begun(task, self._renderer, limits)
                if is_kept:
                    standing.keep(None)
            return await play(
                task,
                reply,
                together.generate,
                self._renderer,
                limits,
                seed=self._seed,
                key=key,
                reader=self._reader,
                progress=standing.progress,
                on_answer=keep,
            )

    def _limits(self, problem: Problem) -> Limits:
        config, budget = self._config, self._environments.budget(problem.task)
        return Limits(
            max_response_tokens=problem.cap,
            max_context=self._max_context,
            observation_tokens=budget.observation_tokens or 0,
            max_turns=budget.turns or 1,
            turn_tokens=budget.turn_tokens or 0,
            cut_turn=config.cut_turn,
            wall_s=budget.wall_s or 0.0,
            temperature=config.temperature,
            top_p=config.top_p,
            nucleus_candidates=config.nucleus_candidates,
        )
