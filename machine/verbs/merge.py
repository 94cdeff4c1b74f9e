"""`munro merge`: an adapter and its base as one whole model, with proof that it says the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from munro.base_model.adapters import files
from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.hub import folder_of
from munro.machine.climb.adapters import merged

TOKENS = 256
"""That adapter and whole model are both asked about."""


def run_merge(checkpoint: str, out: str, base: str, dtype: str) -> int:
    """Write the whole model, and say how far its scores are from those of base and adapter.

    Args:
        checkpoint: folder of an adapter.
        out: folder to write; must not exist.
        base: where the base is now, a folder or a name on the hub; empty for where it was.
        dtype: of the result, by torch's name; "auto" is that of the base.

    Raises:
        CheckpointError: it is no adapter, its base is gone or another, or `out` is there.
    """
    adapter = Checkpoint(Path(checkpoint).expanduser().absolute()).require()
    target = Path(out).expanduser().absolute()
    if not adapter.is_adapter:
        raise CheckpointError(adapter.path, "it is a whole model: there is nothing to merge")
    if target.exists():
        raise CheckpointError(target, "it exists already: name another OUT, or remove it")
    with TemporaryDirectory(prefix="munro-merge-") as scratch:
        if base:
            adapter = _moved(adapter, folder_of(base), Path(scratch) / "adapter")
        whole = merged(adapter, target, dtype=dtype)
        off, moved = _compared(adapter, whole)
    click.echo(
        f"wrote {out}: of {TOKENS} tokens its log-probabilities are {off:.2g} nats from those of "
        f"base and adapter on average, which are {moved:.2g} from the base's"
    )
    return 0


def _moved(adapter: Checkpoint, base: Path, scratch: Path) -> Checkpoint:
    """The adapter, saying that its base is elsewhere."""
    shutil.copytree(adapter.path, scratch)
    told = {"path": str(base)}
    if (scratch / files.BASE).is_file():
        told = json.loads((scratch / files.BASE).read_text(encoding="utf-8")) | told
    (scratch / files.BASE).write_text(json.dumps(told), encoding="utf-8")
    try:
        files.require_base(scratch, Checkpoint(base).require().path)
    except BadAdapter as error:
        raise CheckpointError(adapter.path, error) from error
    return Checkpoint(scratch)


def _compared(adapter: Checkpoint, whole: Checkpoint) -> tuple[float, float]:
    """Mean |log-prob difference| of random tokens: merged against apart, and apart against base."""
    import torch

    from munro.base_model.adapters.attach import left_out

    apart = Checkpoint(adapter.base()).model(dtype=torch.float32)
    ids = torch.randint(
        apart.config.get_text_config().vocab_size,
        (1, TOKENS + 1),
        generator=torch.Generator().manual_seed(0),
    )
    # the whole first, and gone before the other two are asked
    merged_logp = _logp(whole.model(dtype=torch.float32), ids)
    files.put_on(apart, adapter.path)
    logp = _logp(apart, ids)
    with left_out(apart):
        base_logp = _logp(apart, ids)
    return float((merged_logp - logp).abs().mean()), float((logp - base_logp).abs().mean())


def _logp(model: Any, ids: Any) -> Any:
    import torch

    with torch.no_grad():
        logp = model.eval()(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    return logp.gather(-1, ids[0, 1:, None])[:, 0]
