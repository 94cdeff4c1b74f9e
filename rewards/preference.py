"""The preference model: a language model that reads candidates side by side and writes scores.

    c <sep> y_1 <sep> ... y_k <sep>   ──►   s_1 ... s_k,  each one of the tokens "1" to "5"

To score, the candidates are rotated so that each stands first once, one token is decoded, and the
reward of the one that stands first is P(its score is 5): what a place in the list is worth cancels.
Source: MAI-Thinking-1 report, section 3.4.1.

    model = PreferenceModel.load("checkpoints/preference")
    model.score("What is a cairn?", ["A heap of stones.", "A dog."])    # [0.93, 0.02]

Candidates are hostile text: a special token spelled out in one is encoded as plain text, so no
candidate can end itself and begin another. A model of any causal architecture will do whose
tokenizer has the five digits as tokens and a special token to separate with.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rewards.comparisons import SCORES
from rewards.types import Grade

log = logging.getLogger(__name__)

SEPARATOR = "<|im_sep|>"
PREFERENCE = "preference.json"
"""What `munro preference train` writes into a checkpoint: limits, and how well it did."""

DEFAULT_CANDIDATES = 4
"""k where a checkpoint does not say (the report does not either)."""

DEFAULT_TOKENS = 2048
"""Of a context and of a candidate, where nobody says otherwise and the model holds as much."""

MOST_CHARS_PER_TOKEN = 64
"""Text beyond the limit in tokens times this is not even tokenised."""


class NotAPreferenceModel(ValueError):
    """This checkpoint cannot score candidates; says why, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is shown to the model at once."""

    candidates: int
    """k: most candidates in one prompt; a larger group is scored in blocks."""
    context_tokens: int
    """Of a longer context the end is kept."""
    candidate_tokens: int
    """Of a longer candidate the beginning is kept."""

    @property
    def total_tokens(self) -> int:
        """Of the longest prompt with its scores: a start token, separators and scores included."""
        return 2 + self.context_tokens + self.candidates * (self.candidate_tokens + 2)

    @classmethod
    def fitting(
        cls,
        max_length: int,
        candidates: int,
        *,
        context_tokens: int = DEFAULT_TOKENS,
        candidate_tokens: int = DEFAULT_TOKENS,
    ) -> Self:
        """These limits, or where `max_length` tokens do not hold that much, equal shares of it."""
        room = max_length - 2 - 2 * candidates
        context = max(min(context_tokens, room // (candidates + 1)), 0)
        candidate = max(min(candidate_tokens, (room - context) // candidates), 0)
        return cls(candidates=candidates, context_tokens=context, candidate_tokens=candidate)

    @classmethod
    def of_checkpoint(cls, path: Path) -> Self | None:
        """Those that the checkpoint was trained with, or None where it does not say.

        Raises:
            NotAPreferenceModel: what it says cannot be read.
        """
        file = path / PREFERENCE
        if not file.is_file():
            return None
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8"))["limits"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotAPreferenceModel(f"{file} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A context and its candidates as tokens, not yet in any order."""

    context: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    cut: tuple[bool, ...]
    """Whether each candidate was longer than the limit."""
    context_cut: bool


class PreferenceFormat:
    """How comparisons become tokens, for one tokenizer.

    Args:
        tokenizer: of the model, a `PreTrainedTokenizerBase`.
        limits: what is cut where.

    Raises:
        NotAPreferenceModel: the tokenizer lacks a score token or anything to separate with.
    """

    def __init__(self, tokenizer: Any, limits: Limits) -> None:
        self._tokenizer = tokenizer
        self.limits = limits
        self.separator = separator_of(tokenizer)
        self.score_ids = score_ids_of(tokenizer)
        starts = tokenizer("")["input_ids"][:1]
        self._start = starts if starts == [tokenizer.bos_token_id] else []

    def pieces(self, context: str, candidates: Sequence[str]) -> Pieces:
        """Tokenise and cut; special tokens spelled out in a text become plain text."""
        limits = self.limits
        ids, context_cut = self._encode(context, limits.context_tokens, keep_end=True)
        encoded = [self._encode(one, limits.candidate_tokens) for one in candidates]
        return Pieces(
            context=ids,
            candidates=tuple(ids for ids, _ in encoded),
            cut=tuple(cut for _, cut in encoded),
            context_cut=context_cut,
        )

    def prompt(self, pieces: Pieces, order: Sequence[int]) -> list[int]:
        """`c <sep> y <sep> ... y <sep>` with the candidates in this order (indices)."""
        ids = [*self._start, *pieces.context, self.separator]
        for index in order:
            ids += [*pieces.candidates[index], self.separator]
        return ids

    def _encode(
        self, text: str, most: int, *, keep_end: bool = False
    ) -> tuple[tuple[int, ...], bool]:
        chars = most * MOST_CHARS_PER_TOKEN
        shown = text[-chars:] if keep_end else text[:chars]
        # lone surrogates have no UTF-8, which is what tokenizers read
        shown = shown.encode("utf-8", "replace").decode("utf-8")
        ids = self._tokenizer(
            shown, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        # a vocabulary of whole words may hold the separator as a word too
        ids = [token for token in ids if token != self.separator]
        kept = ids[max(len(ids) - most, 0) :] if keep_end else ids[:most]
        return tuple(kept), len(kept) < len(ids) or len(text) > chars


def separator_of(tokenizer: Any) -> int:
    """Id of the special token between candidates: `<|im_sep|>`, else the tokenizer's separator,
    else its end of text.

    Raises:
        NotAPreferenceModel: it has none of them.
    """
    added = tokenizer.added_tokens_decoder
    named = [token for token, what in added.items() if what.special and what.content == SEPARATOR]
    for token in (*named, tokenizer.sep_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise NotAPreferenceModel(
        f"{tokenizer.name_or_path}: the tokenizer has no special token to separate candidates "
        f"with. Add {SEPARATOR}, a separator or an end-of-text token to it."
    )


def score_ids_of(tokenizer: Any) -> tuple[int, ...]:
    """Ids of the tokens "1" to "5".

    Raises:
        NotAPreferenceModel: one of them is not a single token.
    """
    vocabulary = tokenizer.get_vocab()
    for score in SCORES:
        if str(score) not in vocabulary:
            raise NotAPreferenceModel(
                f"{tokenizer.name_or_path}: {score} is not a single token of the vocabulary, and "
                "scores are written as the tokens 1 to 5. Choose a checkpoint whose tokenizer "
                "has them."
            )
    return tuple(int(vocabulary[str(score)]) for score in SCORES)


class Scorer(Protocol):
    """What decodes the one token: a local model or an endpoint."""

    def probabilities(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """(N, 5) probability of each score token after each prompt; every row sums to 1.

        Raises:
            GraderError: no score could be had.
        """
        ...


class PreferenceModel:
    """Scores candidates side by side.

    Rewards are P(score = 5) normalised over the five score tokens, which is all that some
    endpoints tell; in a trained model nothing else has any probability worth the name.

    Args:
        format: of the model's tokenizer.
        scorer: the model.
    """

    def __init__(self, format: PreferenceFormat, scorer: Scorer) -> None:
        self.format = format
        self._scorer = scorer

    @classmethod
    def load(cls, path: Path | str, *, device: str = "", max_batch_tokens: int = 16384) -> Self:
        """A checkpoint, run by transformers in this process.

        Args:
            path: a checkpoint folder, best one that `munro preference train` wrote.
            device: as torch names it; empty takes a GPU where there is one.
            max_batch_tokens: prompt tokens, padding included, that go through the model at once.

        Raises:
            NotAPreferenceModel: it is no checkpoint, or one that cannot score.
        """
        from rewards.preference_scorers import LocalScorer, load_model, load_tokenizer

        folder = Path(path).expanduser()
        tokenizer = load_tokenizer(folder)
        model = load_model(folder, device)
        form = PreferenceFormat(tokenizer, _limits(folder, max_length(model.config)))
        return cls(form, LocalScorer(model, form.score_ids, max_batch_tokens=max_batch_tokens))

    @classmethod
    def connect(
        cls,
        base_url: str,
        model: str,
        *,
        tokenizer: Path | str,
        api_key: str = "none",
        timeout_s: float = 120.0,
    ) -> Self:
        """A checkpoint behind an OpenAI-compatible completions endpoint, such as vLLM's.

        Args:
            base_url: for example "http://localhost:8000/v1".
            model: the name under which it is served.
            tokenizer: the checkpoint's folder, for its tokenizer and limits alone.
            api_key: sent along.
            timeout_s: of one request.

        Raises:
            NotAPreferenceModel: the folder is no checkpoint, or one that cannot score.
        """
        from rewards.preference_scorers import EndpointScorer, load_config, load_tokenizer

        folder = Path(tokenizer).expanduser()
        limits = _limits(folder, max_length(load_config(folder)))
        form = PreferenceFormat(load_tokenizer(folder), limits)
        scorer = EndpointScorer(
            base_url, model, form.score_ids, api_key=api_key, timeout_s=timeout_s
        )
        return cls(form, scorer)

    def score(self, context: str, candidates: Sequence[str]) -> list[float]:
        """A reward in [0, 1] per candidate: P(score token = 5) where it stands first.

        More candidates than `format.limits.candidates` are scored in blocks of nearly equal size,
        in their order. What had to be cut is logged.

        Raises:
            GraderError: no score could be had.
        """
        return self.score_many([(context, candidates)])[0]

    def score_many(self, sets: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """As `score`, for many contexts at once, batched together."""
        return self._rotated([self._pieces(context, candidates) for context, candidates in sets])

    def score_first(self, sets: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
        """P(score = 5) of the candidate that stands first in each set, without other rotations.

        A set holds at most `format.limits.candidates`.
        """
        pieces = [self._pieces(context, candidates) for context, candidates in sets]
        prompts = [self.format.prompt(one, range(len(one.candidates))) for one in pieces]
        rewards: list[float] = self._scorer.probabilities(prompts)[:, -1].tolist()
        return rewards

    def grade(self, context: str, candidates: Sequence[str]) -> list[Grade]:
        """As `score`, as grades whose reason says what was cut."""
        pieces = self._pieces(context, candidates)
        context_cut = f"context cut to its last {self.format.limits.context_tokens} tokens"
        own_cut = f"cut to its first {self.format.limits.candidate_tokens} tokens"
        return [
            Grade(
                reward=reward,
                parts={"preference": reward},
                reason=", ".join([own_cut] * cut + [context_cut] * pieces.context_cut),
            )
            for reward, cut in zip(self._rotated([pieces])[0], pieces.cut, strict=True)
        ]

    def score_without_rotation(
        self, sets: Sequence[tuple[str, Sequence[str]]]
    ) -> list[list[float]]:
        """P(score = 5) of every candidate from one reading in the order given.

        For measuring what rotation is good for. Each score is decoded after the likeliest scores
        of those that stand before it. A set holds at most `format.limits.candidates`.
        """
        pieces = [self._pieces(context, candidates) for context, candidates in sets]
        prompts = [self.format.prompt(one, range(len(one.candidates))) for one in pieces]
        found: list[list[float]] = [[] for _ in pieces]
        for place in range(max((len(one.candidates) for one in pieces), default=0)):
            rows = [row for row, one in enumerate(pieces) if place < len(one.candidates)]
            probabilities = self._scorer.probabilities([prompts[row] for row in rows])
            for row, probability in zip(rows, probabilities, strict=True):
                found[row].append(float(probability[-1]))
                prompts[row].append(self.format.score_ids[int(probability.argmax())])
        return found

    def _rotated(self, sets: Sequence[Pieces]) -> list[list[float]]:
        prompts = [
            self.format.prompt(pieces, order)
            for pieces in sets
            for block in blocks(len(pieces.candidates), self.format.limits.candidates)
            for order in rotations(block)
        ]
        rewards = iter(self._scorer.probabilities(prompts)[:, -1].tolist())
        return [[next(rewards) for _ in pieces.candidates] for pieces in sets]

    def _pieces(self, context: str, candidates: Sequence[str]) -> Pieces:
        pieces = self.format.pieces(context, candidates)
        if pieces.context_cut or any(pieces.cut):
            log.warning(
                "preference model: cut %d of %d candidates to %d tokens%s",
                sum(pieces.cut),
                len(pieces.cut),
                self.format.limits.candidate_tokens,
                f", the context to {self.format.limits.context_tokens}" * pieces.context_cut,
            )
        return pieces


def rotations(block: Sequence[int]) -> list[tuple[int, ...]]:
    """Every cyclic rotation, the i-th beginning with the i-th of `block`.

    Example:
        rotations([0, 1, 2])  # [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    """
    return [(*block[first:], *block[:first]) for first in range(len(block))]


def blocks(num_candidates: int, most: int) -> list[range]:
    """Consecutive ranges of at most `most` candidates whose sizes differ by at most one.

    Example:
        blocks(5, 4)  # [range(0, 3), range(3, 5)]
    """
    count = -(-num_candidates // most)
    edges = [-(-num_candidates * block // count) for block in range(count + 1)] if count else [0]
    return [range(start, end) for start, end in pairwise(edges)]


def max_length(config: Any) -> int:
    """Tokens that a model of this transformers config is made for; huge where it knows no end."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or sys.maxsize)


def write_preference(folder: Path, limits: Limits, figures: dict[str, Any]) -> None:
    """Say in a checkpoint how it is to be used, and how well it did."""
    text = json.dumps({"limits": asdict(limits), **figures}, indent=2)
    (folder / PREFERENCE).write_text(text + "\n", encoding="utf-8")


def _limits(folder: Path, max_length: int) -> Limits:
    return Limits.of_checkpoint(folder) or Limits.fitting(max_length, DEFAULT_CANDIDATES)
