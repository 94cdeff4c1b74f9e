"""How a climb keeps what it learned: trace selection, filters, SFT onto fresh checkpoints.

    distil(sources, onto, out, config)      distill.distil: from runs to a checkpoint
    look(sources, onto, config)             distill.distil: what would be taken, and what dropped
    select(index, rule)                     distill.select: which traces, as a pure function
    Sieve(config)                           distill.filters: what no trace may have
    train_preference(comparisons, ...)      distill.preference: a reward model from comparisons

Only the configuration is handed on here, so that it loads without torch.
"""

from distill.config import DistillConfig, FiltersConfig, PreferenceConfig, SelectConfig

__all__ = ["DistillConfig", "FiltersConfig", "PreferenceConfig", "SelectConfig"]
