"""Which traces are taken: pure functions over an index of columns, nothing read but those.

    index ──► window of steps ──► outcomes ──► order within each prompt ──► rounds over prompts

Traces are taken in rounds: the first trace of every prompt, then the second of every prompt that
has one, and so on, until there are enough. So prompts count alike however many traces they have,
no trace is taken twice, and a smaller total means fewer traces of a prompt before it means fewer
prompts (MAI-Thinking-1 report, section 3.1.4: more prompts beat more traces per prompt, and any
traces of a prompt beat the shortest).

Every draw is a hash of the seed and of what is drawn, so the order of the rows does not matter.

Shape suffixes: N = traces of the index, K = those that were chosen, in the order of the rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from munro.distill.config import SelectConfig

Rows = NDArray[np.int64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What selection knows of N traces, as columns [N].

    Example:
        chosen = index.taken(rows_of(index, SelectConfig(most_traces=1000)))
        print(chosen.names())
    """

    source: NDArray[np.int16]
    """Places in `sources`."""
    step: NDArray[np.int32]
    """Optimizer step of the climb that the trace went into."""
    place: NDArray[np.int64]
    """Of the task in the problem set's stream; with step and attempt it names the trace."""
    attempt: NDArray[np.int32]
    prompt: NDArray[np.int32]
    """Places in `prompts`."""
    solved: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    reward: NDArray[np.float32]
    """Total reward."""
    tokens: NDArray[np.int32]
    """Tokens of the whole trace, prompt included."""
    sources: tuple[str, ...]
    """Names of the runs."""
    prompts: tuple[str, ...]
    """Environment and task of every prompt."""

    def __len__(self) -> int:
        return len(self.step)

    def taken(self, rows_K: Rows) -> Index:
        """Only these traces, in this order."""
        columns = [name for name in self.__slots__ if name not in ("sources", "prompts")]
        return replace(self, **{name: getattr(self, name)[rows_K] for name in columns})

    def names(self, rows_K: Rows | None = None) -> list[str]:
        """Ids of the traces, "source:step/place/attempt"; of all, or of these."""
        chosen = self if rows_K is None else self.taken(rows_K)
        columns = (chosen.source, chosen.step, chosen.place, chosen.attempt)
        return [
            f"{self.sources[source]}:{step}/{place}/{attempt}"
            for source, step, place, attempt in zip(*(c.tolist() for c in columns), strict=True)
        ]


def select(
    index: Index, rule: SelectConfig, weights: Mapping[str, float] | None = None
) -> list[str]:
    """Ids of the traces that `rule` takes; see `rows_of`."""
    return index.names(rows_of(index, rule, weights))


def rows_of(index: Index, rule: SelectConfig, weights: Mapping[str, float] | None = None) -> Rows:
    """[K] rows of the index that `rule` takes, source by source, round by round.

    Args:
        index: of one run or several.
        rule: the window is taken within each run.
        weights: share of every run in the result, counted in what `rule.weigh` says; the run of
            which there is least for its share decides the total. All together where left out.
    """
    parts = [_ordered(index, rule, source) for source in range(len(index.sources))]
    limits = _Limits(rule.most_traces or math.inf, rule.most_tokens or math.inf)
    if weights is None:
        together = np.concatenate([np.zeros(0, np.int64), *parts])
        if len(parts) > 1:
            together = together[_rounds(index, together, _place_in_prompt(index, together), rule)]
        fitting: Rows = together[: limits.fitting(index.tokens[together])]
        return fitting
    shares = np.array([weights[name] for name in index.sources], float)
    shares /= shares.sum()
    total = limits.total([index.tokens[rows] for rows in parts], shares, rule.weigh)
    taken = [
        rows[: _part(index.tokens[rows], share * total, rule.weigh)]
        for rows, share in zip(parts, shares, strict=True)
    ]
    return np.concatenate([np.zeros(0, np.int64), *taken])


def steps_in(steps: Sequence[int], window: tuple[float, float]) -> list[int]:
    """Those of the stored steps that lie in `window`; the last one ends it.

    Example:
        steps_in([1, 2, 3, 4], (0.5, 1.0))  # [3, 4]
    """
    ordered = sorted(steps)
    first, last = (round(share * len(ordered)) for share in window)
    return ordered[min(first, max(last - 1, 0)) : last]


def eligible(index: Index, rule: SelectConfig, source: int) -> Rows:
    """Rows of one source in the window with a wanted outcome, in the index's order."""
    own_N = index.source == source
    steps = steps_in(np.unique(index.step[own_N]).tolist(), rule.window)
    wanted_N = own_N & np.isin(index.step, steps)
    if rule.outcomes == "passed":
        wanted_N &= index.solved
    rows: Rows = wanted_N.nonzero()[0]
    return rows


def _ordered(index: Index, rule: SelectConfig, source: int) -> Rows:
    """All that one source could give, in the order in which it would give it."""
    rows = eligible(index, rule, source)
    if rule.most_prompts:
        codes = np.unique(index.prompt[rows])
        hashes = _prompt_hashes(index, codes, rule.seed)
        rows = rows[np.isin(index.prompt[rows], codes[np.argsort(hashes)[: rule.most_prompts]])]
    rank = _rank_in_prompt(index, rows, rule)
    if rule.most_per_prompt:
        rows, rank = rows[rank < rule.most_per_prompt], rank[rank < rule.most_per_prompt]
    return rows[_rounds(index, rows, rank, rule)]


def _rank_in_prompt(index: Index, rows: Rows, rule: SelectConfig) -> NDArray[np.int64]:
    """0 for the trace of its prompt that comes first, 1 for the second, ..."""
    prompt, drawn = index.prompt[rows], _trace_hashes(index, rows, rule.seed)
    match rule.choose:
        case "uniform":
            preferred = np.zeros(len(rows))
        case "shortest":
            preferred = index.tokens[rows].astype(float)
        case "reward":
            preferred = -index.reward[rows].astype(float)
        case "typical":
            preferred = _from_median(prompt, index.tokens[rows])
    order = np.lexsort((drawn, preferred, prompt))
    rank = np.empty(len(rows), np.int64)
    rank[order] = _counted(prompt[order])
    return rank


def _place_in_prompt(index: Index, rows: Rows) -> NDArray[np.int64]:
    """As `_rank_in_prompt`, for rows that stand in the order of their ranks."""
    order = np.argsort(index.prompt[rows], kind="stable")
    rank = np.empty(len(rows), np.int64)
    rank[order] = _counted(index.prompt[rows][order])
    return rank


def _rounds(index: Index, rows: Rows, rank: NDArray[np.int64], rule: SelectConfig) -> Rows:
    """Places in `rows`, round after round, every round over the prompts in an order of its own."""
    codes, prompt = np.unique(index.prompt[rows], return_inverse=True)
    hashes = _prompt_hashes(index, codes, rule.seed)[prompt]
    order: Rows = np.lexsort((_mixed(hashes ^ _mixed(rank.astype(np.uint64))), rank))
    return order


def _counted(sorted_codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """0, 1, 2, ... within every run of one code."""
    at = np.arange(len(sorted_codes))
    begins = np.ones(len(sorted_codes), bool)
    begins[1:] = sorted_codes[1:] != sorted_codes[:-1]
    counted: NDArray[np.int64] = at - np.maximum.accumulate(np.where(begins, at, 0))
    return counted


def _from_median(prompt: NDArray[np.int32], tokens: NDArray[np.int32]) -> NDArray[np.float64]:
    """Distance of every length from the lower median of its prompt."""
    order = np.lexsort((tokens, prompt))
    _, starts, inverse, counts = np.unique(
        prompt[order], return_index=True, return_inverse=True, return_counts=True
    )
    medians = tokens[order][starts + (counts - 1) // 2]
    distance = np.empty(len(prompt))
    distance[order] = np.abs(tokens[order] - medians[inverse])
    return distance


@dataclass(frozen=True, slots=True)
class _Limits:
    traces: float
    tokens: float

    def fitting(self, tokens_K: NDArray[np.int32]) -> int:
        """How many of them, from the front, fit."""
        fit = int((tokens_K.cumsum(dtype=np.int64) <= self.tokens).sum())
        return int(min(fit, self.traces))

    def total(
        self, tokens: Sequence[NDArray[np.int32]], shares: NDArray[np.float64], weigh: str
    ) -> float:
        """What all sources give together, in samples or tokens, with these shares."""
        if weigh == "tokens":
            owned = np.array([float(one.sum(dtype=np.int64)) for one in tokens])
            mean = owned / np.maximum([len(one) for one in tokens], 1)
            per_trace = 1 / (shares / np.maximum(mean, 1)).sum()
            most = min(self.tokens, self.traces * per_trace)
        else:
            owned = np.array([float(len(one)) for one in tokens])
            mean = np.array([one.mean() if len(one) else 0.0 for one in tokens])
            most = min(self.traces, self.tokens / max((shares * mean).sum(), 1e-9))
        asked = shares > 0
        return float(min(most, (owned[asked] / shares[asked]).min(initial=math.inf)))


def _part(tokens_K: NDArray[np.int32], amount: float, weigh: str) -> int:
    if weigh == "samples":
        return min(round(amount), len(tokens_K))
    return int((tokens_K.cumsum(dtype=np.int64) <= amount + 0.5).sum())


def _prompt_hashes(index: Index, codes: NDArray[np.int32], seed: int) -> NDArray[np.uint64]:
    """One number for each of these prompts, by its name."""
    digests = b"".join(
        blake2b(f"{seed}:{index.prompts[code]}".encode(), digest_size=8).digest()
        for code in codes.tolist()
    )
    return np.frombuffer(digests, np.uint64)


def _trace_hashes(index: Index, rows: Rows, seed: int) -> NDArray[np.uint64]:
    """One number for each trace, by what names it.

    Sources count by the order of their names, so that a single run's name decides nothing: the same
    climb under two names distils the same traces.
    """
    ranks = np.argsort(np.argsort(index.sources)).astype(np.uint64)
    mixed = _mixed(ranks[index.source[rows]] ^ np.uint64(seed))
    for column in (index.step, index.place, index.attempt):
        mixed = _mixed(mixed ^ column[rows].astype(np.uint64))
    return mixed


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the result depends on every bit given."""
    mixed = numbers + GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
