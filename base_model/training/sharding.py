"""One training process or many: what differs is here.

With more than one rank the model is sharded by FSDP2 through accelerate, or over the meshes of
`munro.base_model.parallel` where those are asked for; parameters, gradients and optimizer state are
then DTensors. What leaves the ranks is gathered by the first of them alone, one tensor at a time:
the others hold no more than they did.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from munro.base_model.config import ParallelConfig
from munro.base_model.device.fetch import fetched
from munro.base_model.parallel.context import Context
from munro.base_model.parallel.meshes import Meshes
from munro.base_model.parallel.norm import clip
from munro.base_model.parallel.spread import spread

Model = TypeVar("Model", bound=nn.Module)


class World(Protocol):
    """All ranks, seen from one."""

    rank: int
    size: int
    device: torch.device
    context: Context | None
    """The ranks that read the same rows as this one; None where it reads them alone."""
    data_rank: int
    """Which share of the rows is this rank's; ranks of one `context` have the same."""
    data_size: int
    """Shares of the rows."""

    def over(self, parallel: ParallelConfig) -> Self:
        """Over other meshes from here on."""
        ...

    def shard(self, model: Model, *, reshard: bool = True) -> Model:
        """Spread the weights over the ranks.

        Args:
            model: has what transformers' models have: `config`, `_no_split_modules`, embeddings.
            reshard: give a layer's gathered weights back after its forward pass (ZeRO-3), or keep
                them until its backward pass (ZeRO-2).
        """
        ...

    def summed(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Metrics over all ranks: added, or for names ending in "/max" the largest."""
        ...

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, without gradient."""
        ...

    def largest(self, number: int) -> int:
        """The largest over all ranks."""
        ...

    def clip(self, parameters: Iterable[nn.Parameter], most: float) -> float:
        """Scale the gradient so that its norm is at most `most`; returns the norm before."""
        ...


class Alone:
    """One rank, one process: nothing is sharded."""

    rank = data_rank = 0
    size = data_size = 1
    context: Context | None = None

    def __init__(self, device: str = "") -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def over(self, parallel: ParallelConfig) -> Self:
        """Itself.

        Raises:
            ValueError: they are not of one rank.
        """
        parallel.refuse(1, "parallel", "the number of ranks")
        return self

    def shard(self, model: Model, *, reshard: bool = True) -> Model:
        """As it is."""
        del reshard
        return model

    def summed(self, sums: Mapping[str, float]) -> dict[str, float]:
        """As they are."""
        return dict(sums)

    def total(self, tensor: Tensor) -> Tensor:
        """As it is."""
        return tensor.detach()

    def largest(self, number: int) -> int:
        """As it is."""
        return number

    def clip(self, parameters: Iterable[nn.Parameter], most: float) -> float:
        """By torch's own."""
        return float(nn.utils.clip_grad_norm_(parameters, most))


class Ranks:
    """This process as one of several; RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set.

    Args:
        bfloat16: gather weights and compute in bfloat16, or in their own precision; by default the
            first on GPUs.
    """

    context: Context | None = None

    def __init__(self, *, bfloat16: bool | None = None) -> None:
        from accelerate import Accelerator

        on_cpu = not torch.cuda.is_available()
        self._bfloat16 = not on_cpu if bfloat16 is None else bfloat16
        self._accelerator = Accelerator(
            cpu=on_cpu, mixed_precision="bf16" if self._bfloat16 else "no"
        )
        self.rank = self._accelerator.process_index
        self.size = self._accelerator.num_processes
        self.device = self._accelerator.device
        self._meshes: Meshes | None = None
        self.data_rank, self.data_size = self.rank, self.size

    def over(self, parallel: ParallelConfig) -> Self:
        """Over other meshes from here on; every rank must call it.

        Raises:
            ValueError: they are not of that many ranks.
        """
        self._meshes = None if parallel.is_plain else Meshes.of(parallel, self.device)
        self.context = self._meshes.context if self._meshes else None
        shared = self.context.size if self.context else 1
        self.data_rank, self.data_size = self.rank // shared, self.size // shared
        return self

    def shard(self, model: Model, *, reshard: bool = True) -> Model:
        """One FSDP unit a layer; the model itself is the root.

        Raises:
            CannotSpread: the model cannot lie over the meshes.
        """
        if self._meshes is not None:
            how = IN_BFLOAT16 if self._bfloat16 else MixedPrecisionPolicy()
            spread(model, self._meshes, reshard=reshard, precision=how, ranks=self.size)
            return model
        from accelerate import FullyShardedDataParallelPlugin
        from accelerate.utils.fsdp_utils import fsdp2_prepare_model

        # accelerate turns FSDP on by itself on GPUs only; its FSDP2 needs nothing but the plugin
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            reshard_after_forward=reshard,
            auto_wrap_policy="transformer_based_wrap",
            cpu_ram_efficient_loading=False,
        )
        if self._bfloat16:
            plugin.mixed_precision_policy = IN_BFLOAT16
        self._accelerator.state.fsdp_plugin = plugin
        sharded: Model = fsdp2_prepare_model(self._accelerator, model)
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

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, without gradient."""
        summed = tensor.detach().clone()
        distributed.all_reduce(summed)
        return summed

    def largest(self, number: int) -> int:
        """The largest over all ranks."""
        value = torch.tensor(number, device=self.device)
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
        return int(value)

    def clip(self, parameters: Iterable[nn.Parameter], most: float) -> float:
        """By torch's own, which knows one mesh, or ours."""
        if self._meshes is not None:
            return clip(parameters, most)
        return float(whole(nn.utils.clip_grad_norm_(parameters, most)))


# accelerate's own "bf16" would round gradients before they are summed, and log-probabilities
IN_BFLOAT16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
"""Of FSDP: weights are gathered in bfloat16; gradients are summed over the ranks, and what the
model returns stays, in float32."""


def reduce_next(model: nn.Module, reduces: bool) -> None:
    """Whether the next backward pass of a sharded model sums its gradients over the ranks.

    Where it does not, they are added up on each rank, whole, until one does.
    """
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(reduces)


def give_back(model: nn.Module) -> None:
    """Have a sharded model's parameters be its shards again.

    FSDP leaves what it gathered last as it is after a pass that no backward pass follows, and
    whoever asks for parameters then gets others than the optimizer moves.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def working_dtype(world: World, *, bfloat16: bool | None = None) -> torch.dtype | None:
    """What an unsharded model's weights are copied to for passes; FSDP sees to its own.

    Args:
        world: its ranks.
        bfloat16: whether to that; by default on GPUs.
    """
    chosen = world.device.type == "cuda" if bfloat16 is None else bfloat16
    return torch.bfloat16 if chosen and world.size == 1 else None


def world(parallel: ParallelConfig | None = None, *, bfloat16: bool | None = None) -> World:
    """The world this process was started in.

    Args:
        parallel: its meshes.
        bfloat16: see `Ranks`.

    Raises:
        ValueError: the meshes are not of that many ranks.
    """
    many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    found: World = Ranks(bfloat16=bfloat16) if many else Alone()
    return found if parallel is None else found.over(parallel)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a sharded one (every rank must ask), or the tensor itself."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(full: Tensor, parameter: Tensor) -> Tensor:
    """A full tensor laid out as a parameter is."""
    if isinstance(parameter, DTensor) and full.shape == parameter.shape and full.dim():
        return distribute_tensor(full, parameter.device_mesh, parameter.placements)
    return full.to(parameter.device)


def at_first(tensor: Tensor) -> Tensor | None:
    """The full tensor on the first rank, None on the others; every rank must ask.

    A rank that is not the first sends its shard and receives nothing.
    """
    first = not distributed.is_initialized() or distributed.get_rank() == 0
    if not isinstance(tensor, DTensor):
        return tensor if first else None
    mesh = tensor.device_mesh
    # what was put away in the host's memory is gathered where its mesh is
    own = tensor.to_local().to(mesh.device_type)
    sizes = _sizes(tensor)
    # the last dimension of the mesh parted last; who is not its first is done once it has sent
    for dim in reversed(range(mesh.ndim)):
        placement = tensor.placements[dim]
        if isinstance(placement, Shard):
            own = _joined(own, placement.dim, sizes[dim], mesh.get_group(dim))
        if mesh.get_local_rank(dim):
            return None
    return own


def _sizes(tensor: DTensor) -> list[int]:
    """Of each dimension of the mesh that parts a tensor: how long is what it parts, here."""
    mesh, shape, found = tensor.device_mesh, list(tensor.shape), []
    for dim, placement in enumerate(tensor.placements):
        size = 0
        if isinstance(placement, Shard):
            size = shape[placement.dim]
            part, at = -(-size // mesh.size(dim)), mesh.get_local_rank(dim)
            shape[placement.dim] = max(0, min(part, size - at * part))
        found.append(size)
    return found


def _joined(own: Tensor, dim: int, size: int, group: distributed.ProcessGroup) -> Tensor:
    """Shards along a dimension, joined on the group's first rank; the others send theirs."""
    # like torch.chunk's: the last shards may be smaller, or empty
    longest = -(-size // group.size())
    own = own.movedim(dim, 0)
    if len(own) < longest:
        own = torch.cat([own, own.new_zeros(longest - len(own), *own.shape[1:])])
    own = own.contiguous()
    parts = [torch.empty_like(own) for _ in range(group.size())] if not group.rank() else None
    distributed.gather(own, parts, group=group, group_dst=0)
    if parts is None:
        return own
    return torch.cat(parts)[:size].movedim(0, dim).contiguous()


def gathered(tensors: Mapping[str, Tensor], *, copy: bool = False) -> dict[str, Tensor]:
    """Full tensors on the first rank's host, nothing on the others; every rank must ask.

    Args:
        tensors: in the same order on every rank. One object under two names, as a tied weight is,
            stays one.
        copy: what is on the host already is copied, so that training does not touch it.
    """
    found = dict(fetched(_once(tensors.values(), copy=copy)))
    pairs = ((name, found.get(str(id(tensor)))) for name, tensor in tensors.items())
    return {name: full for name, full in pairs if full is not None}


def _once(tensors: Iterable[Tensor], *, copy: bool) -> Iterator[tuple[str, Tensor]]:
    """See `gathered`: each object once, whole, by its id."""
    for tensor in {id(tensor): tensor for tensor in tensors}.values():
        full = at_first(tensor.detach())
        if full is None:
            continue
        here = copy and not isinstance(tensor, DTensor) and full.device.type == "cpu"
        yield str(id(tensor)), full.clone() if here else full


def optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, copy: bool = False
) -> dict[str, Any]:
    """State of every parameter by its name, on the first rank: it loads on any number of ranks."""
    found: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        if parameter not in optimizer.state:
            continue
        state = optimizer.state[parameter]
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        plain = {key: value for key, value in state.items() if key not in tensors}
        found[name] = {**gathered(tensors, copy=copy), **plain}
    return found


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
    fused = {
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group.get("fused")
    }
    for name, values in state.items():
        parameter = parameters[name]
        # a fused optimizer counts its steps where it computes
        counted_at = parameter.device if parameter in fused else torch.device("cpu")
        optimizer.state[parameter] = {
            key: _restored(key, value, parameter, counted_at) for key, value in values.items()
        }


def _restored(key: str, value: Any, parameter: Tensor, counted_at: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value  # bitsandbytes counts its steps in a number
    if key == "step":
        return value.clone().to(counted_at)
    return like(value.clone(), parameter)
