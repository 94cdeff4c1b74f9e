"""What an agent did, turn by turn: judged by sub-task, watched for hacks, and counted by rules."""

from __future__ import annotations

from munro.rewards.trajectory.conduct import Conduct, conduct_of
from munro.rewards.trajectory.steps import Transcript, Turn, transcript_of

__all__ = ["Conduct", "Transcript", "Turn", "conduct_of", "transcript_of"]
