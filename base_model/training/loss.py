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
from munro.base_model.training.head import answering, does_as_said, head_of
from munro.base_model.training.rows import DeviceRows, rows_on_device
from munro.kernels.attention import RowMask, computes, row_mask


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


def summed_loss(
    model: nn.Module, rows: DeviceRows, *, apart: bool, adds: bool = False
) -> SummedLoss:
    """Cross-entropy over every learned token with a predecessor in its document, in own columns.

    The logits of all tokens do not stand in memory together, unless the model does with them what
    only it knows; then at least those of columns with nothing to learn do not, where they are many.

    Args:
        model: a transformers causal LM.
        rows: what it reads, where it is.
        apart: documents of a row do not see each other.
        adds: the output matrix's gradient may be added straight into its `grad`.
    """
    inputs: dict[str, Any] = {
        "input_ids": rows.token_ids[:, rows.own],
        "attention_mask": _mask(model, rows, apart=apart),
        "position_ids": rows.positions[:, rows.own],
        "use_cache": False,
    }
    if _takes(model, "counted"):
        inputs["counted"] = rows.documents[:, rows.own] != NO_DOCUMENT
    if head_of(model) is not None:
        with answering(model, rows.predicted_at, rows.targets, adds=adds) as answer:
            output = model(**inputs)
        assert answer.logp is not None
        if answer.probe is None or does_as_said(model, answer.probe, output.logits):
            return _summed(-answer.logp.sum(), rows, output)
    return _from_logits(model, rows, inputs)


def _mask(model: Any, rows: DeviceRows, *, apart: bool) -> RowMask | Tensor | None:
    """What tells the model's attention who sees whom; made once for all layers."""
    if not computes(getattr(model, "config", None)):
        return attention_mask(rows.documents, next(model.parameters()).dtype) if apart else None
    if not apart:
        return row_mask(model.config, None, rows.positions, ranks=rows.context)
    given = (rows.until, rows.positions, rows.document_starts, rows.longest)
    return row_mask(model.config, *given, ranks=rows.context)


def _from_logits(model: nn.Module, rows: DeviceRows, inputs: dict[str, Any]) -> SummedLoss:
    few = 2 * len(rows.columns) < inputs["input_ids"].shape[1] - 1 and _takes(
        model, "logits_to_keep"
    )
    if few:
        inputs["logits_to_keep"] = rows.columns
    output = model(**inputs)
    logits_NV = output.logits.flatten(0, 1)[rows.in_columns if few else rows.predicted_at]
    return _summed(F.cross_entropy(logits_NV.float(), rows.targets, reduction="sum"), rows, output)


def _summed(nll: Tensor, rows: DeviceRows, output: Any) -> SummedLoss:
    routing = getattr(output, "routing", None)
    if routing is not None and rows.context is not None:
        counted = (rows.documents[:, rows.own] != NO_DOCUMENT).sum()
        routing.probability = rows.context.mean(routing.probability, counted)
    return SummedLoss(nll=nll, num_targets=rows.num_targets, routing=routing)


def language_loss(model: nn.Module, rows: PackedRows, *, apart: bool) -> Tensor:
    """Mean cross-entropy in nats; see `summed_loss`."""
    device = next(model.parameters()).device
    loss = summed_loss(model, rows_on_device(rows, device), apart=apart)
    return loss.nll / loss.num_targets


def _takes(model: nn.Module, argument: str) -> bool:
    return argument in inspect.signature(model.forward).parameters
