"""The trainer: steps, phases, ranks, what a run tells, and where its wall-clock went."""
