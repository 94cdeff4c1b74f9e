"""What a dry run says of how weights will come to vLLM's processes, where they come by plan."""

from __future__ import annotations

from pathlib import Path

from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.rewards.errors import PolicyError
from munro.rollout.vllm.foresee import Foreseen, foresee

SHOWN = 20
"""Tensors listed by name."""


def arriving(config: RunConfig, folder: Path | None, kind: str) -> list[str]:
    """Lines of a dry run; none where weights come otherwise, or vLLM is not what serves them.

    Args:
        config: resolved.
        folder: of the model; None for one that is not here yet.
        kind: of transfer, as `transport_of` says it.

    Raises:
        BadConfig: vLLM cannot take the model's weights in parts, or too few of them.
    """
    if kind != "group" or config.rollout.engine != "vllm":
        return []
    if folder is None:
        return ["weights   by plan; what must come whole is known once the model is here"]
    try:
        found = foresee(folder)
    except PolicyError as error:
        raise BadConfig(str(error)) from error
    whole = sum(found.whole.values())
    if whole > config.sync.max_whole * found.num_bytes:
        raise BadConfig(
            f"{_mb(whole)} of the weights' {_mb(found.num_bytes)} would come whole "
            f"to every vLLM process, and sync.max_whole = {config.sync.max_whole:g} allows "
            f'{config.sync.max_whole:.0%}: set it higher, or sync.transport = "file".'
        )
    return _lines(found, whole)


def _lines(found: Foreseen, whole: int) -> list[str]:
    total = _mb(found.num_bytes)
    said = f"weights   by plan: each vLLM process takes its own part of {total}"
    if not found.whole:
        return [said + "; nothing must come whole"]
    largest = sorted(found.whole.items(), key=lambda one: -one[1])
    lines = [f"{said}, and whole ({_mb(whole)}), for vLLM looks at the values of:"]
    lines += [f"          {name}: {_mb(size)}" for name, size in largest[:SHOWN]]
    if len(largest) > SHOWN:
        lines.append(f"          and {len(largest) - SHOWN} more")
    return lines


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
