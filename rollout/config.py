"""What a person may choose about sampling and about the engines that do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from munro.rewards.config import Config
from munro.rewards.plugins import resolve
from munro.rollout.calls import FAMILIES
from munro.rollout.engine import ENGINES

DEADLINES = ("start_deadline_s", "reply_deadline_s", "close_deadline_s")


class RolloutConfig(Config):
    """How groups are sampled (MAI-Thinking-1 report, sections 3.1.2 and 3.1.3)."""

    engine: str = "vllm"
    """Inference engine: "vllm", or "transformers" for debugging; a path to one of your own."""
    servers: int = Field(1, ge=1)
    """Inference servers."""
    max_servers: int = Field(0, ge=0)
    """With `ray.address`: servers that there may be once the run goes on: more than `servers` join
    as Ray finds free GPUs for them (without any, free CPUs), also on nodes that are added
    meanwhile. 0 for no more than `servers`."""
    workers: int = Field(1, ge=1)
    """Problem workers; each runs many groups at once."""
    group_size: int = Field(128, ge=2)
    """G: attempts per task."""
    num_early: int = Field(16, ge=1)
    """G_early: attempts before the first gate."""
    reuse_early: bool = True
    """Count the early attempts into the group; False samples `group_size` more."""
    early_pass_rate: tuple[float, float] = (0.05, 0.8)
    """Bounds of the first gate; outside, the task is given up after `num_early` attempts."""
    pass_rate: tuple[float, float] = (0.1, 0.8)
    """Bounds of the second gate; outside, the finished group is given up."""
    keep_dropped: int = Field(8, ge=0)
    """Tasks given up in a step whose replies are stored all the same, in `dropped/` of the run's
    folder, for people to read; nothing is learned from them, nor distilled unless
    `select.dropped` asks for it. 0 for none."""
    keep_dropped_mb: int = Field(500, ge=1)
    """Megabytes of `dropped/`; the oldest steps go where there are more."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; the learner divides by the same."""
    top_p: float = Field(0.97, gt=0, le=1)
    """Nucleus mass. The kept tokens are recorded and replayed in the learner."""
    nucleus_candidates: int = Field(64, ge=1)
    """K: widest nucleus that can be recorded; wider ones are cut to K and counted."""
    max_turns: int = Field(1, ge=1)
    """Policy turns of an episode, where neither its environment's budget nor its task's says."""
    cut_turn: Literal["go on", "end"] = "go on"
    """What becomes of a turn that is longer than `turn_tokens` of its budget: the policy is told so
    and goes on, or the episode ends as truncated_turn."""
    template: Literal["chat", "r1_zero", "plain"] = "chat"
    """How a conversation becomes tokens: the tokenizer's chat template, the raw-text template of
    the report's Fig. 14, or the bare text."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """What the chat template is told beside the conversation, as in { enable_thinking = false };
    a name that it does not use is refused."""
    calls: str = "auto"
    """Family in whose form the model writes calls of tools ("hermes", "llama_json", ...; a path to
    one of your own); auto takes the one that the chat template is written for."""
    max_context: int = Field(0, ge=0)
    """Longest token stream, prompt included; 0 takes the model's own limit."""
    observation_tokens: int = Field(0, ge=0)
    """Longest observation of a turn, in tokens; more is cut out of its middle, and says so. 0 takes
    what the context leaves. Holds where no budget says otherwise."""
    lockstep: Literal["auto", "always"] = "auto"
    """Who waits for whom in evaluations and on-policy waves, so that they repeat bit by bit: auto
    plays environments whose budget gives a reply more than 5 s freely, where everybody would wait
    for the slowest tool in every turn; their draws still depend on the seed alone."""
    retries: int = Field(3, ge=0)
    """New tries of an attempt whose machinery failed, before its task is given up."""
    groups_in_flight: int | Literal["auto"] = 8
    """Tasks that one problem worker has open at once (off-policy). auto has all of them together
    keep the engines full, by their room for keys and values and the length of replies, and no more
    than the learner can take before they are stale."""
    resume_partial: int = Field(0, ge=0)
    """With `sync.max_staleness` above 0: tokens after which a reply is taken in: if its server dies
    it goes on elsewhere from there, with what it has. 0 takes in whole replies, and a lost one is
    begun anew."""
    max_server_gb: float = Field(0.0, ge=0)
    """Resident memory of a server's processes above which it takes no more requests and starts
    again, in GB; 0 for no bound."""
    generate_deadline_s: float = Field(600.0, gt=0)
    """Longest wait for one completion before its server counts as failed."""
    start_deadline_s: float = Field(60.0, gt=0)
    """Longest wait for an environment to start an episode. An attempt that overruns this deadline
    or one of the next three is unscored. Where a recipe gives `grade_deadline_s`, it stands for
    those of the four that are not given. An environment's budget goes before the first three."""
    reply_deadline_s: float = Field(60.0, gt=0)
    """Longest wait for an environment to answer one turn, all its calls together."""
    grade_deadline_s: float = Field(60.0, gt=0)
    """Longest wait for one grade."""
    close_deadline_s: float = Field(60.0, gt=0)
    """Longest wait for an environment to close an episode."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the engine: auto is float32 on the CPU and bfloat16 on GPUs."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one server's model."""
    gpu_memory: float = Field(0.85, gt=0, le=1)
    """Share of a GPU's memory that vLLM may take."""
    cpu_kv_cache_gb: float = Field(1.0, gt=0)
    """GiB of key-value cache on the CPU."""
    max_batch: int = Field(256, ge=1)
    """Sequences that one server decodes at once."""

    @model_validator(mode="before")
    @classmethod
    def _one_deadline_once_stood_for_four(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "grade_deadline_s" in given:
            stands_for = dict.fromkeys(DEADLINES, given["grade_deadline_s"])
            return stands_for | dict(given)
        return given

    @field_validator("groups_in_flight", mode="before")
    @classmethod
    def _a_number_or_auto(cls, given: Any) -> Any:
        is_number = isinstance(given, int) and not isinstance(given, bool) and given >= 1
        if not is_number and given != "auto":
            raise ValueError(
                f"rollout.groups_in_flight = {given!r}: give a number of tasks, 1 or more, or "
                '"auto".'
            )
        return given

    @field_validator("temperature", mode="before")
    @classmethod
    def _attempts_differ(cls, given: Any) -> Any:
        if isinstance(given, int | float) and given == 0:
            raise ValueError(
                "rollout.temperature = 0: all attempts at a task would be the same one, from which "
                "a group learns nothing and an evaluation of several runs no more than of one. "
                "Give one above 0."
            )
        return given

    @field_validator("engine")
    @classmethod
    def _the_engine_is_known(cls, name: str) -> str:
        ENGINES.find(name)
        return resolve(name)

    @field_validator("calls")
    @classmethod
    def _the_family_is_known(cls, name: str) -> str:
        if name != "auto":
            FAMILIES.find(name)
        return resolve(name)

    @model_validator(mode="after")
    def _early_attempts_fit_in_the_group(self) -> Self:
        if self.template_args and self.template != "chat":
            raise ValueError(
                f"rollout.template_args: a chat template takes them, and rollout.template is "
                f'"{self.template}". Leave them out, or set rollout.template = "chat".'
            )
        if self.reuse_early and self.num_early > self.group_size:
            raise ValueError(
                f"rollout.num_early ({self.num_early}) is more than rollout.group_size "
                f"({self.group_size}): early attempts are part of the group. Lower num_early, "
                "raise group_size, or set reuse_early = false."
            )
        for key, (low, high) in (
            ("early_pass_rate", self.early_pass_rate),
            ("pass_rate", self.pass_rate),
        ):
            if not 0 <= low < high <= 1:
                raise ValueError(
                    f"rollout.{key} = [{low}, {high}]: give two pass rates, 0 <= low < high <= 1."
                )
        return self
