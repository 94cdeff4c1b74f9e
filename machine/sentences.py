"""The failures that are told to a person in one line, without a traceback."""

from __future__ import annotations

SENTENCES = frozenset(
    {
        "munro.base_model.checkpoint.CheckpointError",
        "munro.base_model.data.errors.DataError",
        "munro.base_model.data.shards.held_out.BadEvaluation",
        "munro.base_model.ladder.ShapeError",
        "munro.base_model.training.records.RecordsError",
        "munro.base_model.results.BadResults",
        "munro.base_model.scaling.rungs.RungFailed",
        "munro.base_model.training.trainer.TrainingError",
        "munro.distill.preference.CannotTrain",
        "munro.distill.sources.CannotDistill",
        "munro.envs.loader.BadEnvironment",
        "munro.machine.climb.cluster.LearnerLost",
        "munro.machine.run.files.RunError",
        "munro.machine.loading.BadConfig",
        "munro.machine.climb.publisher.SyncBroken",
        "munro.machine.run.tracking.TrackingUnavailable",
        "munro.rewards.plugins.BadPlugin",
        "munro.rewards.preference.comparisons.BadComparisons",
        "munro.rewards.errors.EpisodeError",
        "munro.rewards.preference.format.NotAPreferenceModel",
        "munro.rl.control.controller.NoSignal",
        "munro.rl.learner.LearnerDiverged",
        "munro.rl.policy.model.UnsupportedModel",
        "munro.rollout.store.store.StoreError",
        "munro.rollout.weights.NotPublished",
        "munro.rollout.waits.Stalled",
    }
)
"""By name, subclasses included: to import them all would take seconds before the one line."""


def in_one_line(error: BaseException) -> str:
    """What an error says, on one line whatever it quotes; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def is_sentence(error: Exception) -> bool:
    """Whether the message says it all, and a traceback would only hide it."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" in SENTENCES for kind in type(error).__mro__
    )
