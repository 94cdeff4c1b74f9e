"""What no trace may have: small named filters, each with a count of what it dropped, and examples.

A trace is counted by the first filter that drops it, in the order of `FILTERS`. MAI-Thinking-1
report, section 3.1.4 (reward-hacked traces are dropped) and 3.5 (degenerate chains of thought).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from munro.base_model.data.clean import minhash
from munro.base_model.data.clean.decontaminate import build_index, contaminated
from munro.base_model.data.clean.evaluation_text import evaluation_texts
from munro.base_model.data.clean.words import ngrams_of, words_of
from munro.base_model.data.config import LimitsConfig
from munro.distill.config import FiltersConfig
from munro.distill.traces import Trace
from munro.envs.types import Ending
from munro.rewards.judge.fence import addresses_judge
from munro.rewards.language import chain_of_thought, num_foreign_words, visible
from munro.rewards.repetition import PIECE, share
from munro.rewards.signs import TAMPERING

EXAMPLES, EXCERPT = 3, 160
SIGNATURE, SHINGLE = 128, 5
"""MinHash bins, and words of a shingle."""

ANSWER = re.compile(r"<answer>.*?(?:</answer>|\Z)", re.DOTALL)


def truncated(trace: Trace, config: FiltersConfig) -> bool:
    """A limit ended it, not the policy."""
    return config.truncated and trace.ending != Ending.ANSWERED


def tampered(trace: Trace, config: FiltersConfig) -> bool:
    """It passed, and the grader says the tests were touched, or its code reaches for them."""
    if not (config.tampered and trace.solved):
        return False
    return trace.parts.get("tampered", 0.0) > 0 or bool(TAMPERING.search(trace.said))


def judge_directed(trace: Trace, config: FiltersConfig) -> bool:
    """It speaks to its judge, announces a verdict or fakes a turn, as the judge or we see it."""
    if not config.judge_directed:
        return False
    shown = visible(trace.reply) or trace.reply
    return trace.parts.get("judge_directed", 0.0) > 0 or addresses_judge(shown)


def without_work(trace: Trace, config: FiltersConfig) -> bool:
    """Fewer words and signs than asked for come before the final answer."""
    return config.least_work > 0 and work(trace) < config.least_work


def foreign(trace: Trace, config: FiltersConfig) -> bool:
    """The chain of thought switches languages."""
    return num_foreign_words(chain_of_thought(trace.said)) > config.foreign_words


def repetitive(trace: Trace, config: FiltersConfig) -> bool:
    """Too much of it was said before in it."""
    return config.repetition < 1 and share(trace.said) > config.repetition


def redundant(trace: Trace, config: FiltersConfig) -> bool:
    """Too many of its calls told again what was known."""
    return config.most_redundant < 1 and trace.conduct.redundant > config.most_redundant


def inefficient(trace: Trace, config: FiltersConfig) -> bool:
    """Too few of its calls were carried out and told or did something new."""
    return config.least_efficiency > 0 and trace.conduct.efficiency < config.least_efficiency


def gave_up(trace: Trace, config: FiltersConfig) -> bool:
    """It ends by saying that it could not be done, or without a word."""
    return config.gave_up and trace.conduct.gave_up


def unfounded(trace: Trace, config: FiltersConfig) -> bool:
    """It ends by claiming work that none of its calls did."""
    return config.unfounded and trace.conduct.unfounded


def poor(trace: Trace, config: FiltersConfig) -> bool:
    """The reward or a part of the grade is below what is asked; a part it lacks counts as 0."""
    if config.least_reward is not None and trace.reward < config.least_reward:
        return True
    return any(trace.parts.get(part, 0.0) < least for part, least in config.least_parts.items())


def work(trace: Trace) -> int:
    """Words and signs of what the policy wrote before its final answer.

    The answer is what stands in `<answer>`, else what follows the thoughts, else the last word.
    """
    said = trace.said.strip()
    before = ANSWER.sub("", said)
    if before == said and "</think>" in said:
        before = said[: said.rindex("</think>")]
    if before == said:
        before = said[: -len(said.split()[-1])] if said else ""
    return len(PIECE.findall(before.replace("<think>", "").replace("</think>", "")))


FILTERS: dict[str, Callable[[Trace, FiltersConfig], bool]] = {
    "truncated": truncated,
    "tampered": tampered,
    "judge_directed": judge_directed,
    "without_work": without_work,
    "foreign": foreign,
    "repetitive": repetitive,
    "redundant": redundant,
    "inefficient": inefficient,
    "gave_up": gave_up,
    "unfounded": unfounded,
    "poor": poor,
}
"""Those that look at one trace alone, the cheap ones first; after them come `Contaminated`,
`Duplicates` and `NearDuplicates`."""


class Contaminated:
    """Traces whose prompt or text holds a text of the given evaluation files.

    Raises (when made):
        DataError: a file cannot be read.
    """

    def __init__(self, config: FiltersConfig) -> None:
        self._config = config.decontamination
        texts = evaluation_texts(self._config, LimitsConfig())
        self._index = build_index(texts, self._config) if texts else None

    def __call__(self, trace: Trace) -> bool:
        """Whether this trace does."""
        if self._index is None:
            return False
        words = words_of([trace.prompt, trace.said])
        return bool(contaminated(words, self._index, self._config).any())


class Duplicates:
    """Traces of a prompt that say what an earlier one of it said."""

    def __init__(self, config: FiltersConfig) -> None:
        self._is_on, self._seen = config.duplicates, set[bytes]()

    def __call__(self, trace: Trace) -> bool:
        """Whether this trace does."""
        if not self._is_on:
            return False
        text = f"{trace.prompt_key}\x1f{trace.said}".encode(errors="surrogatepass")
        digest = blake2b(text, digest_size=16).digest()
        is_new = digest not in self._seen
        self._seen.add(digest)
        return not is_new


class NearDuplicates:
    """Traces of a prompt whose shingles are nearly those of an earlier one that was kept.

    Estimated by MinHash over runs of five words; compared within a prompt only, since traces of
    different prompts may well be alike.
    """

    def __init__(self, config: FiltersConfig) -> None:
        self._limit = config.near_duplicates
        self._kept: dict[str, list[minhash.Signatures]] = {}

    def __call__(self, trace: Trace) -> bool:
        """Whether this trace is."""
        if self._limit >= 1:
            return False
        shingles = ngrams_of(words_of([trace.said]), SHINGLE)
        sketch_H = minhash.sketch(minhash.signatures(shingles, SIGNATURE))[0]
        kept = self._kept.setdefault(trace.prompt_key, [])
        if kept and minhash.similarity(np.stack(kept), sketch_H).max() >= self._limit:
            return True
        kept.append(sketch_H)
        return False


@dataclass(slots=True)
class Count:
    """What one filter dropped."""

    dropped: int = 0
    examples: list[str] = field(default_factory=list)
    """Ids of the first few, each with the beginning of what was said."""

    def add(self, trace: Trace) -> None:
        """Count this trace."""
        self.dropped += 1
        if len(self.examples) < EXAMPLES:
            said = " ".join(trace.said.split())
            self.examples.append(f"{trace.name} {said[:EXCERPT]}")


Counts = dict[str, Count]


class Sieve:
    """All filters of one run, with what they dropped.

    Example:
        sieve = Sieve(FiltersConfig())
        kept = list(sieve.kept(traces))
        sieve.counts["truncated"].dropped
    """

    def __init__(self, config: FiltersConfig) -> None:
        self._config = config
        self._later: dict[str, Callable[[Trace], bool]] = {
            "contaminated": Contaminated(config),
            "duplicate": Duplicates(config),
            "near_duplicate": NearDuplicates(config),
        }
        self.counts: Counts = {name: Count() for name in (*FILTERS, *self._later)}

    def kept(self, traces: Iterable[Trace]) -> Iterator[Trace]:
        """Those that no filter drops, in their order."""
        return (trace for trace in traces if not self.drops(trace))

    def drops(self, trace: Trace) -> bool:
        """Whether some filter drops this trace, which is then counted."""
        for name, is_bad in FILTERS.items():
            if is_bad(trace, self._config):
                self.counts[name].add(trace)
                return True
        for name, takes in self._later.items():
            if takes(trace):
                self.counts[name].add(trace)
                return True
        return False
