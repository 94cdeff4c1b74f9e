"""What a forward and its backward pass agree on."""

from __future__ import annotations

from dataclasses import dataclass

from munro.kernels.precision import Precision
from munro.kernels.scale import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How a call is to be done."""

    scale: Scale
    precision: Precision
    adds: bool
    """The matrix's gradient goes straight into its `grad`."""
