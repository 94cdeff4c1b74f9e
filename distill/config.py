"""What a person may choose about how a checkpoint learns from data that is already there."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from munro.base_model.adapters.config import LoraConfig
from munro.base_model.config import Config, OptimizerConfig, ScheduleConfig
from munro.base_model.data.config import DecontaminationConfig, MixtureConfig


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


class SelectConfig(Config):
    """Which traces are taken (MAI-Thinking-1 report, section 3.1.4)."""

    window: tuple[float, float] = (0.5, 1.0)
    """Part of the stored steps that traces come from: 0 is the first, 1 the last. Late and several
    is what the report found best; the half is our choice."""
    outcomes: Literal["passed", "all"] = "passed"
    """Only traces that passed, or failed ones too."""
    dropped: bool = False
    """Traces of tasks that the gates dropped too, as far as the climb kept them
    (`rollout.keep_dropped`): of what was too easy, or nearly too hard. Attempts at held-out tasks
    are never taken."""
    choose: Literal["uniform", "shortest", "reward", "typical"] = "uniform"
    """Which of a prompt's traces come first: any alike, the shortest, those with the highest
    reward, or those whose length is nearest to the prompt's median."""
    most_prompts: int = Field(0, ge=0)
    """Prompts that traces are taken of, drawn uniformly; 0 for all."""
    most_per_prompt: int = Field(0, ge=0)
    """Traces of one prompt; 0 for no limit."""
    most_traces: int = Field(1_000_000, ge=0)
    """Traces in all; 0 for no limit. A million suffices, more over-constrains."""
    most_tokens: int = Field(0, ge=0)
    """Tokens in all, prompts included; 0 for no limit."""
    weigh: Literal["samples", "tokens"] = "samples"
    """What the weights of several runs count."""
    seed: int = Field(0, ge=0)
    """Of every draw."""

    @model_validator(mode="after")
    def _window_is_one(self) -> Self:
        first, last = self.window
        if not 0 <= first < last <= 1:
            raise ValueError(
                f"select.window = [{first}, {last}]: give two shares of the climb in order, for "
                "example [0.5, 1.0] for its last half."
            )
        return self


class FiltersConfig(Config):
    """What no trace may have; what each filter dropped is counted, with examples."""

    truncated: bool = True
    """Drop what a limit ended."""
    tampered: bool = True
    """Drop verdicts that tests gave which the attempt had touched."""
    judge_directed: bool = True
    """Drop text that speaks to its judge, announces its verdict or fakes a turn."""
    least_work: int = Field(0, ge=0)
    """Words and signs before the final answer; fewer is an answer without work. 0 for any."""
    foreign_words: int = Field(10, ge=0)
    """Most words of other languages in the chain of thought (our choice)."""
    repetition: float = Field(0.3, ge=0, le=1)
    """Most of a text, as a share, that was said before in it (our choice)."""
    most_redundant: float = Field(1.0, ge=0, le=1)
    """Most calls of tools, as a share, that told again what was known; 1 for any."""
    least_efficiency: float = Field(0.0, ge=0, le=1)
    """Least share of calls that were carried out and told or did something new; 0 for any."""
    gave_up: bool = False
    """Drop what ends by saying that it could not be done, or without a word."""
    unfounded: bool = False
    """Drop what claims work at its end that none of its calls did."""
    duplicates: bool = True
    """Drop all but one of a prompt's traces that say the same."""
    near_duplicates: float = Field(1.0, gt=0, le=1)
    """Drop a trace this similar (Jaccard, by MinHash) to an earlier one of its prompt; 1 drops
    none."""
    decontamination: DecontaminationConfig = DecontaminationConfig()
    """Files of evaluation texts; traces that hold one of them are dropped."""
    least_reward: float | None = None
    """Total reward that a trace needs."""
    least_parts: dict[str, float] = Field(default_factory=dict)
    """Parts of the grade, such as a judge's, and what a trace needs of each."""


class ReplayConfig(Config):
    """Pre-training or mid-training data mixed in, so that what it taught is not forgotten."""

    share: float = Field(0.0, ge=0, lt=1)
    """Share of the tokens (the report does not say how much)."""
    mixture: MixtureConfig = MixtureConfig()
    """What is read; without sources, what the embedded base was trained on."""


class SftOptimizerConfig(OptimizerConfig):
    """AdamW; the report says nothing of the betas, which are those of pre-training."""

    learning_rate: float = Field(1.7e-5, gt=0)
    """Peak rate."""
    weight_decay: float = Field(0.001, ge=0)
    """Of feed-forward weights and whatever has no rule of its own."""
    attention_weight_decay: float = Field(0.001, ge=0)
    """Of attention projections."""
    embedding_weight_decay: float = Field(0.001, ge=0)
    """Of input and output embeddings."""
    router_weight_decay: float = Field(0.001, ge=0)
    """Of the matrices that choose experts."""
    norm_weight_decay: float = Field(0.001, ge=0)
    """Of norm gains and biases."""


class SftConfig(Config):
    """Supervised fine-tuning (report, sections 3.1.4 and 3.1.5)."""

    epochs: float = Field(1.0, gt=0)
    """Times that every trace is seen (the report does not say for self-distillation)."""
    batch_rows: int = Field(2048, ge=1)
    """Packed rows per step."""
    micro_rows: int = Field(0, ge=0)
    """Rows of one forward pass; gradients add up over them. 0 takes all at once."""
    row_tokens: int = Field(131_072, ge=8)
    """Tokens of a row, fewer where the base is made for less; a longer trace is dropped."""
    optimizer: SftOptimizerConfig = SftOptimizerConfig()
    shape: Literal["cosine", "linear", "constant"] = "cosine"
    """What follows the warm-up."""
    warmup: float = Field(0.02, ge=0, le=1)
    """Share of the steps over which the rate rises."""
    final: float = Field(5.2e-6 / 1.7e-5, ge=0, le=1)
    """Rate at the last step, as a share of the peak."""
    dropout: float = Field(0.15, ge=0, lt=1)
    """On every sub-layer's output, before it is added to the residual stream."""
    lora: LoraConfig | None = None
    """Train a low-rank adapter on the base instead of the base: [distill.training.lora]. A climb
    with [learner.lora] takes that one for its own distillations."""
    balance: float = Field(1e-2, ge=0)
    """Coefficient of the load-balancing loss, where the model has experts."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products: bfloat16 is autocast; weights, gradients and moments stay in float32."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints from which an interrupted training resumes."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 takes what torch chose."""
    seed: int = Field(0, ge=0)
    """Of dropout and of the order of the traces."""


class DistillConfig(Config):
    """Self-distillation and consolidation: which traces, cleaned how, learned how."""

    template: Literal["keep", "chat", "r1_zero", "plain"] = "keep"
    """Learn the sampled tokens as they are, or the same conversations written anew in another
    template, or for another tokenizer."""
    select: SelectConfig = SelectConfig()
    filters: FiltersConfig = FiltersConfig()
    teachers: dict[str, FiltersConfig] = Field(default_factory=dict)
    """Filters for single runs, by the run's name, in place of `filters`."""
    replay: ReplayConfig = ReplayConfig()
    training: SftConfig = SftConfig()


CONSOLIDATION = DistillConfig(
    training=SftConfig(
        epochs=4,
        optimizer=SftOptimizerConfig(learning_rate=1e-5),
        final=0.5,
    )
)
"""What consolidation starts from (report, section 3.5): 4 epochs, 1e-5 down to 5e-6."""
