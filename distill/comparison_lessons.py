"""Comparisons as lessons for the trainer core: permuted, mixed with candidates from elsewhere.

    c <sep> y_2 <sep> y_1 <sep> s_2 s_1        only the scores at the end are learned

The mixing is the robust reward model's (RRM, arXiv 2409.13156): a candidate that answers another
context is worse than any that answers this one, and several such are worth the same. So the model
cannot score a candidate by what it looks like without reading the context.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from munro.base_model.data.shards.packing import Lesson
from munro.distill.config import PreferenceConfig
from munro.rewards.preference.comparisons import Comparison
from munro.rewards.preference.format import Pieces, PreferenceFormat

FOREIGN_SCORE = 1
MOST_DRAWS = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate as tokens, with its score."""

    token_ids: tuple[int, ...]
    score: int


def split_by_context(
    comparisons: Sequence[Comparison], share: float, seed: int
) -> tuple[list[Comparison], list[Comparison]]:
    """(training, held out): about `share` of the contexts, and at least one on either side.

    Which ones depends on the contexts and the seed alone, not on their order or number of
    comparisons. With a single context everything is for training.
    """
    contexts = sorted(
        {comparison.context for comparison in comparisons},
        key=lambda context: sha256(f"{seed}:{context}".encode(errors="replace")).digest(),
    )
    count = min(max(round(share * len(contexts)), 1), len(contexts) - 1)
    held_out = set(contexts[:count])
    return (
        [one for one in comparisons if one.context not in held_out],
        [one for one in comparisons if one.context in held_out],
    )


class ComparisonLessons:
    """Endless lessons from comparisons, each seen once an epoch: a pure function of the index.

    Args:
        comparisons: what is learned; at least two contexts where candidates come from elsewhere.
        form: of the model's tokenizer.
        config: orders, shares and the seed.
    """

    def __init__(
        self, comparisons: Sequence[Comparison], form: PreferenceFormat, config: PreferenceConfig
    ) -> None:
        self._format, self._config = form, config
        self._contexts = [comparison.context for comparison in comparisons]
        self._pieces = [form.pieces(one.context, one.candidates) for one in comparisons]
        self._scores = [comparison.scores for comparison in comparisons]
        self._epoch, self._order = -1, list(range(len(comparisons)))

    @property
    def longest(self) -> int:
        """Tokens that no lesson exceeds."""
        candidates = [len(ids) for pieces in self._pieces for ids in pieces.candidates]
        context = max(len(pieces.context) for pieces in self._pieces)
        return 2 + context + self._format.limits.candidates * (max(candidates) + 2)

    @property
    def num_cut(self) -> int:
        """Candidates and contexts that are longer than the limits."""
        return sum(sum(pieces.cut) + pieces.context_cut for pieces in self._pieces)

    def tokens(self, index: int, progress: float) -> Lesson:  # noqa: ARG002 - the core's interface
        """Lesson `index`; see `munro.base_model.training.pretrain.Documents`."""
        rng = random.Random(f"{self._config.seed}:{index}")
        number = self._number(index)
        candidates = self._candidates(number, rng)
        if self._config.permute:
            rng.shuffle(candidates)
        shown = Pieces(
            context=self._pieces[number].context,
            candidates=tuple(one.token_ids for one in candidates),
            cut=(False,) * len(candidates),
            context_cut=False,
        )
        prompt = self._format.prompt(shown, range(len(candidates)))
        scores = [self._format.score_ids[one.score - 1] for one in candidates]
        return Lesson([*prompt, *scores], [False] * len(prompt) + [True] * len(scores))

    def _number(self, index: int) -> int:
        """Which comparison lesson `index` is about: every epoch in an order of its own."""
        epoch, place = divmod(index, len(self._pieces))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(len(self._pieces)))
            random.Random(f"{self._config.seed}:epoch {epoch}").shuffle(self._order)
        return self._order[place]

    def _candidates(self, number: int, rng: random.Random) -> list[Candidate]:
        """Those of the comparison, as many as the model is shown, some or all exchanged."""
        config, most = self._config, self._format.limits.candidates
        pairs = zip(self._pieces[number].candidates, self._scores[number], strict=True)
        own = [Candidate(ids, score) for ids, score in pairs]
        if len(own) > most:
            own = [own[i] for i in sorted(rng.sample(range(len(own)), most))]
        draw = rng.random()
        if draw < config.neutral_share:
            return [self._foreign(number, rng) for _ in own]
        if draw < config.neutral_share + config.foreign_share:
            if len(own) < most:
                return [*own, self._foreign(number, rng)]
            own[rng.randrange(len(own))] = self._foreign(number, rng)
        return own

    def _foreign(self, number: int, rng: random.Random) -> Candidate:
        """Somebody else's candidate: of another context, and not a text that this one has too."""
        own = set(self._pieces[number].candidates)
        for _ in range(MOST_DRAWS):
            other = rng.randrange(len(self._pieces))
            ids = rng.choice(self._pieces[other].candidates)
            if self._contexts[other] != self._contexts[number] and ids not in own:
                return Candidate(ids, FOREIGN_SCORE)
        # nearly all comparisons share this context: one of its own stays as it is
        kept = rng.randrange(len(self._scores[number]))
        return Candidate(self._pieces[number].candidates[kept], self._scores[number][kept])
