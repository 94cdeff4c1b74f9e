"""A climb as a plan sees it: model, hardware, how ranks are cut, how long answers are."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from statistics import NormalDist

from munro.base_model.ladder import ModelShape
from munro.machine.assumptions.config import PlanConfig
from munro.machine.climb.models import here
from munro.machine.config import RunConfig
from munro.machine.errors import BadConfig
from munro.machine.planning.hardware import Hardware, hardware_of
from munro.machine.planning.sizes import Sizes, of_config, of_folder, of_shape

NORMAL = NormalDist()
MEAN_OF_CAP, LEAST_MEAN = 3 / 16, 32
"""Of the last cap that a response is long in the mean, where nobody says; and tokens, below which
caps are there to be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of a response: log-normal, cut at a cap.

    Example:
        Lengths(mean=24_576, spread=0.8, cap=131_072)
    """

    mean: float
    """Before the cap."""
    spread: float
    cap: int

    @property
    def mu(self) -> float:
        """Mean of the logarithm."""
        return log(self.mean) - self.spread**2 / 2

    def moment(self, power: int) -> float:
        """E[min(X, cap)^power]."""
        if not self.spread:
            return float(min(self.mean, self.cap) ** power)
        at = (log(self.cap) - self.mu) / self.spread
        whole = exp(power * self.mu + (power * self.spread) ** 2 / 2)
        below = whole * NORMAL.cdf(at - power * self.spread)
        return float(below + self.cap**power * (1 - NORMAL.cdf(at)))

    def longest_of(self, number: int) -> float:
        """The mean of the longest of so many, by the quantile that stands for it (Blom 1958)."""
        if number < 1:
            return 0.0
        share = (number - 0.375) / (number + 0.25)
        return min(self.cap, exp(self.mu + self.spread * NORMAL.inv_cdf(share)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How the learner's ranks share the model and a sequence."""

    ranks: int
    replicate: int = 1
    """Copies of the whole, each sharded over the ranks of its own."""
    context: int = 1
    """Ranks that share a sequence."""
    experts: int = 1
    """Ranks that share a layer's experts."""

    @property
    def shards(self) -> int:
        """Parts that a parameter is in."""
        return self.ranks // self.replicate


def cut_of(config: RunConfig, sizes: Sizes) -> Cut:
    """As the config has it.

    Raises:
        BadConfig: the model's heads or experts do not divide so.
    """
    how = config.learner.parallel
    cut = Cut(
        ranks=config.learner.ranks,
        replicate=how.replicate,
        context=how.context,
        experts=how.experts,
    )
    if sizes.heads % cut.context:
        raise BadConfig(
            f"learner.parallel.context = {cut.context} does not divide the {sizes.heads} attention "
            "heads of the model: take a divisor"
        )
    mixture = sizes.largest
    if cut.experts > 1 and (not mixture.experts or mixture.num_experts % cut.experts):
        raise BadConfig(
            f"learner.parallel.experts = {cut.experts} does not divide the {mixture.num_experts} "
            "experts of a layer: take a divisor"
        )
    share = cut.shards // cut.experts
    if cut.experts > 1 and (2 * mixture.expert_inner % share or mixture.at % share):
        raise BadConfig(
            f"an expert of {mixture.expert_inner:,} x {mixture.at:,} numbers does not divide among "
            f"the {share} ranks that share it (learner.ranks / replicate / experts): raise "
            "learner.parallel.replicate or experts"
        )
    return cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What every formula is given."""

    config: RunConfig
    plan: PlanConfig
    sizes: Sizes
    hardware: Hardware
    cut: Cut
    lengths: Lengths

    @property
    def server_gpus(self) -> int:
        """Of all servers."""
        return self.config.rollout.servers * self.config.rollout.tensor_parallel

    @property
    def gpus(self) -> int:
        """Of servers and learner."""
        if self.config.ray.colocate:
            return self.server_gpus
        return self.server_gpus + self.cut.ranks


def job_of(config: RunConfig) -> Job:
    """Everything that a plan is made from.

    Raises:
        BadConfig: the model's sizes cannot be known or do not divide among the ranks, or the
            hardware is none of the table.
    """
    plan = config.plan or PlanConfig()
    cap, sizes = config.length.stages[-1], _sizes(config, plan)
    mean = plan.mean_tokens or max(MEAN_OF_CAP * cap, LEAST_MEAN)
    return Job(
        config=config,
        plan=plan,
        sizes=sizes,
        hardware=hardware_of(plan.hardware),
        cut=cut_of(config, sizes),
        lengths=Lengths(mean=mean, spread=plan.spread, cap=cap),
    )


def _sizes(config: RunConfig, plan: PlanConfig) -> Sizes:
    if plan.rung:
        return of_shape(ModelShape.rung(plan.rung, **plan.shape), f"a rung of {plan.rung} layers")
    if config.model.path:
        name = config.model.path
        folder = here(name, revision=config.model.revision)
        if folder is None:
            raise BadConfig(
                f"{name} is not on this machine, and a plan fetches nothing: fetch it (`munro "
                f"doctor --model {name}` fetches what says its sizes), give a folder that holds "
                "its config.json, or a shape of ours with plan.rung = 12"
            )
        return of_folder(Path(folder), name)
    base = config.base.model
    if base.architecture == "munro":
        return of_shape(base.sized(vocab_size=config.base.vocab_size), "the embedded base")
    raw = {
        "hidden_size": base.hidden_size,
        "intermediate_size": base.intermediate_size,
        "num_hidden_layers": base.num_layers,
        "num_attention_heads": base.num_heads,
        "vocab_size": config.base.vocab_size,
        "tie_word_embeddings": base.tie_embeddings,
    }
    return of_config(raw, "the embedded base")
