"""Ways an episode can break, each named after the boundary it broke at.

    EpisodeError            the episode says nothing about the policy: retry it, never score it
      GraderError             a judge, a verifier process or a test harness failed
      SandboxError            a sandbox would not start, died, or lost its limits
      PolicyError             no completion could be had (raised in `rollout/`)
      EnvironmentFailure      the environment's own code raised (raised in `rollout/`)

A wrong answer, an unparseable tool call and a crash *of the model's own program* are not errors:
they are outcomes, and they are graded.
"""

from __future__ import annotations


class EpisodeError(Exception):
    """Base of every failure that a worker may retry, and must never turn into a score."""

    is_sentence = True


class GraderError(EpisodeError):
    """No grade could be had."""


class SandboxError(EpisodeError):
    """The sandbox, not the program inside it, failed."""


class PolicyError(EpisodeError):
    """No completion could be had from any inference server."""


class EnvironmentFailure(EpisodeError):
    """The environment's own code raised."""
