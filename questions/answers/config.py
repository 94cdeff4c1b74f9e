"""What a person may choose about scoring questions: who tries them, and who judges a doubt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from munro.base_model.config import Config
from munro.rewards.judge.config import JudgeConfig
from munro.rollout.config import RolloutConfig


class ServeConfig(Config):
    """How Munro runs a checkpoint that is a tier."""

    engine: str = "vllm"
    """Inference engine, as `rollout.engine`: "vllm", "transformers", or a path to your own."""
    template: Literal["", "chat", "r1_zero", "plain"] = ""
    """How a question becomes a prompt; empty takes what the checkpoint was climbed in."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """What its chat template is told, as in { enable_thinking = false }."""
    nucleus_candidates: int = Field(64, ge=1)
    """Widest nucleus that is sampled from, where `top_p` is below 1."""
    max_context: int = Field(0, ge=0)
    """Longest prompt and answer together, in tokens; 0 takes the model's own limit."""
    max_batch: int = Field(256, ge=1)
    """Sequences that are decoded at once."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision: auto is float32 on the CPU and bfloat16 on GPUs."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share the model."""
    gpu_memory: float = Field(0.85, gt=0, le=1)
    """Share of a GPU's memory that vLLM may take."""
    cpu_kv_cache_gb: float = Field(1.0, gt=0)
    """GiB of key-value cache on the CPU."""

    @field_validator("engine")
    @classmethod
    def _the_engine_is_known(cls, name: str) -> str:
        return RolloutConfig(engine=name).engine


class TierConfig(Config):
    """A model that tries every question: a checkpoint that Munro runs, or one at an address."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What its pass rate is called."""
    model: str = Field(min_length=1)
    """Folder of a checkpoint; with `base_url`, the model's name there."""
    base_url: str = Field("", pattern=r"^(https?://[^@\s]+)?$")
    """OpenAI-compatible address, as in "http://localhost:8000/v1"; empty where Munro runs it."""
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
    retries: int = Field(4, ge=0)
    """Times that an attempt is made again after a failure that may pass; then it has failed."""
    prompt: str = "{question}\n\nPut the final answer in <answer></answer> tags."
    """The question, with {question} in it."""
    final: Literal["answer", "last_number"] = "answer"
    """What of a reply is its final answer: the one it marks (tags, a box, "the answer is"), or, of
    a base model that marks none, the last number it writes."""
    concurrency: int = Field(32, ge=1)
    """Requests under way at once, of an address."""
    timeout_s: float = Field(300.0, gt=0)
    """Seconds for one request, of an address."""
    backoff_s: float = Field(1.0, ge=0)
    """Wait before the first retry at an address, doubled each time up to a minute; longer where the
    service asks for it."""
    serve: ServeConfig = ServeConfig()
    """How Munro runs it, where there is no address."""

    @model_validator(mode="before")
    @classmethod
    def _all_tiers_make_as_many(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "attempts" in given:
            raise ValueError(
                f"attempts = {given['attempts']} of a tier: all tiers make as many, for no pass "
                "rate comes from fewer. Set scoring.attempts."
            )
        return given

    @field_validator("prompt")
    @classmethod
    def _asks(cls, prompt: str) -> str:
        if "{question}" not in prompt:
            raise ValueError(f"prompt = {prompt!r}: it must hold {{question}}.")
        return prompt

    @model_validator(mode="after")
    def _is_run_or_asked(self) -> Self:
        if self.base_url and "serve" in self.model_fields_set:
            raise ValueError(
                f"serve: tier {self.name} is at an address, and is run there. Leave out serve, or "
                "base_url."
            )
        if self.api_key_env and not self.base_url:
            raise ValueError(
                f"api_key_env: tier {self.name} has no address that could ask for a key. Give its "
                "base_url, or leave it out."
            )
        return self


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
