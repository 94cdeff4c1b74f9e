"""What a plan assumes, where a climb's config cannot say: hardware, answers, rates."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from munro.base_model.ladder import ModelShape
from munro.rewards.config import Config
from munro.rewards.plugins import nearest

TABLE = Path(__file__).with_name("hardware.toml")
HERE = "here"


def kinds() -> dict[str, dict[str, float]]:
    """The table of hardware, by kind."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


class HardwareConfig(Config):
    """GPUs of a kind, or others by their figures; a figure that is given goes before the kind's."""

    kind: str = HERE
    """H100, H200, B200, GB200, GB300, H800, H20, or "here": this machine."""
    memory_gb: float = Field(0, ge=0)
    """Memory of a GPU, 1e9 bytes."""
    memory_tb_s: float = Field(0, ge=0)
    """Bandwidth of that memory, TB/s."""
    tflops: float = Field(0, ge=0)
    """Peak of dense bfloat16 products."""
    nvlink_gb_s: float = Field(0, ge=0)
    """Within an NVLink domain, one way, GB/s."""
    domain: int = Field(0, ge=0)
    """GPUs of such a domain."""
    nic_gb_s: float = Field(0, ge=0)
    """Between domains, one way, GB/s."""
    host_gb_s: float = Field(0, ge=0)
    """Between a GPU and its host's memory, one way, GB/s."""
    failure_gpu_hours: tuple[float, float] = (8_100.0, 50_700.0)
    """GPU-hours from one failure to the next, at worst and at best. Published: 7.9 h at 1,024 GPUs
    (Meta's research clusters), 419 in 54 days of 16,384 (Llama 3)."""

    @model_validator(mode="after")
    def _the_kind_is_known(self) -> Self:
        known = [HERE, *kinds()]
        if self.kind not in known:
            alike = {one.lower(): one for one in known}
            hint = alike.get(self.kind.lower())
            meant = f"Did you mean {hint}?" if hint else nearest(self.kind, known)
            raise ValueError(f"plan.hardware.kind = {self.kind!r} is no hardware known. {meant}")
        return self


class PlanConfig(Config):
    """Assumptions of `munro plan`; a climb looks at none of them."""

    rung: int = Field(0, ge=0)
    """Plan for the bundled family's model of so many layers, instead of model.path's."""
    shape: Mapping[str, Any] = {}
    """With `rung`: sizes of `munro.base_model.ladder.ModelShape` that do not follow from it."""
    hardware: HardwareConfig = HardwareConfig()
    mean_tokens: float = Field(0, ge=0)
    """Tokens of a response in the mean, before the cap cuts it; 0 takes 3/16 of the last cap."""
    spread: float = Field(0.8, ge=0)
    """Standard deviation of a response's log length; 0 makes all alike."""
    prompt_tokens: int = Field(512, ge=0)
    """Tokens of a prompt."""
    pass_early: float = Field(0.45, gt=0, le=1)
    """Share of tasks that the first gate lets through."""
    pass_full: float = Field(0.85, gt=0, le=1)
    """Share of those that the second lets through."""
    utilisation: float = Field(0.2, gt=0, le=1)
    """Of the peak that the learner reaches, recomputation not counted as work. The report trains at
    0.20."""
    token_ms: tuple[float, float] | None = None
    """(a, b): a server makes a token of every sequence in a + b x sequences per GPU milliseconds.
    Measure yours; left out, it is reckoned from the bandwidth of the memory."""
    link_share: float = Field(0.5, gt=0, le=1)
    """Of a link that a weight transfer reaches, and of a memory's bandwidth that sampling does."""
    store_gb_s: float = Field(10.0, gt=0)
    """What checkpoints are written with, all ranks together, GB/s."""
    learner_down_s: float = Field(600.0, ge=0)
    """From a learner rank's death to the next step."""
    server_down_s: float = Field(300.0, ge=0)
    """From a server's death until another serves."""
    seed: int = Field(0, ge=0)
    """Of `--simulate`."""

    @model_validator(mode="after")
    def _the_shape_is_one(self) -> Self:
        if self.shape and not self.rung:
            raise ValueError(
                f"plan.shape = {dict(self.shape)} says what differs from a rung: set plan.rung, "
                "the number of layers."
            )
        if self.rung:
            ModelShape.rung(self.rung, **self.shape)
        if self.token_ms is not None and not (self.token_ms[0] > 0 <= self.token_ms[1]):
            raise ValueError(
                f"plan.token_ms = {list(self.token_ms)}: milliseconds of a token alone, above 0, "
                "and for each sequence more, 0 or above."
            )
        low, high = self.hardware.failure_gpu_hours
        if not 0 < low <= high:
            raise ValueError(
                f"plan.hardware.failure_gpu_hours = [{low:g}, {high:g}]: hours at worst and at "
                "best, the first above 0 and no more than the second."
            )
        return self
