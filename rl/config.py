"""What a person may choose about learning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from munro.base_model.adapters.config import LoraConfig
from munro.base_model.config import ParallelConfig, ScheduleConfig
from munro.rewards.config import Config, RewardsConfig
from munro.rollout.config import RolloutConfig

WHOLE = "eval/pass_rate"
"""The held-out pass rate of all environments."""
OF_TOTAL = ("task", "language", "length", "repetition", "truncation")
"""Parts that every attempt has, as `munro.rewards.combine.compose` measures them."""


class ClipConfig(Config):
    """Trust region and entropy control (MAI-Thinking-1 report, section 3.1.1, Eqs. 7 to 9)."""

    eps: float = Field(0.6, gt=0, lt=1)
    """Lower bound is 1 - eps, upper 1 / (1 - eps) + k."""
    eps_high: float = Field(0.0, ge=0)
    """Above 0, the upper bound is 1 + eps_high + k, whatever eps is."""
    entropy_target: float = Field(0.3, gt=0)
    """H*: nats per token."""
    entropy_step: float = Field(0.25, ge=0)
    """delta: how far k moves after each optimizer step."""
    widening_max: float = Field(2.5, ge=0)
    """k_max; 0 keeps the clip fixed."""
    outer: float = Field(50.0, gt=1)
    """r_max: bound on the ratio in every branch."""
    entropy_estimator: Literal["plain", "clipped"] = "plain"
    """Ratio that weighs each token's -log p: as printed in the report, or outer-clipped."""


class RateConfig(ScheduleConfig):
    """How the learning rate moves, from the first step or the last restart on."""

    shape: Literal["cosine", "linear", "constant"] = "constant"
    """What follows the linear warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of the warm-up."""
    final: float = Field(0.0, ge=0, le=1)
    """Rate at the last step, as a share of learner.learning_rate; a constant one stays whole."""
    num_steps: int = Field(0, ge=0)
    """Steps until `final` is reached; 0 takes those of the climb."""


class LearnerConfig(Config):
    """The optimizer and how a batch is cut up (report, section 3.1.5)."""

    loss: str = "policy"
    """A loss by name (policy, cispo, dapo, dr_grpo, gspo, or an entry point of the group
    munro.losses) or by path ("./mine.py:my_loss")."""
    advantage: str = "group_relative"
    """An advantage by name (group_relative, dr_grpo, rloo, gdpo, or an entry point of the group
    munro.advantages) or by path."""
    learning_rate: float = Field(1e-6, gt=0)
    """The peak, where the schedule moves it; the report's is constant."""
    schedule: RateConfig = RateConfig()
    kl_weight: float = Field(0.0, ge=0)
    """Weight of the distance to the model that the climb began from, or was last distilled to; at 0
    that is not held in memory, and nothing is computed with it."""
    optimizer: Literal["adamw", "adamw8bit", "muon"] = "adamw"
    """Of hidden matrices: AdamW, the same with its moments in 8 bits (bitsandbytes), or Muon.
    Embeddings, the output matrix and norms are AdamW's whatever it says."""
    offload: bool = False
    """Keep the optimizer's moments in the host's memory between steps, and bring them to the GPU a
    few parameters at a time: the same weights bit for bit, 8 bytes a parameter less on the GPU."""
    betas: tuple[float, float] = (0.95, 0.95)
    """AdamW's; Muon's momentum is the first."""
    eps: float = Field(1e-15, gt=0)
    """AdamW's."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Global gradient norm is clipped to this; the norm before is logged."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """In RL none; self-distillation uses 0.15."""
    token_budget: int = Field(8192, ge=0)
    """Tokens of one micro-batch that a rank computes, prompt and padding included; a longer
    sequence goes alone. 0 takes as many as a GPU's memory is reckoned to have room for (`--dry-run`
    says how many), and 8192 on a CPU. Ranks of one `parallel.context` compute so many each."""
    logits_chunk: int = Field(1024, ge=1)
    """Positions of a micro-batch whose logits over the whole vocabulary may exist at once: they are
    kept for the backward pass, those of further positions are computed again."""
    share_prompts: bool = True
    """Compute a group's common prompt once, with a mask; needs full attention in every layer."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""
    replay_routing: Literal["auto", "require", "off"] = "auto"
    """Have a mixture of experts repeat the engine's choice of experts, its gates computed anew
    (report, section 3.1.3): where both sides can, or fail where one cannot, or never."""
    balance: float = Field(1e-5, ge=0)
    """Weight of the load-balancing loss, for models with experts that count their load."""
    ranks: int = Field(1, ge=1)
    """Learner processes; more than one shards the model with FSDP2 through accelerate."""
    standby: int = Field(0, ge=0)
    """Further processes that have imported everything and take a dead rank's place at once; each
    holds what a rank reserves, a GPU where there are any."""
    reduce_once: bool = True
    """With `ranks` above 1: sum gradients over them once a step; until then each rank holds those
    of the whole model, 4 bytes a parameter. Unset, it is done after every micro-batch."""
    parallel: ParallelConfig = ParallelConfig()
    """With `ranks` above 1: what they have in common; by default FSDP parts everything among all of
    them."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the model is computed in, on weights in float32: auto is bfloat16 on GPUs and float32 on
    CPUs. Of these, some are faster in bfloat16; set `rollout.dtype` with it."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Have torch.compile make the model's layers faster, which costs half a minute at the start:
    auto does so on GPUs, and leaves mixtures of experts as they are."""
    threads: int = Field(0, ge=0)
    """CPU threads of a rank; 0 takes all cores, divided among the ranks."""
    advantage_eps: float = Field(1e-6, ge=0)
    """Added to the group's population standard deviation, where the advantage divides by it."""
    advantage_parts: dict[str, float] = Field(default_factory=dict)
    """Weights of parts of the reward, for an advantage that takes them one by one (gdpo)."""
    tokens_per_sequence: int = Field(1024, ge=1)
    """With `loss` = "dr_grpo": what it divides a sequence's sum by, however long it is."""
    lora: LoraConfig | None = None
    """Train a low-rank adapter on the model instead of the model: [learner.lora]."""

    @property
    def data_ranks(self) -> int:
        """Shares of a batch: `parallel.context` ranks in a row have the same."""
        return self.ranks // self.parallel.context

    def in_bfloat16(self, *, on_gpu: bool) -> bool:
        """Whether the model is computed in bfloat16 there."""
        return self.precision == "bfloat16" or (self.precision == "auto" and on_gpu)

    def data_rank(self, rank: int) -> int:
        """Which share is a rank's."""
        return rank // self.parallel.context

    @model_validator(mode="after")
    def _meshes_are_of_the_ranks(self) -> Self:
        self.parallel.refuse(self.ranks, "learner.parallel", "learner.ranks")
        if self.lora is not None and not self.parallel.is_plain:
            raise ValueError(
                "[learner.parallel] parts whole models among ranks, and [learner.lora] trains an "
                "adapter: leave one of them out."
            )
        return self

    @model_validator(mode="after")
    def _a_micro_batch_holds_something(self) -> Self:
        if 0 < self.token_budget < 64:
            raise ValueError(
                f"learner.token_budget = {self.token_budget}: a micro-batch has 64 tokens at "
                "least; 0 takes what a GPU has room for."
            )
        return self

    @model_validator(mode="after")
    def _parts_have_weights(self) -> Self:
        if not all(map(math.isfinite, self.advantage_parts.values())):
            raise ValueError(f"learner.advantage_parts = {self.advantage_parts}: finite weights.")
        if self.advantage == "gdpo" and not any(self.advantage_parts.values()):
            raise ValueError(
                'learner.advantage = "gdpo" normalises parts of the reward one by one: give their '
                "weights, as in learner.advantage_parts = { task = 1.0, length = -0.25 }."
            )
        return self


class BatchConfig(Config):
    """What one optimizer step takes."""

    num_groups: int = Field(55, ge=1)
    """Groups per optimizer step."""
    patience: int = Field(32, ge=1)
    """Tasks handed out per wanted group before a step makes do with what passed the gates."""


class SyncConfig(Config):
    """How fresh the policy that samples is, and the proof that its weights arrived."""

    every_steps: int = Field(5, ge=1)
    """Optimizer steps between weight updates of the inference servers."""
    max_staleness: int = Field(8, ge=0)
    """Groups older than this many weight updates are dropped; 0 takes turns and is deterministic:
    one wave of groups serves all steps up to the next weight update."""
    transport: Literal["auto", "file", "group", "ipc", "nccl"] = "auto"
    """How weights reach the servers: "file" (in shared memory, or `weights_folder`); "group", each
    learner rank sending what it holds to those who want it, from node to node and without a file;
    or from GPU to GPU by vLLM's own engines: "ipc" on the GPU that `ray.colocate` shares, "nccl" by
    a broadcast. auto is "ipc" on a shared GPU, "group" on several nodes without a
    `weights_folder`, and "file" elsewhere. (`transfer` is its former name.)"""
    bucket_mib: int = Field(256, ge=1)
    """With `transport` = "group": MiB that a server's process is sent at once; it holds two."""
    relay: Literal["none", "chain", "tree"] = "none"
    """With `transport` = "group": whether servers hand weights on, one to the next or one to two,
    or each has them from the learner."""
    slices: int = Field(1, ge=1)
    """With `transport` = "group": parts of the fleet, each fed by learner ranks of its own where
    they hold the same."""
    max_whole: float = Field(0.05, ge=0, le=1)
    """With `transport` = "group": share of the weights' bytes that may have to go whole to every
    process of a server, for its engine's loaders do not say which part they use."""
    weights_folder: str = ""
    """Where servers find new weights. Empty is shared memory, on the learner's node alone; servers
    on other nodes need a folder of a file system that all nodes share."""
    min_servers: int = Field(1, ge=1)
    """Inference servers that must take new weights within `deadlines.sync_s`. Later ones are set
    aside, asked for nothing, until they take an update in time again."""
    in_flight: bool = False
    """Swap weights under running requests instead of letting them finish first."""
    proof_tokens: int = Field(64, ge=1)
    """Stored tokens scored on both sides after every weight update."""
    proof_bound: float = Field(0.05, gt=0)
    """Largest mean |log-prob difference| between engine and learner after an update, in nats."""

    @model_validator(mode="before")
    @classmethod
    def _transport_was_called_transfer(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "transfer" not in given:
            return given
        old, told = given["transfer"], {k: v for k, v in given.items() if k != "transfer"}
        if told.setdefault("transport", old) != old:
            raise ValueError(
                f'sync.transfer = "{old}" and sync.transport = "{told["transport"]}": these are '
                "two names of one key. Keep sync.transport."
            )
        return told


class LengthConfig(Config):
    """The cap on response length (report, section 3.1.4: doubled stage by stage)."""

    curriculum: str = "stages"
    """When a stage ends, by name (stages: too many truncated; schedule: `patience` steps; or an
    entry point of the group munro.curricula) or by path ("./mine.py:my_curriculum")."""
    budget: Literal["stage", "difficulty"] = "stage"
    """One cap for all, or within a stage a share of it by the task's last pass rate."""
    stages: tuple[int, ...] = (8192, 16384, 32768, 65536, 131072)
    """Response tokens of each stage."""
    truncation_trigger: float = Field(0.2, gt=0, le=1)
    """A stage ends when this share of responses was truncated, averaged over `patience` steps."""
    patience: int = Field(20, ge=1)
    """Steps over which the truncation rate is averaged; also the shortest stage."""
    difficulty_floor: float = Field(0.25, gt=0, le=1)
    """With budget = "difficulty": share of the stage's cap that the easiest task gets."""

    @model_validator(mode="after")
    def _stages_grow(self) -> Self:
        if not self.stages or list(self.stages) != sorted(set(self.stages)) or self.stages[0] < 1:
            raise ValueError(
                f"length.stages = {list(self.stages)}: give response caps that grow, "
                "for example [8192, 16384]."
            )
        return self


class CollapseConfig(Config):
    """What counts as a collapse; a bound of 0 is not watched.

    The report names the symptoms (MAI-Thinking-1 report, sections 3.1.1 to 3.1.4); the numbers
    are ours.
    """

    patience: int = Field(5, ge=1)
    """Steps in a row that a figure must be out of its bounds."""
    entropy_low: float = Field(0.002, ge=0)
    """Least entropy, in nats per token."""
    entropy_high: float = Field(6.0, ge=0)
    """Most entropy, in nats per token."""
    mismatch_kl: float = Field(1.0, ge=0)
    """Largest KL between engine and learner on the sampled tokens, in nats per token."""
    grad_norm: float = Field(100.0, ge=0)
    """Largest gradient norm before clipping."""
    pass_rate_drop: float = Field(0.3, ge=0, le=1)
    """How far the pass rate may fall below the best mean of `patience` steps."""


class CheckpointConfig(Config):
    """How often a climb is saved."""

    every_steps: int = Field(50, ge=1)
    """Optimizer steps between checkpoints."""
    ephemeral_steps: int = Field(0, ge=0)
    """Steps between checkpoints that last until the next one stands; 0 for none."""
    keep: int = Field(3, ge=1)
    """Newest checkpoints kept; older ones are removed."""
    best: str = "eval/pass_rate"
    """Held-out figure by the lower end of whose interval the best checkpoint is known:
    "eval/pass_rate", or of one environment "eval/NAME/pass_rate". That checkpoint is saved though
    none is due, kept whatever comes after it, and `checkpoints/best` points to it. Empty for
    none."""

    @field_validator("best", mode="before")
    @classmethod
    def _yes_and_no(cls, value: Any) -> Any:
        # what it was before it named a figure
        return {True: WHOLE, False: ""}.get(value, value) if isinstance(value, bool) else value

    @field_validator("best")
    @classmethod
    def _has_an_interval(cls, figure: str) -> str:
        if figure and not (figure.startswith("eval/") and figure.endswith("/pass_rate")):
            raise ValueError(
                f"checkpoint.best = {figure!r} has no interval whose lower end could be compared: "
                f'give "{WHOLE}", "eval/NAME/pass_rate" of an environment, or "" for none.'
            )
        return figure


class DeadlinesConfig(Config):
    """The longest that each wait may last before the run ends with its cause, in seconds."""

    start_s: float = Field(600.0, gt=0)
    """For servers, workers and learner to come up."""
    groups_s: float = Field(1800.0, gt=0)
    """For the next group (or, on-policy, the next wave of groups)."""
    step_s: float = Field(1800.0, gt=0)
    """For one optimizer step; three times as long without any is a fault, whatever waits."""
    sync_s: float = Field(300.0, gt=0)
    """For a weight update of all servers, with its proof."""
    orphan_s: float = Field(600.0, gt=0)
    """With `ray.address`: how long servers and workers wait for the same command to come back once
    the climb's own process has died; they end themselves then."""
    min_live_s: float = Field(300.0, gt=0)
    """With `rollout.servers` above 1: for `sync.min_servers` of them to serve, where fewer do."""


class ClimbConfig(Config):
    """One climb, as the loop sees it."""

    num_steps: int = Field(..., ge=1)
    """Optimizer steps in all. No default: a recipe must say how long it runs."""
    num_tasks: int = Field(0, ge=0)
    """Tasks to hand out before the climb ends; 0 for no limit."""
    rollout: RolloutConfig = RolloutConfig()
    rewards: RewardsConfig = RewardsConfig()
    learner: LearnerConfig = LearnerConfig()
    clip: ClipConfig = ClipConfig()
    batch: BatchConfig = BatchConfig()
    sync: SyncConfig = SyncConfig()
    length: LengthConfig = LengthConfig()
    collapse: CollapseConfig = CollapseConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    deadlines: DeadlinesConfig = DeadlinesConfig()

    @property
    def has_several(self) -> bool:
        """Whether tasks come from several environments, so that each has figures of its own."""
        return False

    @model_validator(mode="after")
    def _checkpoints_stand_between_waves(self) -> Self:
        every = self.sync.every_steps
        for key in ("every_steps", "ephemeral_steps"):
            saved = getattr(self.checkpoint, key)
            if self.sync.max_staleness == 0 and saved % every:
                raise ValueError(
                    f"checkpoint.{key} = {saved} is no multiple of sync.every_steps = {every}: "
                    "with sync.max_staleness = 0 a checkpoint inside a wave would lose the rest of "
                    f"it. Set checkpoint.{key} = {every * max(1, round(saved / every))}."
                )
        return self

    @model_validator(mode="after")
    def _an_adapter_never_changes_under_a_request(self) -> Self:
        if self.learner.lora and self.sync.in_flight:
            raise ValueError(
                "sync.in_flight = true swaps weights under running requests; with [learner.lora] "
                "they keep their adapter to the end, and no update waits for them. Unset in_flight."
            )
        return self
