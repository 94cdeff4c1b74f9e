"""What lies between the output matrix and the softmax: a soft cap, a temperature."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What lies between the output matrix and the softmax.

    Example:
        Scale(temperature=0.7, softcap=30.0)
    """

    temperature: float = 1.0
    softcap: float = 0.0
    """Bound of the logits (Gemma's `final_logit_softcapping`); 0 for none."""

    def apply(self, raw: Tensor) -> Tensor:
        """Logits from the matrix product, which is overwritten."""
        if self.softcap:
            raw = raw.div_(self.softcap).tanh_().mul_(self.softcap)
        return raw.div_(self.temperature) if self.temperature != 1 else raw

    def slope(self, logit: Tensor) -> Tensor | float:
        """Derivative of `apply` at the raw value that gave `logit`."""
        if not self.softcap:
            return 1 / self.temperature
        return (1 - (logit * self.temperature / self.softcap) ** 2) / self.temperature
