"""Which models vLLM serves, by the architecture that their config names."""

from __future__ import annotations

import logging
import os

import torch

from munro.rollout.vllm.launch import environment

FALLBACK = "TransformersForCausalLM"
"""vLLM's own way to serve a model that it does not know, through transformers' code."""

WITHOUT_UPDATES = frozenset({"GptOssForCausalLM"})
"""Served, but not updated: tried on the CPU, where an update is refused, for vLLM's loading layer
by layer does not see what the loaders of these models copy themselves."""


def known_to_vllm() -> frozenset[str]:
    """Names of the architectures that the installed vLLM serves, ours among them; takes seconds.

    Raises:
        ImportError: vLLM is not installed, or cannot be imported.
    """
    with environment(on_gpu=torch.cuda.is_available()):
        # what its modules log while they are imported, before vLLM sets its own level
        logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
        from vllm.model_executor.models import ModelRegistry

        from munro.rollout.vllm.model import register

        register()
        return frozenset(ModelRegistry.get_supported_archs())
