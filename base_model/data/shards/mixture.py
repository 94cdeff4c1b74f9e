"""What a base model reads: sources by weight, each read over and over up to its cap.

    index ──► source (weights) and how often it was drawn before ──► epoch, place ──► document

Everything is a pure function of the index and the seed, so a run that resumes reads what it would
have read, and anybody can ask which source a document of a bad batch came from. Weights are shares
of the *tokens* read: a source of short documents is drawn more often.

Shape suffixes: S = sources, N = documents of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.errors import DataError, SourceExhausted
from munro.base_model.data.shards.packing import Lesson
from munro.base_model.data.shards.shuffle import mixed, shuffled

BLOCK = 1 << 16
"""Documents after which the shares are met exactly; they are met within one document throughout."""
SLACK = 1.05
"""Lengths vary, so a run that `check` let pass may read a source a little more often than its cap;
it is stopped beyond this multiple of it."""


class Source(Protocol):
    """Documents that can be counted and had by number: `ShardFolder` or `TextDocuments`."""

    name: str
    num_documents: int
    num_tokens: int

    def document(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Token ids, and which are to be learned (None: all)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A source's part in a mixture."""

    source: Source
    weight: float
    """Share of the tokens, relative to the other weights."""
    max_epochs: float = 8.0
    """How often each of its documents may be read (report, section 2.5: 8 in all searches)."""


class Mixture:
    """An endless corpus over several sources; implements
    `munro.base_model.training.pretrain.Documents`.

    Example:
        mixture = Mixture([Share(source=ShardFolder("data/small/stdlib"), weight=1.0)], seed=0)
        mixture.tokens(0, progress=0.0)

    Raises (when made):
        DataError: no source, one without documents, a weight or a cap that is not positive.
    """

    def __init__(self, shares: Sequence[Share], *, seed: int = 0) -> None:
        _check(shares)
        self._shares, self._seed = tuple(shares), seed
        weight_S = np.array([share.weight for share in shares], np.float64)
        length_S = np.array([s.source.num_tokens / s.source.num_documents for s in shares])
        self._weight_S = weight_S / weight_S.sum()
        self._per_block_S = _apportioned(weight_S / length_S, BLOCK)
        self._block = -1
        self._source_N = self._turn_N = np.zeros(0, np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sources, in order."""
        return tuple(share.source.name for share in self._shares)

    def source(self, index: int) -> str:
        """Name of the source that document `index` comes from."""
        return self._shares[self._draw(index)[0]].source.name

    def tokens(self, index: int, progress: float) -> Sequence[int] | Lesson:  # noqa: ARG002
        """Token ids of document `index`; a `Lesson` where some are not to be learned.

        Raises:
            SourceExhausted: its source was read `max_epochs` times before this index.
        """
        which, turn = self._draw(index)
        share = self._shares[which]
        epoch, place = divmod(turn, share.source.num_documents)
        if turn > 2 + SLACK * share.max_epochs * share.source.num_documents:
            raise SourceExhausted(
                f"source {share.source.name} has been read {share.max_epochs:g} times, its cap: "
                "lower its weight, raise its max_epochs, or give it more documents."
            )
        key = mixed(mixed(mixed(self._seed) ^ which) ^ epoch)
        number = shuffled(place, share.source.num_documents, key)
        token_ids, learned = share.source.document(number)
        ids = cast(Sequence[int], token_ids)
        return ids if learned is None else Lesson(ids, cast(Sequence[bool], learned))

    def epochs(self, num_tokens: float) -> dict[str, float]:
        """How often each source is read in a run of that many tokens."""
        return {
            share.source.name: float(weight) * num_tokens / share.source.num_tokens
            for share, weight in zip(self._shares, self._weight_S, strict=True)
        }

    @property
    def most_tokens(self) -> float:
        """Length, in tokens, of the run at whose end the first source meets its cap."""
        return min(
            share.max_epochs * share.source.num_tokens / float(weight)
            for share, weight in zip(self._shares, self._weight_S, strict=True)
        )

    def check(self, num_tokens: float) -> None:
        """Make sure before a run that no cap is met during it.

        Raises:
            SourceExhausted: names the source, how often it would be read, and the weight that fits.
        """
        for share, weight in zip(self._shares, self._weight_S, strict=True):
            epochs = self.epochs(num_tokens)[share.source.name]
            fits = float(weight) * share.max_epochs / epochs
            if epochs > share.max_epochs:
                raise SourceExhausted(
                    f"source {share.source.name} would be read {epochs:.1f} times in "
                    f"{num_tokens:,.0f} tokens, its cap is {share.max_epochs:g}: at most a share "
                    f"of {fits:.3g} fits (it has {weight:.3g}); "
                    f"train on at most {self.most_tokens:,.0f} tokens, or raise its max_epochs."
                )

    def _draw(self, index: int) -> tuple[int, int]:
        """Which source document `index` comes from, and how often that was drawn before."""
        block, within = divmod(index, BLOCK)
        if block != self._block:
            self._source_N, self._turn_N = self._laid_out(block)
            self._block = block
        which = int(self._source_N[within])
        return which, block * int(self._per_block_S[which]) + int(self._turn_N[within])

    def _laid_out(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Source and turn of every document of a block: each source evenly spread, with jitter."""
        rng = np.random.default_rng([self._seed, block])
        source_N = np.repeat(np.arange(len(self._shares)), self._per_block_S)
        turn_N = np.concatenate([np.arange(count) for count in self._per_block_S])
        when_N = (turn_N + rng.random(BLOCK)) / self._per_block_S[source_N]
        order_N = np.argsort(when_N, kind="stable")
        return source_N[order_N], turn_N[order_N]


def _check(shares: Sequence[Share]) -> None:
    if not shares:
        raise DataError("the mixture names no source: give it at least one, with a weight.")
    for share in shares:
        name = share.source.name
        if not share.weight > 0:
            raise DataError(f"source {name} has weight {share.weight:g}: leave it out, or above 0.")
        if not share.max_epochs > 0:
            raise DataError(
                f"source {name} has max_epochs {share.max_epochs:g}: it must be above 0."
            )
        if not share.source.num_documents:
            raise DataError(f"source {name} has no documents: see the funnel of its build.")
    names = [share.source.name for share in shares]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"the mixture names source {twice[0]} twice: give it one weight.")


def _apportioned(rate_S: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in these proportions that sum to `total`, at least one each."""
    if len(rate_S) > total:
        raise DataError(f"a mixture of {len(rate_S)} sources: more than {total} cannot be mixed.")
    exact_S = rate_S / rate_S.sum() * (total - len(rate_S))
    count_S = np.floor(exact_S).astype(np.int64)
    missing = total - len(rate_S) - int(count_S.sum())
    largest_S = np.argsort(-(exact_S - count_S), kind="stable")[:missing]
    count_S[largest_S] += 1
    return np.asarray(count_S + 1)
