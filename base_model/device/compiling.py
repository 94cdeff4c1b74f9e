"""A model's layers as torch.compile makes them faster: one graph for all that are alike."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any, Literal

import torch
from torch import nn

Choice = Literal["auto", "on", "off"]

GRAPHS = 64
"""Of one piece of code: kinds of layers, of masks, with gradients and without."""


class CannotCompile(Exception):
    """Layers were to be compiled, and cannot be here; says why."""

    is_sentence = True


def compile_layers(model: nn.Module, choice: Choice, device: torch.device) -> str:
    """Have each layer compiled when it is first called, for rows of any number and length.

    Args:
        model: its layers are what its class says must not be split (transformers'
            `_no_split_modules`).
        choice: "auto" does so on GPUs, where there is a compiler, and leaves mixtures of experts as
            they are: theirs is a graph in pieces, which had not been made in 50 s on an H200.
        device: where they are computed.

    Returns:
        What is to be said of it; nothing where nobody need know.

    Raises:
        CannotCompile: "on" cannot be had.
    """
    if choice == "off" or (choice == "auto" and device.type != "cuda"):
        return ""
    if lacks := lacking(device):
        if choice == "on":
            raise CannotCompile(f"layers cannot be compiled: {lacks}")
        return f"layers are not compiled, which is slower: {lacks}"
    limits: Any = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, GRAPHS)
    names = {*(getattr(model, "_no_split_modules", None) or ())}
    for module in model.modules():
        if type(module).__name__ in names and (choice == "on" or not _is_mixture(module)):
            module.compile(dynamic=True)
    return ""


def _is_mixture(layer: nn.Module) -> bool:
    """Whether it holds experts: matrices in a block of three dimensions."""
    return any(parameter.ndim == 3 for parameter in layer.parameters())


def lacking(device: torch.device) -> str:
    """What compiling for a device needs and this machine has not; empty where all is there."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        return "there is no C compiler (cc, gcc or clang) on the path."
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install triton)."
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        return "there is no C++ compiler (g++ or clang++) on the path."
    return ""
