"""The processes of one climb, and where they run. Ray's door in this room."""

from munro.machine.climb.cluster.fleet import Fleet, start_fleet
from munro.machine.climb.cluster.learning import LearnerHangs, LearnerLost

__all__ = ["Fleet", "LearnerHangs", "LearnerLost", "start_fleet"]
