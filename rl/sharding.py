"""One learner rank or many: what differs is here.

With more than one rank the model is sharded by FSDP2 through accelerate; parameters, gradients
and optimizer state are then DTensors, and whatever leaves the learner is gathered first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from rl.policy import Policy


class World(Protocol):
    """All ranks, seen from one."""

    rank: int
    size: int
    device: torch.device

    def shard(self, policy: Policy) -> Policy:
        """Spread the weights over the ranks."""
        ...

    def summed(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Metrics over all ranks: added, or for names ending in "/max" the largest."""
        ...

    def largest(self, number: int) -> int:
        """The largest over all ranks."""
        ...


class Alone:
    """One rank, one process: nothing is sharded."""

    rank = 0
    size = 1

    def __init__(self) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def shard(self, policy: Policy) -> Policy:
        """As it is."""
        return policy

    def summed(self, sums: Mapping[str, float]) -> dict[str, float]:
        """As they are."""
        return dict(sums)

    def largest(self, number: int) -> int:
        """As it is."""
        return number


class Ranks:
    """This process as one of several; RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set."""

    def __init__(self) -> None:
        on_cpu = not torch.cuda.is_available()
        self._accelerator = Accelerator(cpu=on_cpu, mixed_precision="no" if on_cpu else "bf16")
        # accelerate turns FSDP on by itself on GPUs only; its FSDP2 needs nothing but the plugin
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            cpu_ram_efficient_loading=False,
        )
        if not on_cpu:
            plugin.set_mixed_precision("bf16")
        self._accelerator.state.fsdp_plugin = plugin
        self.rank = self._accelerator.process_index
        self.size = self._accelerator.num_processes
        self.device = self._accelerator.device

    def shard(self, policy: Policy) -> Policy:
        """One FSDP unit a layer; the policy itself is the root."""
        sharded: Policy = fsdp2_prepare_model(self._accelerator, policy)
        return sharded

    def summed(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Added, or for names ending in "/max" the largest; the same on every rank."""
        gathered: list[dict[str, float]] = [{} for _ in range(self.size)]
        distributed.all_gather_object(gathered, dict(sums))
        names = max(gathered, key=len)
        return {
            name: (max if name.endswith("/max") else sum)(part.get(name, 0.0) for part in gathered)
            for name in names
        }

    def largest(self, number: int) -> int:
        """The largest over all ranks."""
        value = torch.tensor(number, device=self.device)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return int(value)


def world() -> World:
    """The world this process was started in."""
    return Ranks() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Alone()


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a sharded one (every rank must ask), or the tensor itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(full: Tensor, parameter: Tensor) -> Tensor:
    """A full tensor laid out as a parameter is."""
    if isinstance(parameter, DTensor) and full.shape == parameter.shape and full.dim():
        return distribute_tensor(full, parameter.device_mesh, parameter.placements)
    return full.to(parameter.device)


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """State of every parameter by its name, gathered: it loads on any number of ranks."""
    return {
        name: {key: whole(value).cpu() for key, value in optimizer.state[parameter].items()}
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Give every parameter the state that `optimizer_state` read.

    Raises:
        ValueError: the state is of another model.
    """
    parameters = dict(model.named_parameters())
    if strangers := sorted(state.keys() - parameters.keys()):
        raise ValueError(f"the optimizer's state is of another model: it knows {strangers[0]!r}")
    for name, values in state.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            key: value.clone() if key == "step" else like(value.clone(), parameter)
            for key, value in values.items()
        }
