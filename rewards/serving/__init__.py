"""A vLLM server of our own, for judges and preference models that are checkpoints."""
