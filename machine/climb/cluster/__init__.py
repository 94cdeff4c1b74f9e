"""The processes of one climb, and where they run. Ray's door in this room."""

from munro.machine.climb.cluster.fleet import Fleet, LearnerLost, start_fleet

__all__ = ["Fleet", "LearnerLost", "start_fleet"]
