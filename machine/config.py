"""The whole config tree of a run, composed from what each package defines beside its code."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from munro.base_model.config import BaseConfig
from munro.distill.config import DistillConfig
from munro.envs.config import EnvConfig, one_or_several
from munro.machine.assumptions.config import PlanConfig
from munro.rewards.combine.tree import behind_gates, owner
from munro.rewards.config import Config
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.plugins import nearest
from munro.rl.config import OF_TOTAL, ClimbConfig

BY_PLAN = ("vllm", "transformers")
"""Engines that say which parts of the weights they want."""


class ModelConfig(Config):
    """The policy to start from."""

    path: str = ""
    """Folder of a transformers checkpoint, or its name on the Hugging Face hub, as in
    "Qwen/Qwen3-0.6B"; empty builds the embedded base of `[base]`. A folder of that name wins."""
    revision: str = ""
    """Branch, tag or commit of a name on the hub; empty for its main branch. A run keeps to the
    commit that it began from, wherever the branch has moved since."""


class EvalConfig(Config):
    """Held-out evaluation during a climb, and the defaults of `munro eval`."""

    every_steps: int = Field(50, ge=0)
    """Optimizer steps between evaluations; 0 evaluates never (else also before the first step)."""
    num_tasks: int = Field(200, ge=1)
    """Held-out tasks."""
    runs: int = Field(4, ge=1)
    """Attempts at each task; 4 as the report has it for benchmarks."""
    keep: int = Field(50, ge=0)
    """Tasks of an evaluation during a climb whose attempts are stored, in `evaluated/` of the run's
    folder, for people to read; 0 for none."""
    keep_mb: int = Field(500, ge=1)
    """Megabytes of `evaluated/`; the oldest evaluations go where there are more."""
    env: tuple[EnvConfig, ...] = ()
    """Environments to evaluate on during a climb ([[eval.env]]), in the place of those that it is
    trained on: name one of those here too to go on seeing it. Only their held-out tasks count."""

    @field_validator("env", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)


class RestartConfig(DistillConfig):
    """Self-distillation inside a climb: its traces onto a fresh base, from which it goes on.

    MAI-Thinking-1 report, section 3.1.4.
    """

    every: int = Field(0, ge=0)
    """Optimizer steps from one distillation to the next; 0 for none by the count."""
    on: tuple[Literal["collapse", "stage", "new_base"], ...] = ("new_base",)
    """What else sets one off: a collapse (`[collapse]`), a longer cap on responses, or a new base
    (`munro rebase`), which otherwise waits for the next distillation."""
    onto: str = ""
    """The base: a folder, or its name on the hub; empty takes the model that the climb began
    from."""


class RayConfig(Config):
    """Where the actors run."""

    address: str = ""
    """Of a running cluster, for example "head:6379" or "auto"; empty starts one here."""
    cpus: int = Field(0, ge=0)
    """CPUs of the Ray node started here; 0 for all cores."""
    colocate: bool = False
    """One GPU for the inference server and the learner: the server gives its memory up while the
    learner steps. On-policy only (`sync.max_staleness = 0`), with one server and one rank."""
    reserve: bool = False
    """Reserve what servers, workers and learner need in one placement group before any of them
    starts, so that climbs side by side on a cluster never hold half of what they need."""


class RunConfig(ClimbConfig):
    """A climb and everything around it: what one TOML file says."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run; its folder is `folder/name`."""
    folder: str = "runs"
    """Where run folders are made."""
    seed: int = Field(0, ge=0)
    """Of everything random."""
    model: ModelConfig = ModelConfig()
    base: BaseConfig = BaseConfig()
    """The embedded base, trained where `model.path` is empty; kept in the user's cache folder."""
    env: tuple[EnvConfig, ...]
    """One environment (env = "arithmetic" or [env]), or several with weights ([[env]])."""
    judge: dict[str, JudgeConfig] = Field(default_factory=dict)
    """Judges by name, for graders that ask one: [judge.NAME]."""
    eval: EvalConfig = EvalConfig()
    distill: RestartConfig = RestartConfig()
    ray: RayConfig = RayConfig()
    plan: PlanConfig | None = None
    """What `munro plan` assumes of hardware and answers: [plan]. The climb looks at none of it."""
    tracking: tuple[str, ...] = ()
    """Trackers beside metrics.jsonl: "tensorboard", "wandb", or one of yours, "./mine.py:Mine"."""

    @property
    def has_several(self) -> bool:
        """See `ClimbConfig.has_several`."""
        return len(self.env) > 1

    @field_validator("env", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return one_or_several(value)

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if self.model.revision and not self.model.path:
            raise ValueError(
                f"model.revision = {self.model.revision!r} is of a model on the hub: name it in "
                "model.path."
            )
        if not self.env:
            raise ValueError('env is empty: name at least one, for example env = "arithmetic".')
        if self.rollout.max_context and self.length.stages[0] >= self.rollout.max_context:
            raise ValueError(
                f"length.stages[0] = {self.length.stages[0]} leaves no room for a prompt in "
                f"rollout.max_context = {self.rollout.max_context}. Lower the one or raise the "
                "other."
            )
        if self.sync.min_servers > self.rollout.servers:
            raise ValueError(
                f"sync.min_servers = {self.sync.min_servers} is more than rollout.servers = "
                f"{self.rollout.servers}. Lower the one or raise the other."
            )
        if self.sync.max_staleness == 0 and self.rollout.workers != 1:
            raise ValueError(
                f"sync.max_staleness = 0 is deterministic and needs rollout.workers = 1, not "
                f"{self.rollout.workers}. Set workers = 1, or raise max_staleness."
            )
        if self.sync.max_staleness == 0 and self.sync.in_flight:
            raise ValueError(
                "sync.in_flight swaps weights under running requests, which max_staleness = 0 "
                "rules out. Unset in_flight, or raise max_staleness."
            )
        _require_fleet_can_change(self)
        _require_parts_to_be_scored(self)
        _require_one_gpu_will_do(self)
        _require_a_way_for_weights(self)
        return self


def _require_fleet_can_change(config: RunConfig) -> None:
    """Servers that come and go, and replies that move between them, are for off-policy climbs."""
    rollout, is_in_step = config.rollout, config.sync.max_staleness == 0
    if rollout.max_servers and rollout.max_servers < rollout.servers:
        raise ValueError(
            f"rollout.max_servers = {rollout.max_servers} is fewer than rollout.servers = "
            f"{rollout.servers}. Raise it, or leave it out."
        )
    if rollout.max_servers > rollout.servers and is_in_step:
        raise ValueError(
            f"rollout.max_servers = {rollout.max_servers} lets servers join, and with "
            "sync.max_staleness = 0 a wave repeats bit by bit only on as many as before. Leave it "
            "out, or raise sync.max_staleness."
        )
    if rollout.max_servers > rollout.servers and config.sync.transport == "nccl":
        raise ValueError(
            f'rollout.max_servers = {rollout.max_servers}: sync.transport = "nccl" meets its '
            "servers once, and none can join. Leave max_servers out, or set another sync.transport."
        )
    if rollout.resume_partial and is_in_step:
        raise ValueError(
            f"rollout.resume_partial = {rollout.resume_partial} asks for replies in pieces, and "
            "with sync.max_staleness = 0 a wave waits for whole ones. Set it to 0, or raise "
            "sync.max_staleness."
        )


def _require_parts_to_be_scored(config: RunConfig) -> None:
    """Parts that an advantage takes one by one must be there for every attempt."""
    for env in config.env if config.learner.advantage_parts else ():
        if env.reward is None:
            continue
        for name in config.learner.advantage_parts:
            if owner(name) not in (*env.graders, *OF_TOTAL):
                raise ValueError(
                    f"learner.advantage_parts names {name!r}, and {env.path} has no grader of that "
                    f"name. {nearest(owner(name), [*env.graders, *OF_TOTAL])}"
                )
            if owner(name) in behind_gates(env.reward):
                raise ValueError(
                    f"learner.advantage_parts names {name!r}, which stands behind a gate of "
                    "env.reward and is not scored where that is closed: combine by a sum."
                )


def _require_one_gpu_will_do(config: RunConfig) -> None:
    if not config.ray.colocate:
        return
    if config.sync.max_staleness:
        raise ValueError(
            "ray.colocate = true has the server sleep while the learner steps, and "
            f"sync.max_staleness = {config.sync.max_staleness} has it sample meanwhile. Set "
            "sync.max_staleness = 0, or give each a GPU of its own."
        )
    for key, number in (
        ("rollout.servers", config.rollout.servers),
        ("rollout.tensor_parallel", config.rollout.tensor_parallel),
        ("learner.ranks", config.learner.ranks),
    ):
        if number != 1:
            raise ValueError(
                f"ray.colocate = true is one server and one learner on one GPU, and {key} = "
                f"{number}. Set it to 1, or unset ray.colocate."
            )


def _require_a_way_for_weights(config: RunConfig) -> None:
    way = config.sync.transport
    if way in ("auto", "file"):
        return
    if way == "group" and config.rollout.engine not in BY_PLAN:
        raise ValueError(
            f'sync.transport = "group" is for engines that say which part of a weight they want, '
            f'and rollout.engine = "{config.rollout.engine}" does not. Set sync.transport = "file".'
        )
    if way != "group" and config.rollout.engine != "vllm":
        raise ValueError(
            f'sync.transport = "{way}" is vLLM\'s own, and rollout.engine = '
            f'"{config.rollout.engine}". Set sync.transport = "group" or "file".'
        )
    if config.learner.lora is not None:
        raise ValueError(
            f'sync.transport = "{way}" sends whole weights, and [learner.lora] publishes an '
            'adapter, which goes in a file. Set sync.transport = "file".'
        )
    if way == "ipc" and not config.ray.colocate:
        raise ValueError(
            'sync.transport = "ipc" is within one GPU, which ray.colocate = true gives to server '
            'and learner. Set that, or sync.transport = "nccl", "group" or "file".'
        )
    if way in ("nccl", "group") and config.ray.colocate:
        raise ValueError(
            f'sync.transport = "{way}" is between GPUs, and ray.colocate = true is one. Set '
            'sync.transport = "ipc" or "file".'
        )
