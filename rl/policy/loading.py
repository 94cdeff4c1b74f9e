"""From a checkpoint's folder to a policy that is ready to be trained here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.model.dropout import NoSubLayers, set_sublayer_dropout
from munro.base_model.parallel.reading import fill, materialise
from munro.base_model.training.sharding import World
from munro.base_model.weights import BadWeights, blank, load
from munro.kernels import attention
from munro.rl.config import LearnerConfig
from munro.rl.policy import adapter
from munro.rl.policy.model import Policy, UnsupportedModel
from munro.rl.policy.packing import Layout


def load_policy(path: str, config: LearnerConfig, *, device: torch.device, seed: int = 0) -> Policy:
    """The model of a folder, with the dropout and the checkpointing that the config asks for.

    With `[learner.lora]` it is frozen and has an adapter on it: a new one, or the folder's own.

    Args:
        path: folder of a whole model or of an adapter.
        config: of the learner.
        device: where it is trained.
        seed: of a new adapter's first values.

    Raises:
        CheckpointError: the folder lacks something.
        UnsupportedModel: the model's logits are made in a way the learner does not know.
        BadAdapter: no adapter can be put on it.
    """
    lora, how = config.lora, {}
    if lora is not None:
        how = adapter.how_to_hold(lora, device, ranks=config.ranks)
    model = load_model(adapter.base_folder(path, lora), device=device, **how)
    set_dropout(model, config.dropout)
    if lora is not None:
        adapter.put_on(model, path, lora, seed=seed)
    if config.activation_checkpointing:
        model.gradient_checkpointing_enable()
        if lora is not None:
            # what a frozen embedding gives asks for no gradient, and the segments would have none
            model.enable_input_require_grads()
    return Policy(model, tile=config.logits_chunk)


def spread_policy(
    path: str,
    config: LearnerConfig,
    world: World,
    *,
    seed: int = 0,
    before: Callable[[Policy], None] = lambda _: None,
) -> Policy:
    """`load_policy` over the ranks of a world, none of which reads more of a model than its part.

    An adapter's base, and a model that is no folder of this machine, are read whole by each.

    Args:
        path: folder of a whole model or of an adapter.
        config: of the learner.
        world: the ranks.
        seed: of a new adapter's first values.
        before: what is done to the policy before it is sharded.

    Raises:
        CannotSpread: the model cannot lie over the ranks' meshes.

    And as `load_policy`.
    """
    if world.size == 1 or config.lora is not None or not (Path(path) / "config.json").is_file():
        policy = load_policy(path, config, device=world.device, seed=seed)
        before(policy)
        return world.shard(policy)
    folder = Checkpoint(path).require().path
    try:
        model = blank(folder, attention=attention_of, dtype=torch.float32)
        set_sublayer_dropout(model, 0.0)
        if config.activation_checkpointing:
            model.gradient_checkpointing_enable()
        policy = Policy(model, tile=config.logits_chunk, prove=False)
        before(policy)
        policy = world.shard(policy)
        materialise(policy, world.device)
        fill(policy.model, folder)
    except BadWeights as error:
        raise CheckpointError(folder, error) from error
    with eagerly(world.device):
        policy.on_whole_weights(partial(_prove_quiet, policy.model))
        policy.on_whole_weights(policy.prove_head)
    _set_rate(policy.model, config.dropout)
    return policy


@contextmanager
def eagerly(device: torch.device) -> Iterator[None]:
    """Passes inside are not compiled: they are of a few tokens, once."""
    with nullcontext() if device.type == "cpu" else torch.compiler.set_stance("force_eager"):
        yield


def load_model(path: str, *, device: torch.device, **how: Any) -> Any:
    """The model in float32, with the best attention that it knows.

    Ours, which computes over trees and packed rows, where the model leaves its attention to
    transformers' registry; PyTorch's own otherwise; plain products where it knows nothing else.

    Args:
        path: of a checkpoint.
        device: where it goes.
        how: otherwise than in float32; transformers' own arguments.

    Raises:
        CheckpointError: `path` is a folder that lacks something.
        BadWeights: it is a name, and what stands there is not whole.
    """
    if Path(path).exists() or Path(path).is_absolute():
        make = Checkpoint(path).model
    else:  # a name that transformers knows
        make = partial(load, path)
    how = {"dtype": torch.float32} | how
    model = make(attention=attention_of, **how)
    return model if "quantization_config" in how else model.to(device)


def attention_of(kind: type) -> str:
    """How models of that class compute attention here, by transformers' name for it."""
    if attention.takes(kind):
        return attention.register()
    return "sdpa" if getattr(kind, "_supports_sdpa", False) else "eager"


def layout_for(policy: Policy, *, share_prompts: bool) -> Layout:
    """How this model's rows are best made, by the attention it was loaded with, where it is."""
    device = policy.get_input_embeddings().weight.device
    with eagerly(device):
        shared = share_prompts and policy.on_whole_weights(policy.shares_prompts)
    if policy.takes_rows and device.type == "cuda":
        return Layout.FOREST if shared else Layout.PACKED
    return Layout.SHARED if shared else Layout.PADDED


def set_dropout(model: nn.Module, rate: float) -> None:
    """Dropout on every sub-layer's output and nowhere else; the saved config keeps its own.

    Raises:
        UnsupportedModel: a rate above 0 was asked of a model that has no place for it, or the
            model is random in training in another way, which would make every ratio wrong.
    """
    set_sublayer_dropout(model, 0.0)
    _prove_quiet(model)
    _set_rate(model, rate)


def _set_rate(model: nn.Module, rate: float) -> None:
    try:
        set_sublayer_dropout(model, rate)
    except NoSubLayers as error:
        raise UnsupportedModel(
            f"learner.dropout = {rate}, but {type(model).__name__} has no dropout. Set it to 0."
        ) from error


@torch.no_grad()
def _prove_quiet(model: Any) -> None:
    """Compare what the model says of a few tokens in training with what it says in evaluation."""
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    if embeddings is None:
        return
    weight = embeddings.weight
    ids = torch.arange(8, device=weight.device)[None] % weight.shape[0]
    still = model.eval()(input_ids=ids, use_cache=False).logits
    training = model.train()(input_ids=ids, use_cache=False).logits
    model.eval()
    # far below any noise, far above what a GPU's sums differ by from one time to the next
    if not torch.allclose(still, training, rtol=1e-3, atol=1e-3):
        raise UnsupportedModel(
            f"{type(model).__name__} is random in training although all dropout is off, so that "
            "the learner would not compute the probabilities that its rollouts were sampled with."
        )
