"""The failures that are told to a person in one line, without a traceback."""

from __future__ import annotations

SENTENCES = frozenset(
    {
        "base_model.checkpoint.CheckpointError",
        "base_model.data.errors.DataError",
        "base_model.evaluation.BadEvaluation",
        "base_model.ladder.ShapeError",
        "base_model.records.RecordsError",
        "base_model.results.BadResults",
        "base_model.rungs.RungFailed",
        "base_model.trainer.TrainingError",
        "distill.preference.CannotTrain",
        "distill.sources.CannotDistill",
        "envs.loader.BadEnvironment",
        "machine.cluster.LearnerLost",
        "machine.files.RunError",
        "machine.loading.BadConfig",
        "machine.publisher.SyncBroken",
        "machine.tracking.TrackingUnavailable",
        "rewards.comparisons.BadComparisons",
        "rewards.errors.EpisodeError",
        "rewards.preference_format.NotAPreferenceModel",
        "rl.controller.NoSignal",
        "rl.learner.LearnerDiverged",
        "rl.policy.UnsupportedModel",
        "rollout.store.StoreError",
        "rollout.waits.Stalled",
    }
)
"""By name, subclasses included: to import them all would take seconds before the one line."""


def is_sentence(error: Exception) -> bool:
    """Whether the message says it all, and a traceback would only hide it."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" in SENTENCES for kind in type(error).__mro__
    )
