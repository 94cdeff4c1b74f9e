"""One small climb in one process, for `entropy.py`, `objectives.py`,
`safety/calibration.py` and `questions/climbs.py`: no Ray between the parts.

    base model ──► TransformersEngine ──► ProblemWorker ──► OnPolicy ──► climb ──► Learner
                            ^                                                         |
                            └──────────────── Publisher, every few steps ◄────────────┘

Groups are sampled in waves, which makes a run repeatable, but by weights that are renewed only
every `sync.every_steps`: between two renewals the learner moves away from what sampled.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tokenizers
import torch
import transformers
from numpy.typing import NDArray

from munro.base_model.config import ModelConfig, PretrainConfig
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small.quickstart import default_cache_dir, new_model
from munro.base_model.training.pretrain import StepMetrics, pretrain
from munro.envs.base import Environment, Episode, SingleTurn
from munro.envs.shuffle import shuffled
from munro.envs.types import Task
from munro.machine.climb.publisher import Publisher
from munro.rewards.types import Grade
from munro.rl.batch import StepReport, Weigher, batch_of
from munro.rl.climb import climb
from munro.rl.clip import Clip
from munro.rl.config import ClimbConfig
from munro.rl.control.controller import Ledger, OnPolicy
from munro.rl.control.journal import Journal
from munro.rl.learner import Learner
from munro.rl.plugs import resolved
from munro.rl.sharing import shares
from munro.rl.state import ClimbState
from munro.rollout.engine import WeightSource
from munro.rollout.problem import ProblemWorker
from munro.rollout.store.node import NodeStore
from munro.rollout.transformers_engine import TransformersEngine
from munro.rollout.types import Abandoned, Group, Outcome, places_of
from munro.rollout.weights import SharedMemoryWeights, place

T = TypeVar("T")
Line = dict[str, float]

PROMPT = "Name a number."
NUM_JUDGES = 20_000
"""Tasks, before they come again."""
DIGITS = "0123456789"
LIKED = "02367"
"""Digits that judges like."""
MOODY = 0.3
"""Share of replies of which a judge says the opposite of what he thinks."""
FAVOURITES = "7385296410"
"""Digits as the base model's text has them, the most frequent first."""
FREQUENCIES = [0.8**rank for rank in range(10)]
CONTEXT = 32
DEADLINE_S = 600.0


class NumberForAJudge(SingleTurn):
    """Name a number of three digits, to a judge who likes two of them at least.

    Half of the numbers will do, so there is no need to settle for a few. But judges are moody: of
    three replies in ten they say the opposite of what they think. So there is always something that
    looks like a lesson, and a policy that takes it keeps fewer and fewer of the numbers that are
    all equally good.

    Args:
        moody: share of replies of which a judge says the opposite.

    Example:
        "Name a number." -> "640", or "419", or any of about 500 others
    """

    def __init__(self, moody: float = MOODY) -> None:
        self._moody = moody

    def tasks(self, split: str) -> Sequence[Task]:
        """One for every judge."""
        return [
            Task(id=f"{split}/{judge}", prompt=PROMPT, payload={"judge": judge})
            for judge in range(NUM_JUDGES)
        ]

    async def start(self, task: Task) -> Episode:  # type: ignore[override]
        """Asynchronous, for that costs no thread."""
        return super().start(task)

    async def grade(self, task: Task, reply: str) -> Grade:
        """Pass if it is a number and the judge says that he likes it."""
        if len(reply) != 3 or not set(reply) <= set(DIGITS):
            return Grade.of(False)
        likes = sum(digit in LIKED for digit in reply) >= 2
        mood = random.Random(f"{task.payload['judge']} {reply}").random()
        return Grade.of(likes != (mood < self._moody))


class Numbers:
    """What the base model reads: the prompt, and numbers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @staticmethod
    def text(index: int) -> str:
        """A line of the corpus."""
        digits = random.Random(f"number {index}").choices(FAVOURITES, FREQUENCIES, k=3)
        return f"{PROMPT}\n{''.join(digits)}"

    def tokens(self, index: int, progress: float) -> Sequence[int]:  # noqa: ARG002
        """See `munro.base_model.training.pretrain.Documents`."""
        ids: list[int] = self._tokenizer.encode(self.text(index))
        return [*ids, self._tokenizer.eos_token_id]


def base(note: Callable[[str], None]) -> Path:
    """The folder of the base model, trained now (half a minute) or found in the cache."""
    model = ModelConfig(
        architecture="llama",
        hidden_size=64,
        intermediate_size=192,
        num_layers=2,
        num_heads=2,
        max_context=CONTEXT,
    )
    training = PretrainConfig(num_steps=150, threads=1, log_every=50)
    versions = [module.__version__ for module in (torch, transformers, tokenizers)]
    decisive = repr((model, training, PROMPT, FAVOURITES, FREQUENCIES, versions))
    folder = default_cache_dir() / f"entropy-{sha256(decisive.encode()).hexdigest()[:12]}"
    tokenizer = train_tokenizer(map(Numbers.text, range(1000)), vocab_size=300, max_context=CONTEXT)

    def told(metrics: StepMetrics) -> None:
        note(f"base model: step {metrics.step} of {metrics.num_steps}, loss {metrics.loss:.3f}")

    return pretrain(
        lambda: new_model(model, tokenizer),
        tokenizer,
        Numbers(tokenizer),
        training,
        folder=folder,
        on_metrics=told,
    ).path


class Parts:
    """Engine, problem worker and learner on the same weights, and the calls between them.

    Implements `munro.rl.ports.Solvers`, and both ends of `munro.machine.climb.publisher.Publisher`.
    """

    def __init__(
        self,
        model: Path,
        config: ClimbConfig,
        seed: int,
        environment: Environment,
        *,
        context: int = CONTEXT,
    ) -> None:
        self._seed = seed
        self._version = 0
        self._environment = environment
        self._tasks = self._environment.tasks("train")
        # no `asyncio.Runner`: on its way out it writes out the whole result to compare a handler
        self._loop = asyncio.new_event_loop()
        self._engine = TransformersEngine(
            str(model), config.rollout, seed=seed, max_context=context
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        self.vocabulary = len(tokenizer)
        self._worker = ProblemWorker(
            self._engine,
            lambda _: self._environment,
            tokenizer,
            config.rollout,
            config.rewards,
            seed=seed,
            max_context=context,
        )
        self.learner = Learner(
            model,
            resolved(config.learner, num_steps=config.num_steps),
            seed=seed,
            entropy_estimator=config.clip.entropy_estimator,
        )
        self._weights = SharedMemoryWeights(place(f"entropy-{os.getpid()}"))
        self.store, self._weigh = NodeStore("here", keep_dropped=0), Weigher(config.learner)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def task(self, index: int) -> Task:
        """Task `index` of an endless stream, every epoch in an order of its own."""
        epoch, at = divmod(index, len(self._tasks))
        return self._tasks[shuffled(at, len(self._tasks), f"{self._seed}/{epoch}")]

    def assign(self, tasks: Sequence[tuple[int, int]]) -> None:
        """Part of the port; nothing streams here."""
        raise NotImplementedError

    def next_outcomes(self, timeout_s: float) -> Sequence[Outcome]:
        """Part of the port; nothing streams here."""
        raise NotImplementedError

    def solve_all(
        self,
        tasks: Sequence[tuple[int, int]],
        deadline_s: float,  # noqa: ARG002 - one process: there is nobody to wait for
    ) -> Sequence[Outcome]:
        """A wave, in lockstep."""
        wave = [(index, self.task(index), cap) for index, cap in tasks]
        found = self._run(self._worker.solve_all(wave, version=self._version))
        return [self.store.tell(one, self._weigh) for one in found]

    def lost(self, groups: Sequence[Outcome]) -> Sequence[Outcome]:  # noqa: ARG002 - a port
        """None: one process holds all."""
        return []

    def forget(self, groups: Sequence[Outcome]) -> None:
        """Nobody will ask for their tokens any more."""
        self.store.forget(places_of(groups))

    def step(self, groups: Sequence[Outcome], *, clip: Clip) -> StepReport:
        """One optimizer step on groups, whose tokens lie here."""
        (share,) = shares(groups, 1)
        laid = self.store.laid([part.place for part in share.parts if part.place])
        return self.learner.step(batch_of(share, [one.attempts() for one in laid]), clip=clip)

    def attempts(self, tasks: Sequence[Task], runs: int, cap: int) -> list[Group | Abandoned]:
        """Graded attempts at each of these tasks, with the weights that were loaded last."""
        items = [(index, task, cap, range(runs)) for index, task in enumerate(tasks)]
        return self._run(self._worker.attempts(items, version=self._version))

    def publish(self, version: int) -> WeightSource:
        """Write the learner's weights."""
        source = self.learner.publish(self._weights, version)
        assert source is not None, "the only rank publishes"
        return source

    def score(self, streams: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The learner's log-probabilities."""
        return self.learner.score(streams)

    def update_weights(
        self,
        source: WeightSource,
        *,
        drain: bool,
        deadline_s: float,  # noqa: ARG002 - as above
    ) -> None:
        """Load the learner's weights into the engine."""
        self._run(self._engine.update_weights(source, drain=drain))
        self._version = source.version

    @property
    def aside(self) -> Mapping[str, str]:
        """The one engine is never set aside."""
        return {}

    def score_each(
        self,
        streams: Sequence[Sequence[int]],
        deadline_s: float,  # noqa: ARG002 - as above
    ) -> dict[str, list[NDArray[np.float32]]]:
        """The engine's log-probabilities."""
        return {"engine": [self._run(self._engine.score(list(stream))) for stream in streams]}

    def close(self) -> None:
        """End the engine's thread and free the published weights."""
        self._run(self._engine.close())
        self._weights.close()
        self._loop.close()


class Record:
    """Implements `munro.rl.ports.Run`: keeps every step's metrics, and nothing else."""

    def __init__(
        self,
        note: Callable[[Line], None],
        remember: Callable[[Sequence[Outcome]], None],
        look: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.lines: list[Line] = []
        self._note, self._remember, self._look = note, remember, look

    def should_stop(self) -> bool:
        """Nobody asks."""
        return False

    def draft(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Nothing is kept."""

    def record(self, state: ClimbState, groups: Sequence[Outcome]) -> None:  # noqa: ARG002
        """Let the next weight update be proven on some of these tokens."""
        self._remember(groups)

    def evaluate(self, state: ClimbState) -> Mapping[str, float]:
        """Whoever wants to look may, before the first step and after each; figures are theirs."""
        self._look(state.step)
        return {}

    def log(self, state: ClimbState, metrics: Mapping[str, float]) -> None:
        """Keep a step's line; the one before the first step says nothing."""
        if state.step:
            self.lines.append({"step": state.step, **metrics})
            self._note(self.lines[-1])

    def save_if_due(self, state: ClimbState) -> None:
        """Nor where one is due."""

    def save(self, state: ClimbState) -> None:
        """Nothing is resumed."""


def run(
    config: ClimbConfig,
    model: Path,
    seed: int,
    folder: Path,
    note: Callable[[Line], None],
    *,
    moody: float = MOODY,
) -> list[Line]:
    """Climb from `model`; every step's metrics. The same arguments give the same figures."""
    parts = Parts(model, config, seed, NumberForAJudge(moody))
    try:
        return climbed(parts, config, folder, note)
    finally:
        parts.close()


def climbed(
    parts: Parts,
    config: ClimbConfig,
    folder: Path,
    note: Callable[[Line], None],
    look: Callable[[int], None] = lambda _: None,
) -> list[Line]:
    """Climb with these parts, whose engine then has the last weights; every step's metrics.

    `look` is told the step, before the first one and after each, while the engine has its weights.
    """
    with ExitStack() as stack:
        journal = Journal(folder / "journal.jsonl")
        stack.callback(journal.close)
        state = ClimbState.first(config.clip)
        ledger = Ledger(
            config, state.cursor, journal, lambda index: parts.task(index).id, step=state.step
        )
        publisher = Publisher(
            parts, parts, config.sync, DEADLINE_S, parts.vocabulary, lambda _: None, print
        )

        def remember(groups: Sequence[Outcome]) -> None:
            publisher.remember(places_of(groups), parts.store.first_tokens)
            parts.forget(groups)

        record = Record(note, remember, look)
        climb(config, state, OnPolicy(config, ledger, parts), parts, publisher, record)
        return record.lines
