"""The contract of an inference engine, and what crosses it.

    requests ──► Engine.generate ──► completions (ids, behaviour log-probs, nucleus, versions)
    weights  ──► Engine.update_weights ──► a new version, prefix cache empty
    tokens   ──► Engine.score ──► log-probs, to prove that the weights arrived

Two engines keep it: `rollout/vllm/engine.py` and `rollout/transformers_engine.py`. Both sample as
`top_k` first, then `top_p` on what is left, and report exactly the tokens that survived. What
starts them is found by name (`ENGINES`): a file of `rollout/engines`, or one of your own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import KeptTokens
from munro.rewards.plugins import Registry

ENGINES = Registry(
    what="inference engine",
    group="munro.engines",
    home="munro.rollout.engines",
    fits=inspect.isfunction,
)
"""Functions that start an engine and block while they do, called as `inference.build_engine` is.
One of your own is a file with such a function (`rollout.engine = "mine.py:start"`) that returns a
`SleepingEngine`; what it does not need it takes as `**_`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One completion to sample.

    Example:
        Request(key=(7, 0, 0), prompt_ids=[1, 2, 3], max_tokens=64, seed=1234)
    """

    key: tuple[int, ...]
    """(task index, attempt, try, turn): orders requests, so that a lockstep batch is repeatable."""
    prompt_ids: Sequence[int]
    max_tokens: int
    seed: int
    """Of this request's own random stream: the draw does not depend on who else is in the batch."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """Candidates a nucleus can hold; 0 means the whole vocabulary. Required > 0 when top_p < 1."""
    stop_token_ids: tuple[int, ...] = ()
    routed_from: int = 0
    """Leading tokens of the prompt whose experts are known, and need not be reported again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came back. T = sampled tokens, the stop token included when one was sampled."""

    token_ids: NDArray[np.int32]
    """(T,)"""
    logp: NDArray[np.float32]
    """(T,) of the sampled token at the sampling temperature, renormalised over the nucleus."""
    kept: KeptTokens
    """The nucleus, T positions; `KeptTokens.nothing(T)` when top_p = 1 and top_k = 0."""
    versions: NDArray[np.int32]
    """(T,) version of the weights that produced each token."""
    stopped: bool
    """True when a stop token ended it, False when `max_tokens` or the context did."""
    num_cut: int = 0
    """Positions whose nucleus filled all `top_k` candidates, so top_k may have narrowed it."""
    routed_experts: NDArray[np.int16] | None = None
    """(P + T - F, layers, experts per token) of the pass that read each token, for models with a
    mixture of experts on engines that report it: those of the prompt's P tokens included, but for
    the first F, which is `Request.routed_from` or fewer. -1 for the last, which none read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """Where a version's weights can be read: a safetensors file in shared memory or on disk, or an
    adapter's folder.

    Or, where they go without a file, what the engine has to be told to ask for them.
    """

    path: str
    """Of the file; empty where there is none."""
    version: int
    meeting: Mapping[str, Any] = field(default_factory=dict)
    """How the engine finds the learner; told once, before the first update that carries it."""
    update: Mapping[str, Any] = field(default_factory=dict)
    """What the engine is told of this update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How an engine stands to the learner."""

    transfer: Literal["file", "group", "ipc", "nccl"] = "file"
    """How new weights come."""
    relay: Literal["none", "chain", "tree"] = "none"
    """Whether servers hand weights on to each other, where they come by plan."""
    slices: int = 1
    """Parts of the fleet that are fed on their own, then."""
    most_whole: float = 0.05
    """Share of their bytes that may come whole to every process, where they come by plan."""
    sleeps: bool = False
    """It gives its GPU's memory up while the learner steps."""
    learner_bytes: int = 0
    """Of its GPU's memory that the learner holds also while the engine is awake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much an engine has to do, as it counts itself; totals only grow."""

    generated: int = 0
    """Tokens sampled since it started."""
    preempted: int | None = None
    """Requests that lost their keys and values for want of room; None where it cannot tell."""
    kv_use: float | None = None
    """Share of its room for keys and values that is taken, in [0, 1]; None where nothing bounds
    it."""


ALONE = Sharing()
"""On a GPU of its own, or a CPU; weights come in files."""


class Engine(Protocol):
    """One inference server's model.

    Raises `munro.rewards.errors.PolicyError` when it cannot serve.
    """

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete all requests; they join whatever else is running (continuous batching).

        Requests given in one call while nothing else runs are started in the same engine step and
        in the order given, so the same call on the same weights gives bitwise the same completions.

        Raises:
            PolicyError: the engine cannot serve.
            ValueError: a request is at fault: a prompt that leaves no room, top_p without top_k.
        """
        ...

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> NDArray[np.float32]:
        """(N,) log-probability of each token given those before it (temperature 1, whole
        vocabulary); entry 0 is 0. With `base`, without the adapter that is served."""
        ...

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        """Load new weights in place and empty the prefix cache.

        With `drain`, running requests finish first; without, they are paused and go on with the new
        weights, their tokens before and after carrying different versions.

        An engine that serves adapters stops nothing for one: running requests keep theirs, later
        ones take the new.
        """
        ...

    async def version(self) -> int:
        """Version being served; also the health probe."""
        ...

    async def close(self) -> None:
        """Free everything; leave no process behind."""
        ...


class SleepingEngine(Engine, Protocol):
    """One that can leave its GPU to a learner for a while."""

    async def sleep(self, *, level: int) -> None:
        """Give the GPU's memory up, once running requests are done; on a CPU nothing is given up.

        It serves nothing until `wake`, or `update_weights`, which wakes it.

        Args:
            level: 1 keeps the weights in the host's memory for `wake`; 2 forgets them, and only
                new ones wake it.
        """
        ...

    async def wake(self) -> None:
        """Take the memory back, with the weights that it fell asleep with at level 1."""
        ...

    async def room(self) -> int | None:
        """Tokens whose keys and values it can hold at once; None where nothing bounds them."""
        ...

    def load(self) -> Load | None:
        """What it has to do, at once and from any thread; None where it does not count."""
        ...
