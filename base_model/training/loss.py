"""Next-token prediction over packed rows, as sums that micro-batches and ranks add up.

Shape suffixes: B = rows, T = tokens of a row, V = vocabulary.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from munro.base_model.data.shards.packing import NO_DOCUMENT, PackedRows, attention_mask
from munro.base_model.training.rows import DeviceRows, rows_on_device


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedLoss:
    """What a model makes of some rows.

    Example:
        SummedLoss(nll=torch.tensor(83.2), num_targets=31, routing=None)
    """

    nll: Tensor
    """Scalar, nats, summed over the targets; carries the gradient."""
    num_targets: int
    """Learned tokens with a predecessor in their document."""
    routing: Any
    """The experts' load (`munro.base_model.model.model`), or None of a dense model."""


def summed_loss(model: nn.Module, rows: DeviceRows, *, apart: bool) -> SummedLoss:
    """Cross-entropy over every learned token with a predecessor in its document.

    Where lessons leave most columns with nothing to learn, logits exist at the others only.

    Args:
        model: a transformers causal LM.
        rows: what it reads, where it is.
        apart: documents of a row do not see each other.
    """
    mask = attention_mask(rows.documents, next(model.parameters()).dtype) if apart else None
    inputs: dict[str, Any] = {
        "attention_mask": mask,
        "position_ids": rows.positions,
        "use_cache": False,
    }
    if _takes(model, "counted"):
        inputs["counted"] = rows.documents != NO_DOCUMENT
    few = 2 * len(rows.columns) < rows.token_ids.shape[1] - 1 and _takes(model, "logits_to_keep")
    if few:
        inputs["logits_to_keep"] = rows.columns
    output = model(input_ids=rows.token_ids, **inputs)
    logits_NV = output.logits.flatten(0, 1)[rows.in_columns if few else rows.predicted_at]
    nll = F.cross_entropy(logits_NV.float(), rows.targets, reduction="sum")
    return SummedLoss(
        nll=nll, num_targets=rows.num_targets, routing=getattr(output, "routing", None)
    )


def language_loss(model: nn.Module, rows: PackedRows, *, apart: bool) -> Tensor:
    """Mean cross-entropy in nats; see `summed_loss`."""
    device = next(model.parameters()).device
    loss = summed_loss(model, rows_on_device(rows, device), apart=apart)
    return loss.nll / loss.num_targets


def _takes(model: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(model.forward).parameters
