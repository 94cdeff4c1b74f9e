"""Steps whose loss or gradient norm stands out, with what may have caused it.

The report saw several early spikes, mostly on code, together with imbalance of the experts, and
let them pass (MAI-Thinking-1 report, section 2.6.4). Here too nothing is skipped: a spike is
written down with its batch's sources and the experts' load.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from munro.base_model.config import SpikeConfig

MAD_TO_SIGMA = 1.4826
LEAST_SIGMA = 0.005
"""Of the median: a loss that hardly moves makes no spike of a tremor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeWatch:
    """The last steps' figures. A value: `after` returns the next one.

    Example:
        SpikeWatch(config=SpikeConfig()).after(2.1, 0.4)
    """

    config: SpikeConfig
    losses: tuple[float, ...] = ()
    grad_norms: tuple[float, ...] = ()

    def after(self, loss: float, grad_norm: float) -> SpikeWatch:
        """With one more step."""
        window = self.config.window
        return SpikeWatch(
            config=self.config,
            losses=(*self.losses, loss)[-window:],
            grad_norms=(*self.grad_norms, grad_norm)[-window:],
        )

    def spike(self, loss: float, grad_norm: float) -> dict[str, float] | None:
        """The figures of a step that stands out from those before it, or None.

        Nothing does before half a window has been seen.
        """
        if len(self.losses) < self.config.window // 2:
            return None
        usual, usual_norm = median(self.losses), median(self.grad_norms)
        deviation = median(abs(earlier - usual) for earlier in self.losses)
        sigma = max(MAD_TO_SIGMA * deviation, LEAST_SIGMA * usual)
        high = loss > usual + self.config.loss * sigma
        steep = grad_norm > self.config.grad_norm * usual_norm
        if not high and not steep:
            return None
        return {
            "loss": loss,
            "usual_loss": usual,
            "grad_norm": grad_norm,
            "usual_grad_norm": usual_norm,
        }


def shares_by_source(documents: Any, indices: Iterable[int], progress: float) -> dict[str, float]:
    """Share of the tokens of these documents that each source gave, largest first.

    Empty for a corpus that names no sources.
    """
    source = getattr(documents, "source", None)
    if source is None:
        return {}
    tokens: Counter[str] = Counter()
    for index in indices:
        document = documents.tokens(index, progress)
        tokens[source(index)] += len(getattr(document, "token_ids", document))
    total = max(tokens.total(), 1)
    return {name: count / total for name, count in tokens.most_common()}
