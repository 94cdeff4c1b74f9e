"""What adapters change in how a climb's processes are set up."""

from __future__ import annotations

from pathlib import Path

from munro.base_model.checkpoint import Checkpoint
from munro.machine.config import RunConfig
from munro.rollout.adapters import Adapters, SharedMemoryAdapters
from munro.rollout.weights import SharedMemoryWeights

MERGED = "merged"
"""Folder in a run's for the whole model that an adapter and its base make."""


def served_model(config: RunConfig, model: Path, folder: Path, *, learner: bool) -> Path:
    """The folder of the whole model that servers start with.

    Of an adapter it is the base where adapters are trained, for the adapter is published at once;
    else the two are merged, in `folder`.

    Raises:
        CheckpointError: the adapter or its base is not whole.
    """
    checkpoint = Checkpoint(model)
    if not checkpoint.is_adapter:
        return model
    if learner and config.learner.lora is not None:
        return checkpoint.base()
    return merged(checkpoint, folder / MERGED).path


def with_whole_judges(config: RunConfig, folder: Path) -> RunConfig:
    """The config with a whole model for every judge that is served here and is an adapter.

    Raises:
        CheckpointError: the adapter or its base is not whole.
    """
    whole = {}
    for name, judge in config.judge.items():
        checkpoint = Checkpoint(Path(judge.model).expanduser().absolute())
        if not judge.base_url and checkpoint.is_adapter:
            made = merged(checkpoint, folder / f"{MERGED}-{name}")
            whole[name] = judge.model_copy(update={"model": str(made.path)})
    return config.model_copy(update={"judge": config.judge | whole}) if whole else config


def merged(adapter: Checkpoint, out: Path, *, dtype: str = "auto") -> Checkpoint:
    """Write the whole model that an adapter and its base make; it knows what it was climbed on.

    Args:
        adapter: a checkpoint that is one.
        out: folder to write.
        dtype: of the result, by torch's name; "auto" is that of the base.

    Raises:
        CheckpointError: the adapter or its base is not whole, or the disk refused.
    """
    return Checkpoint.write(
        out,
        model=adapter.require().model(dtype=dtype),
        tokenizer=adapter.tokenizer(),
        provenance=adapter.provenance() | {"merged_from": str(adapter.path)},
    )


def told(config: RunConfig, model: Path, *, learner: bool) -> Adapters | None:
    """What engines must be ready for; None where whole weights are published, or nothing is.

    Args:
        config: resolved.
        model: that servers start with.
        learner: whether there is one.

    Raises:
        BadAdapter: the config asks for an adapter that cannot be on this model.
    """
    lora = config.learner.lora
    if lora is None or not learner:
        return None
    from munro.base_model.adapters.attach import choose, suffixes

    skeleton = Checkpoint(model).model(device_map="meta")
    return Adapters(
        rank=lora.rank,
        alpha=lora.alpha,
        modules=suffixes(choose(skeleton, lora.modules)),
        # those that a group may be sampled with and still be trained on, and the newest
        versions=config.sync.max_staleness + 2,
        base_bits=lora.base_bits,
    )


def described(config: RunConfig) -> list[str]:
    """Lines of a dry run about the adapter; none where whole weights are trained.

    Raises:
        BadAdapter: the config asks for an adapter that cannot be on this model.
        CheckpointError: the model is an adapter whose base is gone or another.
    """
    lora = config.learner.lora
    if lora is None:
        return []
    said = f"adapter   rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}"
    model = Checkpoint(Path(config.model.path).expanduser().absolute())
    if not config.model.path or not model.path.is_dir():
        return [said]
    adapters = told(config, model.base(), learner=True)
    assert adapters is not None
    going_on = ", the model's own" if model.is_adapter else ""
    return [
        f"{said}{going_on}; on {', '.join(adapters.modules)}",
        f"          engines hold at most {adapters.versions} of them at once",
    ]


def transfer(folder: str, adapters: Adapters | None) -> SharedMemoryWeights:
    """How what the learner publishes reaches the engines."""
    if adapters is None:
        return SharedMemoryWeights(folder)
    return SharedMemoryAdapters(folder, adapters)
