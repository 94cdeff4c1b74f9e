"""The failures that are told to a person in one line, without a traceback."""

from __future__ import annotations

SENTENCES = frozenset(
    {
        "munro.base_model.checkpoint.CheckpointError",
        "munro.base_model.data.errors.DataError",
        "munro.base_model.data.held_out.BadEvaluation",
        "munro.base_model.ladder.ShapeError",
        "munro.base_model.records.RecordsError",
        "munro.base_model.results.BadResults",
        "munro.base_model.rungs.RungFailed",
        "munro.base_model.trainer.TrainingError",
        "munro.distill.preference.CannotTrain",
        "munro.distill.sources.CannotDistill",
        "munro.envs.loader.BadEnvironment",
        "munro.machine.cluster.LearnerLost",
        "munro.machine.files.RunError",
        "munro.machine.loading.BadConfig",
        "munro.machine.publisher.SyncBroken",
        "munro.machine.tracking.TrackingUnavailable",
        "munro.rewards.comparisons.BadComparisons",
        "munro.rewards.errors.EpisodeError",
        "munro.rewards.preference_format.NotAPreferenceModel",
        "munro.rl.controller.NoSignal",
        "munro.rl.learner.LearnerDiverged",
        "munro.rl.policy.UnsupportedModel",
        "munro.rollout.store.StoreError",
        "munro.rollout.waits.Stalled",
    }
)
"""By name, subclasses included: to import them all would take seconds before the one line."""


def is_sentence(error: Exception) -> bool:
    """Whether the message says it all, and a traceback would only hide it."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" in SENTENCES for kind in type(error).__mro__
    )
