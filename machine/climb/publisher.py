"""Brings each new policy to the inference servers, and proves that it arrived.

A weight update can go wrong in silence (a layer that keeps a packed copy, a name that matches
nothing). So after every update a few tokens are scored on both sides, and the climb stops when the
learner and a server disagree on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from munro.rl.config import SyncConfig
from munro.rollout.branches import way
from munro.rollout.engine import WeightSource
from munro.rollout.types import Group

Scores = Sequence[NDArray[np.float32]]


class SyncBroken(Exception):
    """A server does not compute with the weights it was given."""

    is_sentence = True


class Sender(Protocol):
    """The learner, as far as publishing goes."""

    def publish(self, version: int) -> WeightSource:
        """Write the current weights where servers can read them."""
        ...

    def score(self, streams: Sequence[Sequence[int]]) -> Scores:
        """Log-probability of each token given those before it; whole vocabulary, temperature 1."""
        ...


class Receivers(Protocol):
    """All inference servers."""

    @property
    def aside(self) -> Mapping[str, str]:
        """Servers that were too slow the last time and are asked for nothing, and why."""
        ...

    def update_weights(self, source: WeightSource, *, drain: bool, deadline_s: float) -> None:
        """Load the weights, and set aside who is late: nothing is sampled with older ones."""
        ...

    def score_each(
        self, streams: Sequence[Sequence[int]], deadline_s: float
    ) -> Mapping[str, Scores]:
        """What `Sender.score` gives, from every server that is not aside, by its name."""
        ...


class Publisher:
    """Implements `munro.rl.ports.Publisher`."""

    def __init__(
        self,
        sender: Sender,
        receivers: Receivers,
        config: SyncConfig,
        deadline_s: float,
        vocabulary: int,
        note: Callable[[str], None],
        tell: Callable[[str], None],
        longest: int | None = None,
    ) -> None:
        """
        Args:
            sender: the learner.
            receivers: the servers.
            config: how the arrival is proven.
            deadline_s: longest wait for an update, and for a proof.
            vocabulary: of the model.
            note: told what goes on.
            tell: told of servers that are set aside, or back.
            longest: tokens that a server can score, where it has a limit.
        """
        self._sender, self._receivers = sender, receivers
        self._config, self._deadline_s = config, deadline_s
        self._note, self._tell = note, tell
        self._aside: set[str] = set()
        self._longest = longest
        # before anything was sampled, any tokens will do
        size = config.proof_tokens if longest is None else min(config.proof_tokens, longest)
        first = np.random.default_rng(0).integers(0, vocabulary, size=size)
        self._streams: list[list[int]] = [first.tolist()]

    def remember(self, groups: Sequence[Group]) -> None:
        """Take the next proofs' tokens from these groups' first attempts."""
        streams: list[list[int]] = []
        for group in groups:
            if sum(map(len, streams)) >= self._config.proof_tokens:
                break
            told = group.attempts[0].trajectory
            # of a tree, what the last turn read and wrote: no server could take more at once; nor
            # could it score all of one that the context has cut off
            read = told.token_ids[way(len(told.token_ids) - 1, told.forks)]
            streams.append(read[: self._longest].tolist())
        self._streams = streams or self._streams

    def publish(self, version: int) -> Mapping[str, float]:
        """Update all servers and compare.

        Raises:
            SyncBroken: the mean |log-prob difference| on a server is above `sync.proof_bound`.
        """
        self._note("sync")
        source = self._sender.publish(version)
        self._receivers.update_weights(
            source, drain=not self._config.in_flight, deadline_s=self._deadline_s
        )
        ours = np.concatenate([s[1:] for s in self._sender.score(self._streams)])
        worst = 0.0
        for name, scores in self._receivers.score_each(self._streams, self._deadline_s).items():
            theirs = np.concatenate([s[1:] for s in scores])
            gap = float(np.abs(ours - theirs).mean())
            # a NaN on either side compares false with everything, and must not pass
            if not gap <= self._config.proof_bound:
                raise SyncBroken(
                    f"after weight update {version}, {name} and the learner disagree by "
                    f"{gap:.2g} nats per token on {len(ours)} tokens (sync.proof_bound = "
                    f"{self._config.proof_bound:g}): the server does not run the new weights."
                )
            worst = max(worst, gap)
        return {"sync/proof": worst, **self._set_aside(version)}

    def _set_aside(self, version: int) -> dict[str, float]:
        """Tell who was set aside and who is back; how many are aside, if any."""
        aside = self._receivers.aside
        for name in sorted(aside.keys() - self._aside):
            self._tell(
                f"{name} is set aside: {aside[name]}. It is asked for nothing until it takes new "
                "weights in time again"
            )
        for name in sorted(self._aside - aside.keys()):
            self._tell(f"{name} is back, with the weights of version {version}")
        self._aside = set(aside)
        return {"sync/servers_aside": len(aside)} if aside else {}
