"""Tiny models and groups of random trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from munro.envs.types import KeptTokens
from munro.rollout.types import Group
from tests.builders import make_attempt, make_group, make_trajectory

VOCAB = 97


def make_model(*, tied: bool = True, seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A two-layer Llama with grouped-query attention and weights large enough to matter."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "tie_word_embeddings": tied,
    }
    return LlamaForCausalLM(LlamaConfig(**(shape | changes)))


def save_model(folder: Path, model: Any | None = None) -> str:
    """A folder that transformers loads, tokenizer included."""
    (model or make_model()).save_pretrained(folder)
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
    return str(folder)


def random_group(
    rng: np.random.Generator,
    *,
    num_attempts: int = 4,
    num_prompt: int = 6,
    longest: int = 7,
    nucleus: int = 5,
    turns: int = 1,
    forks: int = 0,
    index: int = 0,
) -> Group:
    """Attempts at one prompt with random tokens, rewards, nuclei and behaviour log-probs.

    With more turns, observations stand between the sampled stretches. With forks, about so many
    tokens of each attempt follow any other that came before.
    """
    prompt = rng.integers(0, VOCAB, num_prompt)
    attempts = []
    for attempt in range(num_attempts):
        ids, sampled = [*prompt], [False] * num_prompt
        for turn in range(turns):
            reply = rng.integers(0, VOCAB, rng.integers(1, longest + 1))
            seen = rng.integers(0, VOCAB, 2 if turn + 1 < turns else 0)
            ids += [*reply, *seen]
            sampled += [True] * len(reply) + [False] * len(seen)
        trajectory = make_trajectory(
            token_ids=np.array(ids, np.int32),
            sampled=np.array(sampled),
            behaviour_logp=np.where(sampled, rng.normal(-2, 1.0, len(ids)), 0).astype(np.float32),
            kept=random_nucleus(rng, ids, sampled, nucleus),
            versions=np.where(sampled, 0, -1).astype(np.int32),
            forks=random_forks(rng, sampled, num_prompt, forks),
        )
        attempts.append(make_attempt(float(attempt % 3) + attempt / 10, trajectory=trajectory))
    return make_group(index=index, attempts=tuple(attempts))


def random_forks(
    rng: np.random.Generator, sampled: list[bool], num_prompt: int, most: int
) -> tuple[tuple[int, int], ...]:
    """Up to so many places after the prompt that follow an earlier token, sampled or not."""
    if not most:
        return ()
    places = np.unique(rng.integers(num_prompt, len(sampled), rng.integers(0, most + 1)))
    # nothing predicts the first token of all, so it must not be sampled
    return tuple(
        (int(place), int(rng.integers(0 if sampled[place] else -1, place))) for place in places
    )


def random_nucleus(
    rng: np.random.Generator, ids: list[int], sampled: list[bool], most: int
) -> KeptTokens:
    """Up to `most` ids for every sampled position, its own among them; none when `most` is 0."""
    kept, starts = [], [0]
    for token, is_sampled in zip(ids, sampled, strict=True):
        if is_sampled and most:
            others = rng.choice(VOCAB, rng.integers(0, most), replace=False)
            kept += [token, *(other for other in others if other != token)]
        starts.append(len(kept))
    return KeptTokens(ids=np.array(kept, np.int32), starts=np.array(starts, np.int32))
