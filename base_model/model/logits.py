"""What a model does between its output matrix and its logits, as its config says."""

from __future__ import annotations

from typing import Any

from munro.kernels.scale import Scale


def multiplier_of(text: Any) -> float:
    """The constant that a model's logits are multiplied by; 1 where its config names none.

    Args:
        text: its text config. Cohere's and Falcon-H1's constants multiply, Granite's divides.
    """
    by = getattr(text, "logit_scale", None) or getattr(text, "lm_head_multiplier", None) or 1.0
    return float(by) / float(getattr(text, "logits_scaling", None) or 1.0)


def scale_of(model: Any) -> Scale | None:
    """What lies between the model's output matrix and its logits; None where it is not known."""
    text = model.config.get_text_config()
    softcap = float(getattr(text, "final_logit_softcapping", None) or 0.0)
    multiplier = multiplier_of(text)
    if softcap and multiplier != 1:
        return None
    return Scale(temperature=1 / multiplier, softcap=softcap)
