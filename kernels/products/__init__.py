"""Float32 matrix products on CPUs where the vendor's library leaves half of the processor idle.

torch gives them to MKL, which takes AVX-512 on Intel's processors alone. oneDNN, which torch
carries as well, takes it wherever it is: about twice the rate on AMD's.

    reference   torch's own, by MKL
    plain       by oneDNN, from a size on that is worth its call

`settle` puts the choice in for a whole process and every product of two float32 matrices in it,
with its gradients; float64, bfloat16, small matrices and batches of matrices stay as they were. It
goes by a fixed rule and never by a clock, so that a run repeats and goes on bit for bit.
"""

from __future__ import annotations

from threading import Lock

from munro.kernels.products import onednn
from munro.kernels.products.rule import decision

__all__ = ["TWINS", "decision", "settle"]

TWINS = ("reference", "plain")

_lock = Lock()


def settle() -> None:
    """Put this process's choice in, once; before its first product.

    Raises:
        NoSuchTwin: MUNRO_KERNELS names no twin.
    """
    with _lock:
        if decision().twin == "plain":
            onednn.install()
