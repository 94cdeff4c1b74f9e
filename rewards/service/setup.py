"""Everything that grades in this process, as the config says: judges, verifiers, the service."""

from __future__ import annotations

from collections.abc import Mapping

from munro.rewards import code, judge, math, service
from munro.rewards.config import RewardsConfig
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.plugins import resolve


def configure(rewards: RewardsConfig, judges: Mapping[str, JudgeConfig]) -> None:
    """Choose sizes, limits, sandbox and judges of this process: before their first use, or anew.

    Raises:
        ValueError: `munro.rewards.judge` names no judge, or a judge lacks its key or checkpoint.
    """
    judge.configure(judges)
    math.configure(rewards, judge.named(rewards.judge) if rewards.judge else None)
    code.configure(rewards)
    service.use(service.GradingService.of(rewards))


def anywhere(rewards: RewardsConfig) -> RewardsConfig:
    """The same config for processes that stand in other folders: files of graders made absolute."""
    pools = {resolve(kind): pool for kind, pool in rewards.service.pools.items()}
    service = rewards.service.model_copy(update={"pools": pools})
    return rewards.model_copy(update={"service": service})
