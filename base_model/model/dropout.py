"""Dropout on every sub-layer's output, before it is added to the residual stream.

MAI-Thinking-1 report, sections 2.6.2 and 3.1.5: 0.15 in pre-training and in self-distillation.
Models differ in what they offer, so it is put where it belongs whatever they are:

    our own, Phi-3, GPT-NeoX ...      the layer's own dropout modules, set to the rate
    Gemma 2 and 3, OLMo 2, GLM-4 ...  the norms that stand after attention and feed-forward
    Llama, Qwen, Mistral, GPT-2 ...   attention and feed-forward themselves

All other dropout of the model (on attention weights, on embeddings, of whole layers) is set to 0,
and so is the noise of routers: whether a module is it, holds it as a number, or asks the config for
it whenever it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

NOISES = ("drop", "jitter")
"""Part of the name of a number that makes training random, as in `layerdrop` or `resid_pdrop`."""
NORMS_AFTER = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),
    ("post_self_attn_layernorm", "post_mlp_layernorm"),
)
MIXERS = ("self_attn", "attn", "attention", "self_attention", "linear_attn", "mixer")
FEED_FORWARDS = ("mlp", "feed_forward", "block_sparse_moe", "ffn", "moe")


class NoSubLayers(ValueError):
    """The model is built in a way in which its sub-layers cannot be told."""


def set_sublayer_dropout(model: nn.Module, rate: float) -> int:
    """Drop entries of every sub-layer's output in training mode, and nothing else.

    The model's own config, which is saved with it, keeps its numbers.

    Args:
        model: a transformers causal LM.
        rate: 0 takes all dropout away.

    Returns:
        Outputs that it acts on: two for each layer.

    Raises:
        NoSubLayers: the rate is above 0, and this model's sub-layers are not known.
    """
    # each config beside its copy, so that no other takes its address
    quiet: dict[int, tuple[Any, Any]] = {}
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        _silence(module)
        config = getattr(module, "config", None)
        if module is not model and config is not None:
            if id(config) not in quiet:
                quiet[id(config)] = config, copy(config)
                _silence(quiet[id(config)][1])
            module.config = quiet[id(config)][1]
    return sum(_into(layer, rate) for layer in _layers(model)) if rate else 0


def _silence(thing: Any) -> None:
    """Set to 0 every number of a module or config that makes training random."""
    for name, value in [*vars(thing).items()]:
        if isinstance(value, float) and any(noise in name for noise in NOISES):
            setattr(thing, name, 0.0)


def _layers(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers: the longest list of modules of one class."""
    lists = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len({type(one) for one in module}) == 1
    ]
    if not lists:
        raise NoSubLayers(f"{type(model).__name__} has no list of layers")
    return max(lists, key=len)


def _into(layer: nn.Module, rate: float) -> int:
    own = [child for child in layer.children() if isinstance(child, nn.Dropout)]
    if own:
        for dropout in own:
            dropout.p = rate
        return 2
    for pair in NORMS_AFTER:
        if all(hasattr(layer, name) for name in pair):
            outputs = [getattr(layer, name) for name in pair]
            break
    else:
        outputs = [*_first(layer, MIXERS), *_first(layer, FEED_FORWARDS)]
    if len(outputs) != 2:
        raise NoSubLayers(f"{type(layer).__name__} is not built of attention and feed-forward")
    for output in outputs:
        output.register_forward_hook(_Dropped(rate))
    return 2


def _first(layer: nn.Module, names: tuple[str, ...]) -> Iterator[nn.Module]:
    found = [
        getattr(layer, name) for name in names if isinstance(getattr(layer, name, None), nn.Module)
    ]
    yield from found[:1]


class _Dropped:
    """A forward hook: the output, or the first of several, with dropout in training mode."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG002
        if isinstance(output, Tensor):
            return F.dropout(output, self._rate, module.training)
        dropped = F.dropout(output[0], self._rate, module.training)
        return (dropped, *output[1:])
