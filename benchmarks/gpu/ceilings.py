"""What the card can do at most: matrix products by precision, and a copy."""

from __future__ import annotations

import torch
from gpu.rows import Rows, compare, device_of, random


def run(rows: Rows, *, smoke: bool) -> None:
    device = device_of(smoke=smoke)
    import triton

    card = "cpu" if smoke else torch.cuda.get_device_name()
    rows.note(card=card, torch=torch.__version__, triton=triton.__version__)
    size = 256 if smoke else 8192
    left, right = (random(size, size, device=device) for _ in range(2))
    flops = 2.0 * size**3
    compare(rows, "bf16 product", {"cublas": lambda: left @ right}, smoke=smoke, flops=flops)
    if not smoke:
        into = torch.zeros(size, size, device=device)
        compare(
            rows,
            "bf16 product, float32 result",
            {
                "addmm out_dtype": lambda: torch.addmm(
                    into, left, right, out_dtype=torch.float32, out=into
                )
            },
            smoke=smoke,
            flops=flops,
        )
    exact_left, exact_right = left.float(), right.float()
    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        subjects = {"cublas": lambda: exact_left @ exact_right}
        compare(rows, f"float32 product, tf32={tf32}", subjects, smoke=smoke, flops=flops)
    torch.backends.cuda.matmul.allow_tf32 = False
    source = random(2**20 if smoke else 2**31, device=device)
    twin = torch.empty_like(source)
    subjects = {"torch": lambda: twin.copy_(source)}
    compare(rows, "copy", subjects, smoke=smoke, moved=4.0 * source.numel())
