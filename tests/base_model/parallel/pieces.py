"""What the ranks of `test_pieces` do: experts and attention in parts, and beside it in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn import Parameter

from munro.base_model.config import ParallelConfig
from munro.base_model.parallel.context import Context
from munro.base_model.parallel.experts import Parted
from munro.base_model.parallel.meshes import Meshes
from munro.base_model.parallel.norm import clip
from munro.base_model.training.sharding import at_first
from munro.kernels.attention import RowMask
from munro.kernels.attention.models import attention_forward
from munro.kernels.experts import experts, route
from tests.rounding import bound, largest

N, W, INNER, E, K = 24, 16, 12, 8, 3
"""Tokens of each rank, widths, experts, experts a token."""


def run(folder: Path) -> dict[str, Any]:
    """Everything that two or four ranks can be asked at once."""
    del folder
    distributed.init_process_group("gloo")
    found = {f"experts {most}": of_experts(most) for most in (0, 5)}
    found["idle"] = of_experts(0, idle=True)
    for heads, groups in ((8, 4), (4, 2), (12, 3), (4, 1)):
        found[f"heads {heads} {groups}"] = of_attention(heads, groups)
    return found | {"norm": of_norm(), "gathered": of_gathering()}


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def near(ours: Tensor, theirs: Tensor, terms: int) -> bool:
    within = bound(terms, largest(theirs))
    return bool(torch.allclose(ours, theirs, rtol=0, atol=within))


def of_experts(most: int, *, idle: bool = False) -> dict[str, bool]:
    """Which of the answers and gradients are those of one rank, bit for bit."""
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    x, grad = drawn(N * ranks, W, seed=0), drawn(N * ranks, W, seed=1)
    up, down = drawn(E, 2 * INNER, W, seed=2), drawn(E, W, INNER, seed=3)
    logits = drawn(N * ranks, E, seed=4)
    if idle:
        logits[:, E // 2 :] = -1e9  # nobody asks the last ranks for anything
    ids, _ = route(logits, K)
    gates = drawn(N * ranks, K, seed=5).softmax(-1)
    whole = [Parameter(one.clone()) for one in (x, up, down, gates)]
    out = experts(whole[0], whole[1], whole[2], ids, whole[3], most)
    out.backward(grad)
    meshes = Meshes.of(ParallelConfig(experts=ranks), torch.device("cpu"))
    assert meshes.experts is not None
    mesh, own = meshes.experts["ep"], slice(rank * N, (rank + 1) * N)
    parts = [
        Parameter(DTensor.from_local(one.chunk(ranks)[rank].clone(), mesh, [Shard(0)]))
        for one in (up, down)
    ]
    mine, share = Parameter(x[own].clone()), Parameter(gates[own].clone())
    ours = Parted(mesh.get_group(), experts)(mine, *parts, ids[own], share, most)
    ours.backward(grad[own])
    grads = [part.grad.to_local() for part in parts]
    theirs = [one.grad.chunk(ranks)[rank] for one in whole[1:3]]
    return {
        "forward": torch.equal(ours, out[own]),
        "weights": all(map(torch.equal, grads, theirs)),
        "x": near(mine.grad, whole[0].grad[own], K * (2 * INNER + W)),
        "gates": near(share.grad, whole[3].grad[own], W + INNER),
    }


class Layer(torch.nn.Module):
    is_causal = True


def of_attention(heads: int, groups: int) -> dict[str, bool]:
    """Whole rows, two documents and a tree of three, with a window, against stretches of them."""
    group = distributed.new_group()
    context, length, width = Context(group), 40, 8
    until = torch.full((2, length), length, dtype=torch.int32)
    until[0, :17] = 17
    until[1, 8:20], until[1, 20:33] = 20, 33
    position = torch.arange(length).repeat(2, 1)
    position[0, 17:] -= 17
    position[1, 20:33], position[1, 33:] = torch.arange(8, 21), torch.arange(8, 15)
    given = {"scaling": 0.3, "sliding_window": 9}
    shapes = ((2, heads, length, width), *[(2, groups, length, width)] * 2)
    whole = [Parameter(drawn(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
    out, _ = attention_forward(Layer(), *whole, RowMask(until, position), **given)
    own = context.columns(length)
    parts = [Parameter(one.detach()[:, :, own].clone()) for one in whole]
    mask = RowMask(until, position, ranks=context)
    ours, _ = attention_forward(Layer(), *parts, mask, **given)
    grad = drawn(*out.shape, seed=9)
    out.backward(grad)
    ours.backward(grad[:, own])
    same = [
        near(part.grad, one.grad[:, :, own], 2 * length + width)
        for part, one in zip(parts, whole, strict=True)
    ]
    return {"forward": torch.equal(ours, out[:, own]), "gradients": all(same)}


def of_norm() -> dict[str, Any]:
    """A norm over two meshes, replicas counted once, against that of the whole tensors."""
    ranks = distributed.get_world_size()
    meshes = Meshes.of(ParallelConfig(replicate=ranks // 2, experts=2), torch.device("cpu"))
    assert meshes.experts is not None
    parameters, wholes = [], []
    over = [(meshes.dense, [Shard(0)]), (meshes.experts, [Shard(1), Shard(0)])]
    for seed, (mesh, how) in enumerate(over):
        placements = [*[Replicate()] * (mesh.ndim - len(how)), *how]
        whole = drawn(6, 4, 5, seed=seed)
        parameter = Parameter(distribute_tensor(torch.zeros_like(whole), mesh, placements))
        parameter.grad = distribute_tensor(whole, mesh, placements)
        parameters.append(parameter)
        wholes.append(whole)
    joined = [at_first(parameter.grad) for parameter in parameters]
    norm = clip(parameters, 1.0)
    expected = torch.cat([one.flatten() for one in wholes]).double().norm()
    clipped = [
        torch.allclose(parameter.grad.full_tensor(), whole / norm)
        for parameter, whole in zip(parameters, wholes, strict=True)
    ]
    first = distributed.get_rank() == 0
    same = [
        torch.equal(one, whole) if first else one is None
        for one, whole in zip(joined, wholes, strict=True)
    ]
    near = abs(norm / float(expected) - 1) < 1e-6
    return {"norm": near, "clipped": all(clipped), "joined": all(same)}


def of_gathering() -> dict[str, Any]:
    """Every rank has all, and the gradient of its own; a mean weighed by what it is of."""
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    context, sizes = Context(distributed.new_group()), [3, 0, 2, 1][:ranks]
    own = torch.full((sizes[rank],), float(rank), requires_grad=True)
    whole = context.gathered(own, sizes)
    (whole * torch.arange(len(whole))).sum().backward()
    start = sum(sizes[:rank])
    expected = torch.arange(start, start + sizes[rank], dtype=torch.float32)
    weight = torch.tensor(float(sizes[rank]))
    mean = context.mean(torch.full((2, 2), float(rank)), weight)
    truth = sum(size * number for number, size in enumerate(sizes)) / sum(sizes)
    return {
        "whole": whole.tolist() == [float(n) for n in range(ranks) for _ in range(sizes[n])],
        "own": torch.equal(own.grad, expected),
        "mean": bool(torch.allclose(mean, torch.full((2, 2), truth))),
    }
