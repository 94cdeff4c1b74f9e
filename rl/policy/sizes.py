"""Bytes that one rank of a learner holds, by what for: arithmetic alone, without torch."""

from __future__ import annotations

from munro.rl.config import LearnerConfig

GIB = 1 << 30
CONTEXTS = 2 * GIB
"""What CUDA, cuBLAS and two processes' allocators take of a GPU beside tensors: an assumption."""
TOKENS_ON_A_CPU = 8192
"""What `token_budget = 0` means where no GPU's memory is to be filled."""
SHARE = 0.8
"""Of a GPU's memory that a micro-batch may be reckoned to fill: what passes need for a moment is
in no account."""
MOST_TOKENS = 65_536
"""From about here on a GPU is busy whatever the model, and larger micro-batches gain nothing."""
STEP_TOKENS = 1024


def base_bytes(config: LearnerConfig) -> float:
    """Of the weights as they are held, a parameter of the base."""
    lora = config.lora
    if lora is not None and lora.base_bits:
        return lora.base_bits / 8
    # in their own precision they are as large as their files: mostly bfloat16
    return 2.0 if lora is not None and lora.base_dtype == "own" else 4.0


def moment_bytes(config: LearnerConfig) -> float:
    """Of the optimizer's moments, a parameter that is trained."""
    return {"adamw": 8.0, "adamw8bit": 2.1, "muon": 4.0}[config.optimizer]


def reference_bytes(config: LearnerConfig, *, on_gpu: bool) -> float:
    """Of the model that the policy is kept near to, a parameter."""
    # an adapter is left out to have the reference
    if not config.kl_weight or config.lora is not None:
        return 0.0
    return 2.0 if config.in_bfloat16(on_gpu=on_gpu) and config.ranks == 1 else 4.0


def held(
    config: LearnerConfig, *, parameters: float, trained: float, on_gpu: bool
) -> dict[str, float]:
    """During a step, activations aside.

    Args:
        config: of the learner.
        parameters: of the whole base.
        trained: of them, or of the adapter.
        on_gpu: moments can be elsewhere.
    """
    each, own = parameters / config.ranks, trained / config.ranks
    adapter = trained if config.lora else 0.0
    wide = (parameters if base_bytes(config) == 4 else 0.0) + adapter
    # until they are summed over the ranks, every rank has those of the whole model
    summed_late = config.ranks > 1 and config.reduce_once
    halved = config.in_bfloat16(on_gpu=on_gpu)
    return {
        "weights": base_bytes(config) * each + 4 * adapter / config.ranks,
        "working copy": 2.0 * wide if halved and config.ranks == 1 else 0.0,
        "gradients": 4 * own + (4 * trained if summed_late else 0.0),
        "moments": 0.0 if on_gpu and config.offload else moment_bytes(config) * own,
        "reference": reference_bytes(config, on_gpu=on_gpu) * each,
    }


def tokens_that_fit(room: float, per_token: float) -> int:
    """Tokens of a micro-batch for so many bytes, in whole steps; one step at least."""
    whole = int(max(0.0, room) / max(per_token, 1.0)) // STEP_TOKENS * STEP_TOKENS
    return min(max(whole, STEP_TOKENS), MOST_TOKENS)
