"""Next-token prediction over packed rows, as sums that micro-batches and ranks add up.

Shape suffixes: B = rows, T = tokens of a row, V = vocabulary.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from munro.base_model.data.shards.packing import NO_DOCUMENT, PackedRows, attention_mask, has_target


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


def summed_loss(model: nn.Module, rows: PackedRows, *, apart: bool) -> SummedLoss:
    """Cross-entropy over every learned token with a predecessor in its document.

    Where lessons leave most columns with nothing to learn, logits exist at the others only.

    Args:
        model: a transformers causal LM.
        rows: what it reads.
        apart: documents of a row do not see each other.
    """
    device = next(model.parameters()).device
    token_ids_BT = torch.from_numpy(rows.token_ids).to(device)
    document_BT = torch.from_numpy(rows.documents).to(device)
    position_BT = torch.from_numpy(rows.positions).to(device)
    mask = attention_mask(document_BT, next(model.parameters()).dtype) if apart else None
    predicted = has_target(document_BT) & torch.from_numpy(rows.learned[:, 1:]).to(device)
    target_BT = token_ids_BT[:, 1:]
    inputs: dict[str, Any] = {
        "attention_mask": mask,
        "position_ids": position_BT,
        "use_cache": False,
    }
    if _takes(model, "counted"):
        inputs["counted"] = document_BT != NO_DOCUMENT
    columns = predicted.any(dim=0).nonzero().flatten()
    if 2 * len(columns) < predicted.shape[1] and _takes(model, "logits_to_keep"):
        predicted, target_BT = predicted[:, columns], target_BT[:, columns]
        output = model(input_ids=token_ids_BT, logits_to_keep=columns, **inputs)
        logits_BTV = output.logits
    else:
        output = model(input_ids=token_ids_BT, **inputs)
        logits_BTV = output.logits[:, :-1]
    nll = F.cross_entropy(logits_BTV[predicted].float(), target_BT[predicted], reduction="sum")
    return SummedLoss(
        nll=nll, num_targets=int(predicted.sum()), routing=getattr(output, "routing", None)
    )


def language_loss(model: nn.Module, rows: PackedRows, *, apart: bool) -> Tensor:
    """Mean cross-entropy in nats; see `summed_loss`."""
    loss = summed_loss(model, rows, apart=apart)
    return loss.nll / loss.num_targets


def _takes(model: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(model.forward).parameters
