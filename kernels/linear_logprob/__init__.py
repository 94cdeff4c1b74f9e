"""Log-probability of tokens, and entropy, from hidden states and the output matrix.

The logits of all positions never stand in memory together. Cross-entropy is its negative, and the
entropy of the distribution comes with it where it is asked for, with its gradient.

    reference.py   the definition
    tiled.py       torch operators, one tile of positions and vocabulary at a time: any device
    fused.py       NVIDIA's GPUs: library products with float32 sums, row kernels in Triton

Nothing that any of them decides depends on what a device has computed: no call waits for one.
"""

from __future__ import annotations

from torch import Tensor

from munro.kernels.dispatch import twin
from munro.kernels.gradient import adds
from munro.kernels.linear_logprob import reference, tiled
from munro.kernels.linear_logprob.call import Call, plainly
from munro.kernels.precision import named
from munro.kernels.scale import Scale

KEEP_BYTES = 48 * 2**20
"""Little beside the gradient of a vocabulary's matrix."""
TWINS = ("reference", "plain", "fused")


def linear_logprob(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    *,
    scale: Scale = Scale(),  # noqa: B008 (a frozen value)
    entropy: bool = False,
    kept: tuple[Tensor, Tensor] | None = None,
    precision: str = "operand",
    grad_weight: str = "return",
    tile: int = 512,
    keep_bytes: int = KEEP_BYTES,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each token under the softmax over the vocabulary, and its entropy.

    Args:
        hidden_TD: [T, D] what the output matrix is applied to.
        weight_VD: [V, D] the output matrix; no bias.
        token_T: [T] int64.
        scale: temperature and soft cap.
        entropy: give it too.
        kept: (ids_M, starts): [M] int64 ids that may be sampled, position after position, and
            [T + 1] int64 offsets into them; each holds its token, an empty slice means all of V.
            The softmax and its entropy are then over these.
        precision: of the products; a name of `munro.kernels.precision`. It is settled here, and the
            backward pass keeps it wherever it runs.
        grad_weight: "return", or "add": straight into `weight_VD.grad`, which costs no second
            matrix of that size; then a leaf in float32 that is not sharded.
        tile: positions whose logits over a part of the vocabulary are made at once, on a CPU.
        keep_bytes: of logits that wait for the backward pass there, where nothing but
            log-probabilities is asked for; the others are computed again.

    Returns:
        [T] log-probabilities in nats and [T] entropies (None where not asked for), float32
        (float64 of float64), with gradient to `hidden_TD` and `weight_VD`.

    Raises:
        NoSuchPrecision: no such name, or not on this device.
        ValueError: `weight_VD.grad` cannot be added to, or `grad_weight` is neither word.
    """
    call = Call(
        scale=scale,
        entropy=entropy,
        precision=named(precision, hidden_TD),
        adds=adds(grad_weight, weight_VD),
        tile=tile,
        keep_bytes=keep_bytes,
    )
    which = twin("linear_logprob", hidden_TD.device, TWINS)
    if which == "fused" and call.precision.operand.itemsize == 8:
        which = "plain"  # float64 is for proofs, and the row kernels are float32's
    with plainly(hidden_TD), call.precision.as_named():
        if which == "reference":
            return reference.linear_logprob(hidden_TD, weight_VD, token_T, kept, call)
        if which == "fused":
            from munro.kernels.linear_logprob import fused

            return fused.linear_logprob(hidden_TD, weight_VD, token_T, kept, call)
        return tiled.linear_logprob(hidden_TD, weight_VD, token_T, kept, call)
