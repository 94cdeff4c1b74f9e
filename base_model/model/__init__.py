"""The LatentMoE transformer, as transformers loads it."""

from __future__ import annotations

from munro.base_model.model.configuration import MunroConfig
from munro.base_model.model.model import MunroForCausalLM

__all__ = ["MunroConfig", "MunroForCausalLM"]
