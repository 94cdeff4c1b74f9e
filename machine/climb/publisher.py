"""Brings each new policy to the inference servers, and proves that it arrived.

A weight update can go wrong in silence (a layer that keeps a packed copy, a name that matches
nothing). So after every update a few tokens are scored on both sides, and the climb stops when the
learner and a server disagree on them.

An adapter does little at first, and a server that never applied it would be off by less than any
bound that rounding must pass. So of adapters it is asked how far a server is from what the adapter
does, held against how far it is off on the base alone, on the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from munro.rl.config import SyncConfig
from munro.rollout.engine import WeightSource
from munro.rollout.types import Place

Scores = Sequence[NDArray[np.float32]]
Tokens = NDArray[np.float32]

MOST_MISSED = 0.1
"""Of what an adapter does, a server may miss this share whatever the rounding."""
MOST_NOISE = 4.0
"""Rounding may be this many times what it is on the base."""
LEAST_GAP = 1e-5
"""Nats per token that no policy is told apart by; float32 rounds by about as much."""


class SyncBroken(Exception):
    """A server does not compute with the weights it was given."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """What a server lacks of an adapter, in nats per token; medians, for one token may fall among
    other experts."""

    moved: float
    """By how much the adapter changes the learner's scores."""
    gap: float
    """By how much the server is off them."""
    noise: float
    """By how much it is off on the base alone."""

    @classmethod
    def of(cls, moved: Tokens, gap: Tokens, noise: Tokens) -> Self:
        """From differences token by token."""
        moved_by, gap_by, noise_by = (float(np.median(np.abs(d))) for d in (moved, gap, noise))
        return cls(moved=moved_by, gap=gap_by, noise=noise_by)

    @property
    def too_much(self) -> bool:
        """More than rounding explains, and no small part of what the adapter does."""
        return not self.gap <= max(MOST_MISSED * self.moved, MOST_NOISE * self.noise, LEAST_GAP)


class Sender(Protocol):
    """The learner, as far as publishing goes."""

    def publish(self, version: int) -> WeightSource:
        """Write the current weights where servers can read them."""
        ...

    def require_alive(self) -> None:
        """Raise where it has died: who waits for its weights would wait in vain."""
        ...

    def score(self, streams: Sequence[Sequence[int]], *, base: bool = False) -> Scores:
        """Log-probability of each token given those before it; whole vocabulary, temperature 1.

        With `base`, without the adapter.
        """
        ...


class Receivers(Protocol):
    """All inference servers."""

    @property
    def aside(self) -> Mapping[str, str]:
        """Servers that were too slow the last time and are asked for nothing, and why."""
        ...

    def update_weights(
        self,
        source: WeightSource,
        *,
        drain: bool,
        deadline_s: float,
        meanwhile: Callable[[], None],
    ) -> None:
        """Load the weights, and set aside who is late: nothing is sampled with older ones.

        What `meanwhile` raises, which is called now and then, ends the wait.
        """
        ...

    def score_each(
        self, streams: Sequence[Sequence[int]], deadline_s: float, *, base: bool = False
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
        *,
        adapter: bool = False,
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
            adapter: what is published is an adapter.
        """
        self._sender, self._receivers = sender, receivers
        self._config, self._deadline_s = config, deadline_s
        self._note, self._tell, self._adapter = note, tell, adapter
        self._aside: set[str] = set()
        self._longest = longest
        # before anything was sampled, any tokens will do
        size = config.proof_tokens if longest is None else min(config.proof_tokens, longest)
        first = np.random.default_rng(0).integers(0, vocabulary, size=size)
        self._streams: list[list[int]] = [first.tolist()]

    def remember(
        self, places: Sequence[Place], read: Callable[[Place, int | None], Sequence[int]]
    ) -> None:
        """Take the next proofs' tokens from these groups' first attempts, where these lie.

        Args:
            places: of groups.
            read: gives what an attempt's last turn read and wrote, of at most so many tokens.
        """
        streams: list[list[int]] = []
        for place in places:
            if sum(map(len, streams)) >= self._config.proof_tokens:
                break
            streams.append([*read(place, self._longest)])
        self._streams = streams or self._streams

    def publish(self, version: int) -> Mapping[str, float]:
        """Update all servers and compare.

        Raises:
            SyncBroken: the mean |log-prob difference| on a server is above `sync.proof_bound`, or
                the server does not apply the whole adapter.
        """
        self._note("sync")
        source = self._sender.publish(version)
        self._receivers.update_weights(
            source,
            drain=not self._config.in_flight,
            deadline_s=self._deadline_s,
            meanwhile=self._sender.require_alive,
        )
        ours = _joined(self._sender.score(self._streams))
        told = self._receivers.score_each(self._streams, self._deadline_s)
        worst = 0.0
        for name, scores in told.items():
            theirs = _joined(scores)
            gap = float(np.abs(ours - theirs).mean())
            # a NaN on either side compares false with everything, and must not pass
            if not gap <= self._config.proof_bound:
                raise SyncBroken(
                    f"after weight update {version}, {name} and the learner disagree by "
                    f"{gap:.2g} nats per token on {len(ours)} tokens (sync.proof_bound = "
                    f"{self._config.proof_bound:g}): the server does not run the new weights."
                )
            worst = max(worst, gap)
        figures = {"sync/proof": worst}
        if self._adapter:
            figures |= self._prove_adapter(version, ours, {n: _joined(s) for n, s in told.items()})
        return {**figures, **self._set_aside(version)}

    def _prove_adapter(
        self, version: int, ours: Tokens, told: Mapping[str, Tokens]
    ) -> dict[str, float]:
        """Hold what an adapter does on each server against what it does in the learner.

        Raises:
            SyncBroken: a server misses more of it than rounding explains.
        """
        base = _joined(self._sender.score(self._streams, base=True))
        moved = float(np.abs(ours - base).mean())
        if not moved:  # a new adapter is the base
            return {"sync/adapter": 0.0}
        on_base = self._receivers.score_each(self._streams, self._deadline_s, base=True)
        for name, theirs in told.items():
            if name not in on_base:  # set aside meanwhile
                continue
            missed = Missed.of(ours - base, ours - theirs, base - _joined(on_base[name]))
            if missed.too_much:
                raise SyncBroken(
                    f"after weight update {version}, {name} and the learner disagree by "
                    f"{missed.gap:.2g} nats per token (median of {len(ours)}), where the adapter "
                    f"does {missed.moved:.2g} and the base alone differs by {missed.noise:.2g}: "
                    "the server does not apply the whole adapter."
                )
        return {"sync/adapter": moved}

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


def _joined(scores: Scores) -> Tokens:
    """Of all tokens that something stands before."""
    return np.concatenate([one[1:] for one in scores])
