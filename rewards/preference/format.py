"""How candidates become one prompt for the preference model, and what is cut where.

    c <sep> y_1 <sep> ... y_k <sep>

Everything here is about tokens; the model is in `munro.rewards.preference.model`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from munro.rewards.preference.comparisons import SCORES

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

    is_sentence = True


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
