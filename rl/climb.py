"""One hill climb, from the first problem to the last checkpoint.

problems -> rollouts -> rewards -> groups -> batch -> step -> weights
                ^                                                |
                +------------------------------------------------+

The loop sees no token: of a group it has figures, and where the rest of it lies.
"""

from __future__ import annotations

from munro.rl.clock import Clock
from munro.rl.config import ClimbConfig
from munro.rl.group_metrics import group_metrics
from munro.rl.ports import GroupSource, Learner, Publisher, Run
from munro.rl.state import ClimbState


def climb(
    config: ClimbConfig,
    state: ClimbState,
    groups: GroupSource,
    learner: Learner,
    publisher: Publisher,
    run: Run,
) -> ClimbState:
    """Take optimizer steps until `config.num_steps`; safe to call again from a saved state."""
    proof = publisher.publish(state.policy_version)
    restart: dict[str, float] = {}
    if state.step == 0:
        run.log(state, {**proof, **run.evaluate(state)})
    elif state.step == state.began_step:
        # the line of this step is the old policy's; what the new one can do goes with its first
        restart = {_after_restart(name): value for name, value in run.evaluate(state).items()}

    while state.step < config.num_steps and not run.should_stop():
        clock = Clock()
        with clock("wait"):
            fresh = groups.take(config.batch.num_groups, state)
        if not fresh or run.should_stop():
            break
        with clock("train"):
            run.draft(state, fresh)
            report = learner.step(fresh, clip=state.clip)
        trained = group_metrics(fresh, state, several=config.has_several)
        metrics = trained | dict(report.metrics) | dict(groups.metrics())
        run.record(state, fresh)

        state = state.after(
            entropy=report.entropy,
            truncated=metrics["response/truncated"],
            cursor=groups.settle(fresh, state.step + 1),
            clip=config.clip,
            length=config.length,
            watch=state.watch.after(metrics, config.collapse),
        )
        with clock("sync"):
            if state.step % config.sync.every_steps == 0:
                state = state.with_new_policy()
                metrics.update(publisher.publish(state.policy_version))
        with clock("eval"):
            metrics.update(run.evaluate(state))
        run.log(state, metrics | clock.metrics(metrics) | restart)
        restart = {}
        run.save_if_due(state)

    run.save(state)
    return state


def _after_restart(name: str) -> str:
    return f"restart/{name.removeprefix('eval/')}"
