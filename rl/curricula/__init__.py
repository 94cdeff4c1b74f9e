"""Curricula by name, one file each: `length.curriculum` names one of these, or somebody else's."""
