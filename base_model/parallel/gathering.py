"""FSDP's gathering of a unit's weights on gloo, without the buffer that gloo's own call takes.

gloo gathers into a buffer of its own, as large as the whole, and copies it out. A broadcast writes
where it is told to: one of each rank's part does the same without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.distributed.fsdp import FSDPModule


class GatherInPlace:
    """See `torch.distributed.fsdp.FSDPModule.set_custom_all_gather`."""

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """What is gathered into."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: ProcessGroup,
        async_op: bool = False,  # noqa: ARG002 - it is done when this returns
    ) -> None:
        """Every rank's input, (n,), one after another into the output, (ranks * n,)."""
        parts = output_tensor.view(group.size(), -1)
        own = parts[group.rank()]
        if own.data_ptr() != input_tensor.data_ptr():
            own.copy_(input_tensor)
        works = [
            distributed.broadcast(part, group_src=rank, group=group, async_op=True)
            for rank, part in enumerate(parts)
        ]
        for work in works:
            work.wait()


def gather_in_place(model: Any) -> None:
    """Have all units of a model on CPUs gather so."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_custom_all_gather(GatherInPlace())  # type: ignore[arg-type]
