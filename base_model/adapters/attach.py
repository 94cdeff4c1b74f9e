"""A low-rank adapter on a frozen model, by peft: put on, left out for a moment, merged.

The model keeps its class and its names; every chosen linear layer is replaced by peft's, which
holds it as `base_layer` beside `lora_A` and `lora_B`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from munro.base_model.adapters.config import LoraConfig
from munro.base_model.adapters.errors import BadAdapter

NAME = "default"
"""Of the adapter, as peft has it in a model's parameters (and not in a file)."""
PREFIX = "base_model.model."
"""What peft puts before every name in a file."""
CHOOSE_EXPERTS = ("gate", "router", "shared_expert_gate")
"""Linear layers that get no adapter unless they are named: they say where a token goes."""


def attach(model: Any, lora: LoraConfig, *, base: str, seed: int) -> None:
    """Freeze the model and put a new adapter on it, which changes nothing yet.

    Args:
        model: a transformers causal LM.
        lora: which.
        base: folder of the model, recorded in what is saved.
        seed: of the first values.

    Raises:
        BadAdapter: the config names a layer that the model has not, or peft cannot wrap it.
    """
    peft = _peft()
    chosen = choose(model, lora.modules)
    made = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_shortest(model, chosen),
        base_model_name_or_path=base,
        task_type="CAUSAL_LM",
    )
    inject(model, made, seed=seed)


def inject(model: Any, config: Any, *, seed: int = 0) -> None:
    """Put an adapter of peft's config on the model; its first values are drawn from the seed.

    Raises:
        BadAdapter: peft cannot.
    """
    peft = _peft()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(config, model, NAME)
    except (ValueError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadAdapter(f"peft cannot adapt {type(model).__name__}: {first}") from error
    # an adapter is small, and bfloat16 would swallow most of its steps
    for weight in weights_of(model).values():
        weight.data = weight.data.float()


def choose(model: Any, wanted: Sequence[str]) -> list[str]:
    """Full names of the linear layers that get an adapter.

    Args:
        model: where they are looked for; a meta device will do.
        wanted: the ends of their names; none for all but the output matrix and the choosers.

    Raises:
        BadAdapter: a name fits no layer; says which there are.
    """
    from transformers.pytorch_utils import Conv1D

    head = getattr(model, "get_output_embeddings", lambda: None)()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    if not linear:
        raise BadAdapter(
            f"{type(model).__name__} has no linear layer that peft could adapt: train the whole "
            "model, without [learner.lora]."
        )
    if not wanted:
        return [name for name in linear if _last(name) not in CHOOSE_EXPERTS]
    for one in wanted:
        if not any(_fits(name, one) for name in linear):
            raise BadAdapter(_unknown(model, one, linear))
    return [name for name in linear if any(_fits(name, one) for one in wanted)]


def suffixes(names: Sequence[str]) -> tuple[str, ...]:
    """Last parts of layers' names, each once."""
    return tuple(sorted({_last(name) for name in names}))


def is_adapted(model: Any) -> bool:
    """Whether an adapter is on the model."""
    return bool(getattr(model, "peft_config", None))


def weights_of(model: Any) -> dict[str, nn.Parameter]:
    """The adapter's parameters by the names that they have in a file of peft's."""
    return {
        file_name(name): parameter
        for name, parameter in model.named_parameters()
        if ".lora_" in name
    }


def file_name(name: str) -> str:
    """Of a parameter of the adapter, as files have it."""
    return PREFIX + name.replace(f".{NAME}.", ".")


@torch.no_grad()
def set_weights(model: Any, saved: Mapping[str, Tensor], *, like: Any = None) -> None:
    """Give the adapter on the model the values of a file.

    Args:
        model: adapted.
        saved: by the file's names.
        like: lays a full tensor out as a parameter is, where the model is sharded.

    Raises:
        BadAdapter: the two differ in a name or a shape.
    """
    ours = weights_of(model)
    for name in sorted(ours.keys() | saved.keys()):
        shapes = [tuple(some[name].shape) if name in some else None for some in (saved, ours)]
        if shapes[0] != shapes[1]:
            there, here = ("missing" if shape is None else f"{shape}" for shape in shapes)
            raise BadAdapter(
                f"it is an adapter of another kind: {name.removeprefix(PREFIX)} is {there} in it "
                f"and {here} here (learner.lora.rank and modules must be those that it was made "
                "with)"
            )
    for name, parameter in ours.items():
        full = saved[name].to(parameter.dtype)
        parameter.copy_(like(full, parameter) if like is not None else full)


@contextmanager
def left_out(model: Any) -> Iterator[None]:
    """The model without its adapter, for as long as this lasts."""
    layers = _layers(model)
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merge(model: Any) -> Any:
    """The model with its adapter added into its weights, as transformers made it; the same object.

    The sum is made in float32 and rounded once, to the base's own precision.
    """
    for name, layer in [(n, m) for n, m in model.named_modules() if _is_layer(m)]:
        base = layer.get_base_layer()
        delta = layer.get_delta_weight(NAME)
        with torch.no_grad():
            base.weight.copy_((base.weight.float() + delta.float()).to(base.weight.dtype))
        model.set_submodule(name, base)
    del model.peft_config
    return model.requires_grad_(True)


def _layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if _is_layer(module)]


def _is_layer(module: Any) -> bool:
    from peft.tuners.lora import LoraLayer

    return isinstance(module, LoraLayer)


def _peft() -> Any:
    """The library.

    Raises:
        BadAdapter: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise BadAdapter(
            f"[learner.lora] needs peft, which cannot be imported ({error}): pip install peft"
        ) from error
    return peft


def _shortest(model: Any, chosen: Sequence[str]) -> list[str]:
    """Last parts of the names where they say which layers are meant, else the whole names."""
    short = suffixes(chosen)
    named = {name for name, _ in model.named_modules() if _last(name) in short}
    return list(short) if named == set(chosen) else list(chosen)


def _unknown(model: Any, one: str, linear: Sequence[str]) -> str:
    head_names = ("lm_head", "embed_out", "output")
    there = suffixes(linear)
    said = f'learner.lora.modules names "{one}", which is no linear layer of {type(model).__name__}'
    if one in head_names or one.startswith("embed"):
        said += " that gets an adapter (its embedding and its output matrix do not)"
    near = difflib.get_close_matches(_last(one), there, 1)
    return f"{said}. {f'Did you mean {near[0]}? ' if near else ''}It has {', '.join(there)}."


def _fits(name: str, wanted: str) -> bool:
    return name == wanted or name.endswith(f".{wanted}")


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
