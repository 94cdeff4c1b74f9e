"""Inference engines by name, one file each: `rollout.engine` names one of these, or a file's."""
