"""Losses by name, one file each: `learner.loss` names one of these, or somebody else's."""
