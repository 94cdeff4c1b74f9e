"""What a learner's process does before it is a rank, and after a rank of its group has died."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import torch


def get_ready(model_path: str) -> None:
    """Import all that a rank needs and build the model without memory: no weights, no group.

    Args:
        model_path: folder of the model, or of an adapter, that will be trained.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from munro.base_model.checkpoint import Checkpoint
    from munro.rl import learner  # what takes the seconds

    del learner
    folder = Checkpoint(Path(model_path)).base()
    with torch.device("meta"):
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


def leave_group() -> None:
    """Leave the process group, and forget what accelerate remembers of it, so that another can be
    formed here."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
