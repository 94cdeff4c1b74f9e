"""What a person may choose about scoring questions: who tries them, and who judges a doubt."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from munro.base_model.config import Config
from munro.rewards.judge.config import JudgeConfig


class TierConfig(Config):
    """A model that tries every question, at an OpenAI-compatible address."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What its pass rate is called."""
    model: str = Field(min_length=1)
    """Name of the model at `base_url`."""
    base_url: str = Field(pattern=r"^https?://[^@\s]+$")
    """As in "http://localhost:8000/v1"; `munro serve` serves a checkpoint of yours at one."""
    api_key_env: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=64)
    """Environment variable that holds the key, never the key itself; empty for no key."""
    temperature: float = Field(1.0, gt=0, le=2)
    """Of its sampling."""
    top_p: float = Field(0.97, gt=0, le=1)
    """Of its sampling."""
    max_tokens: int = Field(4096, ge=1)
    """Of one attempt; what is cut off there has no final answer, and is a wrong one."""
    seed: int = Field(0, ge=0)
    """Of the first attempt; each further one has the next."""
    concurrency: int = Field(32, ge=1)
    """Requests under way at once."""
    timeout_s: float = Field(300.0, gt=0)
    """Seconds for one request."""
    retries: int = Field(4, ge=0)
    """Times that a request is sent again."""
    prompt: str = "{question}\n\nPut the final answer in <answer></answer> tags."
    """The question, with {question} in it."""

    @field_validator("prompt")
    @classmethod
    def _asks(cls, prompt: str) -> str:
        if "{question}" not in prompt:
            raise ValueError(f"prompt = {prompt!r}: it must hold {{question}}.")
        return prompt


class ScoringConfig(Config):
    """When an answer is in doubt. The report gives no figures: all three are ours."""

    attempts: int = Field(8, ge=1)
    """At each question by each tier."""
    low: float = Field(0.25, ge=0, le=1)
    """Pass rate of the strongest tier at or under which what it agrees on is shown to the judge."""
    agree: float = Field(0.5, gt=0, le=1)
    """Share of its attempts that makes a consensus."""


class ScoreConfig(Config):
    """What one TOML file says."""

    tiers: tuple[TierConfig, ...] = Field(min_length=1)
    """Weakest first."""
    judge: JudgeConfig | None = None
    """Says which of two answers is right; without one, doubts are kept and named."""
    scoring: ScoringConfig = ScoringConfig()
    cache: str = "~/.cache/munro/questions"
    """Folder that remembers attempts; empty remembers nothing."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [tier.name for tier in self.tiers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"tiers: the name {twice!r} is taken: give each its own.")
        return self
