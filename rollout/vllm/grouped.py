"""How adapters are multiplied in a vLLM on the CPU: once for each adapter, not for each token.

vLLM's own CPU code copies an adapter's two matrices for every token of a step, and gives a token
that has no adapter the last one that it holds. Here the tokens are gathered by adapter, and those
without one get nothing.

Shape letters: N = tokens of an engine step, S = places for adapters, R = their width.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig
from vllm.platforms import current_platform


class GroupedWrapper(PunicaWrapperCPU):  # type: ignore[misc]
    """vLLM's, with another way to multiply in linear layers."""

    groups: tuple[tuple[int, Tensor | None], ...] = ()
    """Of the present step: an adapter's place, and the tokens that have it (None: all)."""

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """See vLLM's; notes whose adapter is whose."""
        super().update_metadata(*args, **kwargs)
        place_N = self.token_lora_indices
        places = place_N.unique().tolist()
        self.groups = tuple(
            (place, None if len(places) == 1 else (place_N == place).nonzero()[:, 0])
            for place in places
            if place >= 0
        )

    def add_lora_linear(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: tuple[Tensor, ...],
        lora_b_stacked: tuple[Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **kwargs: Any,  # noqa: ARG002 - a buffer, of which none is needed
    ) -> None:
        """Add to a layer's output y what its adapters make of its input x.

        Args:
            y: [N, outputs], changed in place.
            x: [N, inputs]
            lora_a_stacked: [S, 1, R, inputs] for each slice of the outputs.
            lora_b_stacked: [S, 1, slice, R]
            scale: multiplies it.
            output_slices: widths of the slices.
        """
        for place, tokens in self.groups:
            mine = x if tokens is None else x.index_select(0, tokens)
            start = 0
            for down, up, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                added = (mine.to(down.dtype) @ down[place, 0].T) @ up[place, 0].T
                part = y[:, start : start + width]
                added = (added * scale).to(y.dtype)[:, : part.shape[1]]
                if tokens is None:
                    part[:, : added.shape[1]] += added
                else:
                    part[:, : added.shape[1]].index_add_(0, tokens, added)
                start += width


def use_grouped() -> None:
    """Have vLLM take it, and plain kernels for experts; before it loads a model.

    Where adapters are served vLLM takes Triton's kernels for experts, adapted or not, which a CPU
    cannot run. Experts get no adapter of ours, so those without will do.
    """
    name = f"{GroupedWrapper.__module__}.{GroupedWrapper.__qualname__}"
    type(current_platform).get_punica_wrapper = classmethod(lambda _: name)
    settle = FusedMoEConfig.__post_init__

    def plain(config: FusedMoEConfig) -> None:
        config.is_lora_enabled = False
        settle(config)

    FusedMoEConfig.__post_init__ = plain
