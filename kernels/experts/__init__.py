"""Mixtures of experts: routing, and every token through the experts that it chose.

    logits ──► route ──► ids, counts
    x, ids, gates ──► experts ──► gated sum of each token's experts

`reference` is the definition, `grouped` plain torch for any device, `fused` Triton for GPUs;
`munro.kernels.dispatch` chooses. Each adds in a fixed order and never by an atomic operation on a
GPU, so a run repeats bit for bit, and none but `grouped` asks a GPU for a size.

Shape letters: N = tokens, W = width the experts work in, I = an expert's inner width, E = experts,
K = experts a token goes to.
"""

from __future__ import annotations

from munro.kernels.experts.grouped import count, experts, route

__all__ = ["count", "experts", "route"]
