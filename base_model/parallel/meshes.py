"""Which ranks have what in common: two meshes over the same ranks.

    dense weights    dp_replicate x dp_shard_cp          dp_shard_cp = shard * context
    experts          dp_replicate x dp_mod_ep x ep       dp_mod_ep = shard * context / experts
    rows             dp x cp                             ranks of one cp read the same rows

Experts lie over whatever the rest lies over (parallel folding), so that their number of parts is no
factor of the ranks. Names are torchtitan's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from munro.base_model.config import ParallelConfig
from munro.base_model.parallel.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Meshes:
    """The meshes of all ranks, of which this process is one.

    Example:
        Meshes.of(ParallelConfig(experts=2), torch.device("cpu"))  # with 4 ranks: 2 x 2
    """

    dense: DeviceMesh
    """Over which FSDP parts what is no expert: (dp_shard_cp), or (dp_replicate, dp_shard_cp)."""
    experts: DeviceMesh | None
    """(dp_mod_ep, ep), or (dp_replicate, dp_mod_ep, ep); None where no expert goes to a rank."""
    context: Context | None
    """The ranks that read this one's rows; None where it reads them alone."""

    @classmethod
    def of(cls, config: ParallelConfig, device: torch.device) -> Self:
        """Make the groups; every rank of the default group must call it.

        Raises:
            ValueError: the meshes are not of that many ranks.
        """
        ranks = distributed.get_world_size()
        config.refuse(ranks, "parallel", "the number of ranks")
        copies, parts = config.replicate, ranks // config.replicate
        outer, names = ((copies,), ("dp_replicate",)) if copies > 1 else ((), ())
        kind = device.type
        dense = init_device_mesh(kind, (*outer, parts), mesh_dim_names=(*names, "dp_shard_cp"))
        experts = context = None
        if config.experts > 1:
            experts = init_device_mesh(
                kind,
                (*outer, parts // config.experts, config.experts),
                mesh_dim_names=(*names, "dp_mod_ep", "ep"),
            )
        if config.context > 1:
            shape = ranks // config.context, config.context
            rows = init_device_mesh(kind, shape, mesh_dim_names=("dp", "cp"))
            context = Context(rows.get_group("cp"))
        return cls(dense=dense, experts=experts, context=context)
