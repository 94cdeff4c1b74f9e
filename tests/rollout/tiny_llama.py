"""A random Llama small enough for every test, and what an engine must have sampled from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from munro.rollout.engine import Completion, Request, WeightSource
from munro.rollout.weights import SharedMemoryWeights, checkpoint_tensors
from tests.rounding import FACTOR, bound, depth

VOCAB = 300
CONTEXT = 256


def tiny_llama(*, tied: bool, seed: int = 0) -> LlamaForCausalLM:
    """Two layers, four heads of 32; spread so that nuclei hold from one to dozens of tokens."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


LOGITS = 16.0
"""No logit of these models is larger, be it at a temperature of 0.8."""
ROUNDING = bound(depth(tiny_llama(tied=True), CONTEXT), LOGITS)
"""The most by which rounding moves a log-prob of these models."""
HAIR = ROUNDING / FACTOR
"""By how much it moves them on average, were all logits that large."""


def tiny_experts() -> Qwen3MoeForCausalLM:
    """Two layers of eight experts, two of which see each token."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=128,
        moe_intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        initializer_range=0.2,
        mlp_only_layers=[],
    )
    return Qwen3MoeForCausalLM(config).eval()


def requests(
    num: int,
    *,
    max_tokens: int = 24,
    top_k: int = 32,
    top_p: float = 0.9,
    stop_token_ids: tuple[int, ...] = (),
) -> list[Request]:
    """Groups of four share a prompt; no two share a seed."""
    rng = np.random.default_rng(7)
    prompts = [rng.integers(2, VOCAB, size=5 + 7 * (i % 5)).tolist() for i in range(num)]
    return [
        Request(
            key=(i // 4, i % 4, 0, 0),
            prompt_ids=prompts[i // 4],
            max_tokens=max_tokens,
            seed=1000 + i,
            top_k=top_k,
            top_p=top_p,
            temperature=0.8,
            stop_token_ids=stop_token_ids,
        )
        for i in range(num)
    ]


@torch.inference_mode()
def logits_of(
    model: PreTrainedModel, request: Request, completion: Completion
) -> NDArray[np.float64]:
    """(T, V) at the request's temperature, before each sampled token."""
    ids = torch.tensor([[*request.prompt_ids, *completion.token_ids.tolist()]])
    logits = model(ids).logits[0, len(request.prompt_ids) - 1 : -1]
    return logits.double().numpy() / request.temperature


def kept_of(completion: Completion, position: int) -> list[int]:
    """The recorded nucleus of one position, sorted."""
    starts = completion.kept.starts
    return sorted(completion.kept.ids[starts[position] : starts[position + 1]].tolist())


def nucleus_by_hand(
    logits_V: NDArray[np.float64], *, top_k: int, top_p: float
) -> tuple[list[int], float]:
    """Top-k, then top-p, one token after another in float64; and how near a tie it was decided."""
    order = np.argsort(-logits_V, kind="stable")
    mass_V = np.exp(logits_V - logits_V.max())
    mass_K = mass_V[order[:top_k]] / mass_V[order[:top_k]].sum()
    kept: list[int] = []
    above, margin = 0.0, 1.0
    if top_k < len(order):
        margin = float(logits_V[order[top_k - 1]] - logits_V[order[top_k]])
    for token, mass in zip(order[:top_k], mass_K, strict=True):
        margin = min(margin, abs(above - top_p))
        if kept and above >= top_p:
            break
        kept.append(int(token))
        above += mass
    return sorted(kept), margin


def mismatch(
    model: PreTrainedModel, asked: Sequence[Request], completions: Sequence[Completion]
) -> float:
    """Mean |behaviour log-prob - transformers' renormalised over the recorded nucleus|."""
    differences: list[float] = []
    for request, completion in zip(asked, completions, strict=True):
        logits_TV = logits_of(model, request, completion)
        for i, token in enumerate(completion.token_ids):
            kept = kept_of(completion, i) or list(range(VOCAB))
            assert token in kept
            total = np.logaddexp.reduce(logits_TV[i, kept])
            differences.append(abs(float(completion.logp[i]) - (logits_TV[i, token] - total)))
    return float(np.mean(differences))


def assert_nuclei_are_exact(
    model: PreTrainedModel, asked: Sequence[Request], completions: Sequence[Completion]
) -> None:
    """Every recorded set is the one worked out by hand; positions decided by a hair are let off."""
    widths: set[int] = set()
    num_let_off = num_all = 0
    for request, completion in zip(asked, completions, strict=True):
        logits_TV = logits_of(model, request, completion)
        for i in range(len(completion.token_ids)):
            expected, margin = nucleus_by_hand(
                logits_TV[i], top_k=request.top_k, top_p=request.top_p
            )
            num_all += 1
            if margin < HAIR:
                num_let_off += 1
                continue
            assert kept_of(completion, i) == expected
            widths.add(len(expected))
    assert num_let_off <= num_all // 20
    assert len(widths) > 5, "a test of nuclei that are all alike proves little"


def assert_same(first: Sequence[Completion], second: Sequence[Completion]) -> None:
    """Bit by bit."""
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
        np.testing.assert_array_equal(one.logp, other.logp)
        np.testing.assert_array_equal(one.kept.ids, other.kept.ids)
        np.testing.assert_array_equal(one.kept.starts, other.kept.starts)


@torch.no_grad()
def nudge(model: PreTrainedModel, *, seed: int) -> None:
    """What a few optimizer steps would do: every weight moves a little."""
    rng = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight += 0.05 * weight.std() * torch.randn(weight.shape, generator=rng)
        weight += 0.02 * torch.randn(weight.shape, generator=rng)


def publish(model: PreTrainedModel, folder: Path, version: int) -> WeightSource:
    """Hand the model's weights over as the learner does."""
    tensors = checkpoint_tensors(model, model.state_dict())
    return SharedMemoryWeights(folder).publish(tensors.items(), version)
