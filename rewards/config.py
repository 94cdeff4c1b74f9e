"""What a person may choose about rewards."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from munro.rewards.kinds import check_name


class Config(BaseModel):
    """A typo is an error, and nothing changes after start-up."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SandboxConfig(Config):
    """Where programs run, and what one run may spend; each limit as in `sandbox.Limits`."""

    backend: Literal["namespaces", "docker"] = "namespaces"
    """What stands behind it. What cannot be had is an error, never a weaker sandbox."""
    cpu_s: float = Field(5.0, gt=0)
    """CPU seconds."""
    wall_s: float = Field(10.0, gt=0)
    """Wall seconds: more than `cpu_s`, for machines that are busy."""
    memory_mb: int = Field(512, ge=32)
    """MiB."""
    processes: int = Field(32, ge=1)
    """Processes and threads alive at once."""
    open_files: int = Field(64, ge=16)
    """Descriptors of one process."""
    output_bytes: int = Field(1 << 20, ge=1)
    """Of stdout and stderr, each."""
    disk_mb: int = Field(64, ge=1)
    """MiB of files that a run may leave."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the back end, by the names that its `open_sandbox` takes (an image, say)."""


class PoolConfig(Config):
    """Graders of one kind in the grading service."""

    workers: int = Field(0, ge=0)
    """Gradings at the same moment; 0 takes what suits the kind."""
    queue: int = Field(256, ge=1)
    """Gradings that may wait; who brings more waits at the door."""
    timeout_s: float = Field(0.0, ge=0)
    """CPU seconds that one grading may take before its process is killed, and a fifth of the wall
    seconds, which other work on the machine stretches; 0 as for `workers`."""
    deadline_s: float = Field(60.0, gt=0)
    """Wall seconds from the door to a grade or a named failure, waiting and retries included."""
    memory_mb: int = Field(0, ge=0)
    """Address space of a killable process, MiB; 0 as for `workers`."""


class ServiceConfig(Config):
    """The grading service (docs/rewards.md): where graders run, and how many."""

    actors: int = Field(0, ge=0)
    """Ray actors that grade, spread over the cluster; 0 grades beside each problem worker."""
    cpus: float = Field(1.0, ge=0)
    """With `actors` above 0: CPU cores that Ray sets aside for each of them."""
    resources: dict[str, float] = Field(default_factory=dict)
    """With `actors` above 0: Ray resources that each needs: { grader_node = 1 }, say."""
    pools: dict[str, PoolConfig] = Field(default_factory=dict)
    """By kind of grader: [rewards.service.pools.code], or of a file ["./mine.py:Mine"]."""

    @field_validator("pools")
    @classmethod
    def _kinds_exist(cls, pools: dict[str, PoolConfig]) -> dict[str, PoolConfig]:
        for name in pools:
            check_name(name)
        return pools


class RewardsConfig(Config):
    """Weights of the parts of a reward (MAI-Thinking-1 report, Eqs. 10 to 12)."""

    language_weight: float = Field(0.5, ge=0)
    """w_lang: what a chain of thought in one language is worth."""
    language_alpha: float = Field(0.005, gt=0)
    """Language reward lost per non-English word of the chain of thought."""
    length_weight: float = Field(0.25, ge=0)
    """w_len: the largest deduction for length (0 at the report's last stage)."""
    length_form: Literal["report", "alp", "overlong"] = "report"
    """R_len as in Eq. 12; as ALP has it (arXiv 2506.05256), with a floor of 1 / group size; or as
    DAPO does (arXiv 2503.14476), which costs on the last stretch before the cap alone."""
    alp_scale: int = Field(0, ge=0)
    """With length_form = "alp": its N, tokens that cost the whole weight; 0 takes the cap."""
    overlong_tokens: int = Field(0, ge=0)
    """With length_form = "overlong": that stretch, in tokens; 0 takes a fifth of the cap."""
    repetition_weight: float = Field(0.0, ge=0)
    """Deduction for a response that is all repetition."""
    truncation_weight: float = Field(0.0, ge=0)
    """Deduction for a response that a limit cut short."""
    max_unscored_rate: float = Field(0.2, gt=0, le=1)
    """Share of attempts without a grade, over the last 20 groups, above which the run stops."""
    workers: int = Field(2, ge=1)
    """Killable child processes that check answers."""
    timeout_s: float = Field(5.0, gt=0)
    """Wall seconds that one check may take before its process is killed."""
    memory_mb: int = Field(1024, ge=128)
    """Address space of one checking process, in MiB."""
    sandbox: SandboxConfig = Field(default_factory=SandboxConfig)
    """Where the programs of code tasks run."""
    judge: str = ""
    """Name of the judge, a table [judge.NAME], that is asked where no rule of mathematics decides;
    nobody unless given."""
    service: ServiceConfig = Field(default_factory=ServiceConfig)
    """The grading service: pools by kind, here or on the cluster."""
