"""One process of a vLLM model that is loaded, updated by boxes, and compared with a fresh load.

python -m tests.rollout.vllm.loads RANK RANKS RESULT FOLDER...
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from munro.rewards.serving.architectures import register_architectures
from munro.rollout.transfer.types import Box
from munro.rollout.vllm.launch import environment


def compare(folder: Path, ranks: int, rank: int) -> dict[str, Any]:
    """What became of a model that was given the weights of `folder / "distinct"` by boxes."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import (
        finalize_layerwise_reload,
        initialize_layerwise_reload,
    )

    from munro.rollout.vllm.layout import laid_open, record
    from munro.rollout.vllm.transfer import Arrivals
    from munro.rollout.vllm.weights import forget_packed_experts, repack_embeddings

    published = torch.load(folder / "published.pt")
    fresh, _ = served(folder / "distinct", ranks)
    model, config = served(folder / "random", ranks)
    wanted_values = dict(values(fresh))
    before = [name for name, value in values(model) if torch.equal(value, wanted_values[name])]
    catalogue = {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in published.items()
    }
    with set_current_vllm_config(config):
        with laid_open(model):
            intake = record(model, catalogue)
        assert not [n for n, v in values(model) if n in before and not same(v, wanted_values[n])]
        forget_packed_experts(model)
        initialize_layerwise_reload(model)
        arrivals = Arrivals(model, intake)
        boxes = intake.wanted(rank)
        pieces = [(w.name, piece) for w in boxes for piece in cut(w.box)]
        random.Random(rank).shuffle(pieces)
        for name, box in pieces:
            arrivals.take(name, box, published[name][box.slices].clone())
        arrivals.finish()
        finalize_layerwise_reload(model, config.model_config)
        repack_embeddings(model)
    after = dict(values(model))
    assert after.keys() == wanted_values.keys()
    return {
        "unequal": [name for name, value in after.items() if not same(value, wanted_values[name])],
        "equal before": [
            name for name in before if name not in intake.untouched and after[name].numel()
        ],
        "num_compared": len(after),
        "whole": intake.whole,
        "unread": intake.unread,
        "untouched": intake.untouched,
        "wanted": sum(w.box.size for w in boxes),
        "published": sum(tensor.numel() for tensor in published.values()),
    }


def served(folder: Path, ranks: int) -> tuple[nn.Module, Any]:
    """The model as a server has it, its matrices packed."""
    from vllm.config import set_current_vllm_config
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader import get_model

    config = EngineArgs(
        model=str(folder),
        dtype="float32",
        max_model_len=64,
        enforce_eager=True,
        skip_tokenizer_init=True,
        tensor_parallel_size=ranks,
        distributed_executor_backend="mp" if ranks > 1 else "uni",
    ).create_engine_config()
    with set_current_vllm_config(config):
        join(ranks)
        return get_model(vllm_config=config), config


def join(ranks: int) -> None:
    """vLLM's own groups, as the current model wants them."""
    import torch.distributed
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.distributed.parallel_state import destroy_model_parallel

    if torch.distributed.is_initialized():
        destroy_model_parallel()
    else:
        os.environ["VLLM_DIST_IDENT"] = Path(RESULT).parent.name  # as vLLM's CPU worker does
        init_distributed_environment(ranks, RANK, f"file://{RESULT}.store", RANK, "gloo")
    initialize_model_parallel(ranks)


def values(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers, and what its packed matrices multiply by, which are neither."""
    yield from model.named_parameters()
    yield from model.named_buffers()
    for name, module in model.named_modules():
        multiply = getattr(module, "cpu_linear", None)
        if multiply is not None:
            widths = ("input_size_per_partition", "input_size", "embedding_dim")
            width = next(getattr(module, w) for w in widths if hasattr(module, w))
            packed = multiply(torch.eye(width), getattr(module, "weight", None), None)
            yield f"{name} (packed)", packed


def same(one: Tensor, other: Tensor) -> bool:
    """Bitwise, and an undefined element is like another."""
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and torch.equal(one.nan_to_num(), other.nan_to_num())
    )


class Toy(nn.Module):
    """A layer that vLLM has none of: buffers kept and not, loaded and not, and a look at values."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.plain, self.looking = nn.Module(), nn.Module()
        self.plain.weight = nn.Parameter(torch.rand(4, 6, generator=draw), requires_grad=False)
        self.plain.register_buffer("table", torch.arange(5.0))
        self.plain.register_buffer("cache", torch.arange(7.0), persistent=False)
        self.looking.weight = nn.Parameter(torch.rand(3, generator=draw), requires_grad=False)
        self.looking.register_buffer("told", torch.rand(2, generator=draw), persistent=False)

    def load_weights(self, weights: Any) -> None:
        from vllm.model_executor.model_loader.weight_utils import default_weight_loader

        own = dict(self.named_parameters()) | dict(self.named_buffers())
        for name, tensor in weights:
            getattr(own[name], "weight_loader", default_weight_loader)(own[name], tensor)


def toy() -> dict[str, Any]:
    """What became of `Toy`."""
    from vllm.model_executor.model_loader.reload import (
        initialize_layerwise_reload,
        record_metadata_for_reloading,
    )
    from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload

    from munro.rollout.vllm.layout import laid_open, record
    from munro.rollout.vllm.transfer import Arrivals

    def looks(param: Tensor, loaded_weight: Tensor) -> None:
        param.data.copy_(loaded_weight / loaded_weight.max().item())

    model = Toy(1)
    model.looking.weight.weight_loader = looks
    record_metadata_for_reloading(model)
    other = Toy(2)
    published = {
        name: tensor.clone()
        for name, tensor in (*other.named_parameters(), *other.named_buffers())
        if "table" not in name and "cache" not in name
    }
    catalogue = {name: (tuple(tensor.shape), "float32") for name, tensor in published.items()}
    with laid_open(model):
        intake = record(model, catalogue)
    initialize_layerwise_reload(model)
    arrivals = Arrivals(model, intake)
    for wanted in intake.wanted(0):
        arrivals.take(wanted.name, wanted.box, published[wanted.name][wanted.box.slices])
    arrivals.finish()
    finalize_layerwise_reload(model, None)
    wanted_values = dict(other.named_parameters()) | dict(other.named_buffers())
    wanted_values["looking.weight"] = other.looking.weight / other.looking.weight.max()
    after = dict(model.named_parameters()) | dict(model.named_buffers())
    return {
        "unequal": [name for name, value in after.items() if not same(value, wanted_values[name])],
        "whole": intake.whole,
        "untouched": intake.untouched,
    }


def cut(box: Box) -> list[Box]:
    """Its two halves along its first dimension, where it has any."""
    if not box.start or box.shape[0] < 2:
        return [box]
    middle = box.start[0] + box.shape[0] // 3 + 1
    return [
        Box(box.start, (middle, *box.stop[1:])),
        Box((middle, *box.start[1:]), box.stop),
    ]


if __name__ == "__main__":
    RANK, RANKS, RESULT = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    register_architectures()
    torch.accelerator.empty_cache = lambda: None  # as vLLM's CPU worker has it
    with environment(on_gpu=False):
        found = [toy()] + [compare(Path(folder), RANKS, RANK) for folder in sys.argv[4:]]
    Path(f"{RESULT}.{RANK}").write_text(json.dumps(found))
