"""How a climb keeps what it learned: trace selection, filters, SFT onto fresh checkpoints.

    distil(sources, onto, out, config)      munro.distill.distil: from runs to a checkpoint
    look(sources, onto, config)             munro.distill.distil: what would be taken
    select(index, rule)                     munro.distill.select: which traces, as a pure function
    Sieve(config)                           munro.distill.filters: what no trace may have
    train_preference(comparisons, ...)      munro.distill.preference: a reward model

Only the configuration is handed on here, so that it loads without torch.
"""

if __name__ != "munro.distill":  # an older import, or a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)

from munro.distill.config import DistillConfig, FiltersConfig, PreferenceConfig, SelectConfig

__all__ = ["DistillConfig", "FiltersConfig", "PreferenceConfig", "SelectConfig"]
