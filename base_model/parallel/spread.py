"""A model's weights over the ranks by FSDP2: experts over their mesh, the rest over its own.

`fully_shard` itself: accelerate's wrapper knows one mesh. FSDP averages gradients over the ranks of
the mesh that it parts by; those of experts are of the tokens of all ranks, and so are divided by as
many as the others are.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard

from munro.base_model.model.moe import Experts
from munro.base_model.parallel.experts import Parted
from munro.base_model.parallel.meshes import Meshes
from munro.kernels import attention


class CannotSpread(ValueError):
    """The model cannot lie over the meshes that were asked for; says why."""

    is_sentence = True


def require_spreadable(model: Any, meshes: Meshes) -> None:
    """Find out before anything is moved whether a model can lie over the meshes.

    Raises:
        CannotSpread: its attention or experts are not ours, or do not divide.
    """
    text, name = model.config.get_text_config(), type(getattr(model, "model", model)).__name__
    if meshes.context is not None:
        takes = inspect.signature(getattr(model, "base", model).forward).parameters
        if not attention.computes(model.config) or "position_ids" not in takes:
            raise CannotSpread(
                f"parallel.context = {meshes.context.size} has ranks exchange the heads of Munro's "
                f"own attention, and {name} computes some of its attention otherwise. Set it to 1."
            )
        heads, ranks = int(text.num_attention_heads), meshes.context.size
        if heads % ranks:
            raise CannotSpread(
                f"parallel.context = {ranks} does not divide the {heads} attention heads of "
                f"{name}: take a divisor."
            )
    if meshes.experts is None:
        return
    ranks, parts = meshes.experts["ep"].size(), meshes.experts["dp_mod_ep"].size()
    found = [module for module in model.modules() if isinstance(module, Experts)]
    if not found:
        raise CannotSpread(
            f"parallel.experts = {ranks}, but {name} has no experts of Munro's own, which alone "
            "can be parted among ranks. Set it to 1."
        )
    for experts in found:
        number, inner, width = experts.gate_up_proj.shape
        if number % ranks:
            raise CannotSpread(
                f"parallel.experts = {ranks} does not divide the {number} experts of {name}: take "
                "a divisor."
            )
        if inner % parts or width % parts:
            raise CannotSpread(
                f"experts of {inner // 2} x {width} numbers do not divide among the {parts} ranks "
                "that share each: raise parallel.experts, or take fewer ranks."
            )


def spread(
    model: Any, meshes: Meshes, *, reshard: bool, precision: MixedPrecisionPolicy, ranks: int
) -> None:
    """Shard a model in place: a unit for every layer's experts and for every layer, and the root.

    Args:
        model: has what transformers' models have: `config`, `_no_split_modules`.
        meshes: of all ranks.
        reshard: give a layer's gathered weights back after its forward pass.
        precision: of gathered weights and summed gradients.
        ranks: what gradients are divided by.

    Raises:
        CannotSpread: see `require_spreadable`.
    """
    require_spreadable(model, meshes)
    how: dict[str, Any] = {"reshard_after_forward": reshard, "mp_policy": precision}
    if meshes.experts is not None:
        for module in [m for m in model.modules() if isinstance(m, Experts)]:
            _part(module, meshes, how, ranks)
    for module in list(model.modules()):
        if type(module).__name__ in model._no_split_modules:
            fully_shard(module, mesh=meshes.dense, **how)
    # what is left is wanted first and last of all: the root keeps it
    fully_shard(model, mesh=meshes.dense, mp_policy=precision)


def _part(module: Experts, meshes: Meshes, how: dict[str, Any], ranks: int) -> None:
    """Each rank its experts; FSDP parts these by another dimension, so that no part is in stripes.

    A weight is then a DTensor over the experts' whole mesh: Shard(1) over dp_mod_ep, Shard(0) over
    ep, and replicated over dp_replicate where there is that.
    """
    assert meshes.experts is not None
    by_expert = meshes.experts["ep"]
    for name, weight in list(module.named_parameters(recurse=False)):
        own = weight.detach().chunk(by_expert.size(), dim=0)[by_expert.get_local_rank()]
        parted = DTensor.from_local(own.clone(), by_expert, [Shard(0)], run_check=False)
        setattr(module, name, nn.Parameter(parted, requires_grad=weight.requires_grad))
    module.mix = Parted(by_expert.get_group(), module.mix)
    names = [name for name in meshes.experts.mesh_dim_names or () if name != "ep"]
    sharded = fully_shard(
        module, mesh=meshes.experts[tuple(names)], shard_placement_fn=lambda _: Shard(1), **how
    )
    sharded.set_gradient_divide_factor(float(ranks))
    if meshes.experts["dp_mod_ep"].size() > 1:
        # gloo knows no sum that multiplies first; of one rank alone torch would divide twice
        sharded.set_force_sum_reduction_for_comms(True)
