"""What a person may choose about how a checkpoint learns from data that is already there."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from base_model.config import Config, OptimizerConfig, ScheduleConfig


class PreferenceConfig(Config):
    """A preference model, fine-tuned from comparisons (`munro preference train`)."""

    num_steps: int = Field(500, ge=1)
    """Optimizer steps."""
    batch_rows: int = Field(8, ge=1)
    """Packed rows per step; a row has room for the longest example."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-5)
    schedule: ScheduleConfig = ScheduleConfig(warmup_steps=20)
    candidates: int = Field(0, ge=0, le=64)
    """k: most candidates in one prompt; 0 for as many as the longest comparison has."""
    context_tokens: int = Field(2048, ge=1)
    """Of a longer context the end is kept; fewer where the model is made for less."""
    candidate_tokens: int = Field(2048, ge=1)
    """Of a longer candidate the beginning is kept; fewer where the model is made for less."""
    permute: bool = True
    """Show the candidates in a new order each time; otherwise as they stand in the file."""
    foreign_share: float = Field(0.2, ge=0, le=1)
    """Share of examples with one candidate from another context, which scores 1 (robust RM,
    arXiv 2409.13156; shares are our choice)."""
    neutral_share: float = Field(0.1, ge=0, le=1)
    """Share of examples with all candidates from other contexts, which score 1 alike."""
    held_out: float = Field(0.1, gt=0, lt=1)
    """Share of the contexts that is kept for testing."""
    bias_comparisons: int = Field(64, ge=1)
    """Most held-out comparisons over which position bias is measured."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints from which an interrupted training resumes."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 takes what torch chose."""
    seed: int = Field(0, ge=0)
    """Of the split, the orders and what comes from elsewhere."""

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        if self.foreign_share + self.neutral_share > 1:
            raise ValueError(
                f"foreign_share = {self.foreign_share} and neutral_share = {self.neutral_share} "
                "are more than 1 together: lower one."
            )
        if self.candidates == 1:
            raise ValueError("candidates = 1 leaves nothing to compare: set 2 or more, or 0.")
        return self
