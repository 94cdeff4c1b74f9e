"""The stage `paraphrase`: questions that say the same in other words, by a model of texts.

    question ──► vector ──┬─► like an evaluation question's                     left out
                          └─► like an earlier question's, with its numbers and  left out
                              its answer
                                                                   anything else stays

Off unless `[models.embedder]` names a model at an address: what is nearly equal in its words the
stages before find by themselves. Numbers weigh little in such vectors, so of two questions that are
alike only those with the same numbers and the same answer are one.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.questions.clean.curate import dropped
from munro.questions.clean.likeness import even, numbers
from munro.questions.config import EmbedderConfig, ParaphraseConfig
from munro.questions.errors import QuestionsError
from munro.questions.stages import Outcome
from munro.questions.types import Question

STAGE = "paraphrase"
ROWS = 1024
"""Questions that are compared with all before them at once."""
MOST_CHARACTERS = 8000
"""Of a text that is sent; a question is shorter."""

Vectors = NDArray[np.float32]
Embedder = Callable[[Sequence[str]], Vectors]
"""(N,) texts to (N, D) vectors of length 1."""


def without_paraphrases(
    questions: Sequence[Question],
    tested: Sequence[tuple[str, str]],
    config: ParaphraseConfig,
    embed: Embedder,
) -> Outcome:
    """Questions that neither an evaluation set nor an earlier question asks in other words.

    Args:
        questions: all of them, in drop order.
        tested: (place, text) of the evaluation questions.
        config: how alike is alike.
        embed: asked about every text once.
    """
    outcome = Outcome()
    if not questions:
        return outcome
    ours = embed([even(one.question) for one in questions])
    theirs = embed([even(text) for _, text in tested]) if tested else ours[:0]
    held: dict[tuple[tuple[str, ...], str], list[int]] = defaultdict(list)
    for first in range(0, len(questions), ROWS):
        block = ours[first : first + ROWS]
        against = block @ theirs.T
        for at in range(first, min(first + ROWS, len(questions))):
            one, row = questions[at], against[at - first]
            if len(row) and row.max() >= config.evaluation:
                place = tested[int(row.argmax())][0]
                why = f"{place}, {row.max():.3f}"
                reason = "an evaluation set has it in other words"
                outcome.dropped.append(dropped(STAGE, one, reason, why))
                continue
            some = held[numbers(one.question), even(one.answer)]
            likeness = ours[some] @ ours[at] if some else ours[:0, 0]
            if len(some) and likeness.max() >= config.duplicates:
                same = questions[some[int(likeness.argmax())]].id
                outcome.dropped.append(dropped(STAGE, one, "a paraphrase", same))
                continue
            some.append(at)
            outcome.kept.append(one)
    return outcome


def at_address(config: EmbedderConfig) -> Embedder:
    """Vectors by the model of an OpenAI-compatible address.

    Raises (when called):
        QuestionsError: it gives none; the same command goes on once that is mended.
    """
    from openai import OpenAI, OpenAIError

    def embed(texts: Sequence[str]) -> Vectors:
        made: list[Any] = []
        with OpenAI(
            base_url=config.base_url,
            api_key=os.environ.get(config.api_key_env, "") or "none",
            timeout=config.timeout_s,
            max_retries=config.retries,
        ) as client:
            for first in range(0, len(texts), config.batch):
                some = [_sendable(text) for text in texts[first : first + config.batch]]
                try:
                    done = client.embeddings.create(
                        model=config.model, input=some, encoding_format="float"
                    )
                    made += _vectors(done, len(some))
                except (OpenAIError, ValueError, TypeError, AttributeError) as failure:
                    why = " ".join(str(failure).split())[:200] or type(failure).__name__
                    raise QuestionsError(
                        f"models.embedder, {config.model} at {config.base_url}, gives no vectors "
                        f"({why}): mend that; then the same command goes on."
                    ) from None
        return _even_lengths(made, config)

    return embed


def _sendable(text: str) -> str:
    return text[:MOST_CHARACTERS].encode("utf-8", "replace").decode("utf-8") or " "


def _vectors(done: Any, count: int) -> list[list[float]]:
    if len(done.data) != count:
        raise ValueError(f"{len(done.data)} vectors for {count} texts")
    return [one.embedding for one in sorted(done.data, key=lambda one: one.index)]


def _even_lengths(made: Sequence[Sequence[float]], config: EmbedderConfig) -> Vectors:
    """Vectors of length 1, so that a product is a cosine."""
    try:
        raw = np.array(made, np.float32)
        lengths = np.linalg.norm(raw, axis=1, keepdims=True)
        usable = bool(np.isfinite(raw).all() and (lengths > 0).all())
    except (ValueError, TypeError, np.exceptions.AxisError):
        usable = False
    if not usable:
        raise QuestionsError(
            f"models.embedder, {config.model} at {config.base_url}, gives vectors that are none: "
            "not of one length, zero, or not numbers. Name a model of texts."
        )
    unit: Vectors = raw / lengths
    return unit
