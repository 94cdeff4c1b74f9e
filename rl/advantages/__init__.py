"""Advantages by name, one file each: `learner.advantage` names one of these, or somebody else's."""
