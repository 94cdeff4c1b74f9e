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

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from munro.rewards.preference.format import (
    DEFAULT_CANDIDATES,
    Limits,
    Pieces,
    PreferenceFormat,
    blocks,
    max_length,
    rotations,
)
from munro.rewards.types import Grade

if TYPE_CHECKING:
    from munro.rewards.serving.config import JudgeServerConfig

log = logging.getLogger(__name__)

LOGS = "~/.cache/munro/preference"
"""Where servers that are started for a checkpoint write their log."""


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
        self._on_close = ExitStack()

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
        from munro.rewards.preference.scorers import LocalScorer, load_model, load_tokenizer

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
        from munro.rewards.preference.scorers import EndpointScorer, load_config, load_tokenizer

        folder = Path(tokenizer).expanduser()
        limits = _limits(folder, max_length(load_config(folder)))
        form = PreferenceFormat(load_tokenizer(folder), limits)
        scorer = EndpointScorer(
            base_url, model, form.score_ids, api_key=api_key, timeout_s=timeout_s
        )
        return cls(form, scorer)

    @classmethod
    def serve(
        cls, path: Path | str, server: JudgeServerConfig | None = None, *, logs: str = LOGS
    ) -> Self:
        """A checkpoint behind a vLLM server that is started for it, and ended by `close`.

        Args:
            path: a checkpoint folder.
            server: how to start it.
            logs: folder for the server's log.

        Raises:
            GraderError: the server did not start, or not in time.
            NotAPreferenceModel: it is no checkpoint, or one that cannot score.
        """
        from munro.rewards.preference.scorers import require_checkpoint
        from munro.rewards.serving import server as judge_server
        from munro.rewards.serving.config import JudgeServerConfig

        require_checkpoint(Path(path).expanduser())
        config = server or JudgeServerConfig()
        started = judge_server.acquire(str(path), config, logs=logs)
        try:
            name, key = judge_server.SERVED_NAME, started.key
            model = cls.connect(started.base_url, name, tokenizer=path, api_key=key)
        except BaseException:
            judge_server.release(started)
            raise
        model._on_close.callback(judge_server.release, started)
        return model

    def close(self) -> None:
        """End the server that was started for this model, if any. Safe to call twice."""
        self._on_close.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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


def _limits(folder: Path, most_tokens: int) -> Limits:
    trained = Limits.of_checkpoint(folder)
    if trained is None:
        log.warning("%s was not written by munro preference train: can it score at all?", folder)
    return trained or Limits.fitting(most_tokens, DEFAULT_CANDIDATES)
