"""Small real checkpoints, and scorers whose scores are known, for the preference model's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import ModelConfig
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small.quickstart import new_model
from munro.rewards.preference import PreferenceModel
from munro.rewards.preference.format import Limits, PreferenceFormat

WORDS = ("cairn", "loch", "ridge", "deer", "bothy", "glen")


@cache
def tokenizer(max_context: int = 64) -> Any:
    """Every word of `WORDS` is a token, with and without a space before it."""
    texts = [" ".join(WORDS), *WORDS] * 50
    return train_tokenizer(texts, vocab_size=360, max_context=max_context)


def write_tiny(folder: Path, *, max_context: int = 64, **shape: int) -> Path:
    """An untrained Llama of one small layer, as a checkpoint."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_layers": 1, "num_heads": 1, **shape}
    config = ModelConfig(architecture="llama", max_context=max_context, **sizes)
    model = new_model(config, tokenizer(max_context))
    Checkpoint.write(folder, model=model, tokenizer=tokenizer(max_context))
    return folder


class KnownScorer:
    """Gives P(5) by a rule over the texts that a prompt shows, and the rest to score 1."""

    def __init__(self, form: PreferenceFormat, rule: Callable[[str, list[str]], float]) -> None:
        self._format, self._rule = form, rule
        self.prompts: list[list[int]] = []

    def probabilities(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        self.prompts += [list(prompt) for prompt in prompts]
        best = np.array([self._rule(*self.shown(prompt)) for prompt in prompts])
        zero = np.zeros(len(prompts))
        return np.stack([1 - best, zero, zero, zero, best], axis=1)

    def shown(self, prompt: Sequence[int]) -> tuple[str, list[str]]:
        """The context, then candidates, then what follows the last separator."""
        parts: list[list[int]] = [[]]
        for token in prompt:
            if token == self._format.separator:
                parts.append([])
            else:
                parts[-1].append(token)
        context, *rest = (tokenizer().decode(part) for part in parts)
        return context, rest


def known_model(
    rule: Callable[[str, list[str]], float], *, candidates: int = 4
) -> tuple[PreferenceModel, KnownScorer]:
    """A preference model that answers by a rule; `rule(context, [first, ..., last, scores])`."""
    limits = Limits(candidates=candidates, context_tokens=20, candidate_tokens=8)
    form = PreferenceFormat(tokenizer(), limits)
    scorer = KnownScorer(form, rule)
    return PreferenceModel(form, scorer), scorer
