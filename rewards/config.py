"""What a person may choose about rewards."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    """A typo is an error, and nothing changes after start-up."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RewardsConfig(Config):
    """Weights of the parts of a reward (MAI-Thinking-1 report, Eqs. 10 to 12)."""

    language_weight: float = Field(0.5, ge=0)
    """w_lang: what a chain of thought in one language is worth."""
    language_alpha: float = Field(0.005, gt=0)
    """Language reward lost per non-English word of the chain of thought."""
    length_weight: float = Field(0.25, ge=0)
    """w_len: the largest deduction for length (0 at the report's last stage)."""
    max_unscored_rate: float = Field(0.2, gt=0, le=1)
    """Share of attempts without a grade, over the last 20 groups, above which the run stops."""
    workers: int = Field(2, ge=1)
    """Killable child processes that check answers."""
    timeout_s: float = Field(5.0, gt=0)
    """Wall seconds that one check may take before its process is killed."""
    memory_mb: int = Field(1024, ge=128)
    """Address space of one checking process, in MiB."""
