"""What a backward pass will need to have kept, found out without weights, memory or arithmetic.

The model is made of tensors that have a shape and nothing in it; its forward pass then says what it
would save for the backward pass, by PyTorch's own account of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from munro.base_model.device.working import working_copy
from munro.kernels import attention
from munro.rl.config import LearnerConfig
from munro.rl.policy.sizes import CONTEXTS, SHARE, held, tokens_that_fit

WITHOUT_MASK = "munro-without-mask"
UNKNOWN = 16
"""Widths that a token keeps in a layer, where the model cannot be run without numbers."""


def kept_bytes(model: Path, *, num_tokens: int, row: int, checkpointing: bool, halved: bool) -> int:
    """Bytes that a micro-batch's forward pass keeps for its backward pass, logits aside.

    Roughly, by its widths, for a model that looks at numbers as it computes, as some mixtures do.

    Args:
        model: folder of a checkpoint, of which the config is read.
        num_tokens: of the micro-batch.
        row: tokens of each of its rows.
        checkpointing: activations are computed again.
        halved: weights and products are in bfloat16.
    """
    config, rows = _config_of(model), max(1, num_tokens // row)
    try:
        return _saved(config, rows, row, checkpointing=checkpointing, halved=halved)
    except Exception:  # noqa: BLE001 - a model may look at numbers, which are not there
        return _by_widths(config, rows * row, checkpointing=checkpointing)


ROW = 2048
"""Tokens of a row for which `token_budget` reckons: a token of a longer one keeps no more."""


def token_budget(
    model: Path,
    config: LearnerConfig,
    *,
    parameters: int,
    trained: int,
    vocabulary: int,
    gpu_bytes: int,
) -> int:
    """Tokens of a micro-batch that a GPU's memory has room for, beside what a rank holds of it.

    Args:
        model: folder of the checkpoint.
        config: of the learner.
        parameters: of the whole base.
        trained: of them, or of the adapter.
        vocabulary: rows of the output matrix.
        gpu_bytes: of the GPU, all of it.
    """
    own = held(config, parameters=parameters, trained=trained, on_gpu=True)
    logits = 8.0 * config.logits_chunk * vocabulary
    room = SHARE * gpu_bytes - CONTEXTS - sum(own.values()) - logits
    again = config.activation_checkpointing
    halved = config.in_bfloat16(on_gpu=True)
    kept = kept_bytes(model, num_tokens=ROW, row=ROW, checkpointing=again, halved=halved)
    return tokens_that_fit(room, kept / ROW)


def roughly_kept_bytes(model: Path, *, num_tokens: int, checkpointing: bool) -> int:
    """The same by the model's widths alone, at once; more than it is for most."""
    return _by_widths(_config_of(model), num_tokens, checkpointing=checkpointing)


def _config_of(model: Path) -> Any:
    from transformers import AutoConfig

    import munro.base_model.model.model  # noqa: F401 - makes our own architecture known

    return AutoConfig.from_pretrained(model)


def _by_widths(config: Any, num_tokens: int, *, checkpointing: bool) -> int:
    text = config.get_text_config()
    width = int(getattr(text, "hidden_size", 0) or 0)
    if not checkpointing:
        width = UNKNOWN * (width + int(getattr(text, "intermediate_size", 0) or 0) // 2)
    return 4 * width * int(getattr(text, "num_hidden_layers", 0) or 0) * num_tokens


def _saved(config: Any, rows: int, row: int, *, checkpointing: bool, halved: bool) -> int:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    found: dict[int, tuple[int, Any]] = {}
    kind = AutoModelForCausalLM._model_mapping.get(type(config), object)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=torch.float32,
            attn_implementation=_attention(kind),
        ).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        weights: set[int] = set()

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                found[storage._cdata] = storage.nbytes(), storage
            return tensor

        positions = torch.arange(row)[None].expand(rows, row)
        with (
            working_copy(model, torch.bfloat16 if halved else None),
            saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=halved),
        ):
            weights |= {weight.untyped_storage()._cdata for weight in model.parameters()}
            model.base_model(
                input_ids=torch.zeros(rows, row, dtype=torch.int64),
                attention_mask=torch.zeros(rows, 1, row, row),
                position_ids=positions,
                use_cache=False,
            )
    return sum(size for size, _ in found.values())


def _attention(kind: type) -> str:
    """The name of an attention that keeps what ours does, and needs to know no numbers."""
    if attention.takes(kind):
        from transformers import AttentionInterface

        AttentionInterface.register(WITHOUT_MASK, _without_mask)
        return WITHOUT_MASK
    return "sdpa" if getattr(kind, "_supports_sdpa", False) else "eager"


def _without_mask(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **how: Any
) -> tuple[Tensor, None]:
    """A mask is of blocks, and keys are not repeated for the heads that share them."""
    del module, mask
    mixed = F.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=how.get("scaling"), enable_gqa=True
    )
    return mixed.transpose(1, 2).contiguous(), None
