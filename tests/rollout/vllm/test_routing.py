"""What a request is told of its experts, whatever the cache and the scheduler do with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = [
    pytest.mark.vllm,
    # vLLM's and its dependencies' own, met while they are imported
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

BLOCK = 2


class Steps:
    """A store, fed step by step as a worker does."""

    def __init__(self) -> None:
        import torch
        from vllm.v1.kv_cache_interface import FullAttentionSpec

        from munro.rollout.vllm.routing import RoutingStore

        spec = FullAttentionSpec(
            block_size=BLOCK, num_kv_heads=1, head_size=32, dtype=torch.float32
        )
        group = SimpleNamespace(kv_cache_spec=spec)
        self.store = RoutingStore(SimpleNamespace(kv_cache_groups=[group], num_blocks=16))

    def take(self, **requests: tuple[list[int], int, list[int]]) -> dict[str, list[int]]:
        """Each request: its blocks, its tokens computed before, the experts of its new ones."""
        table = np.zeros((len(requests), 8), np.int32)
        for row, (blocks, _, _) in enumerate(requests.values()):
            table[row, : len(blocks)] = blocks
        tables = SimpleNamespace(block_size=BLOCK, block_table=SimpleNamespace(np=table))
        batch: Any = SimpleNamespace(
            req_ids=list(requests),
            num_computed_tokens_cpu=np.array([done for _, done, _ in requests.values()]),
            block_table=[tables],
        )
        routed = np.array([e for _, _, new in requests.values() for e in new], np.int16)
        scheduled = {name: len(new) for name, (_, _, new) in requests.items()}
        news = self.store.take(routed[:, None, None], batch, scheduled)
        return {name: rows[:, 0, 0].tolist() for name, rows in news.items()}


def test_every_token_is_told_once_in_order() -> None:
    steps = Steps()
    assert steps.take(a=([3, 1], 0, [7, 8, 9])) == {"a": [7, 8, 9]}
    assert steps.take(b=([5], 0, [1]), a=([3, 1], 3, [6])) == {"b": [1], "a": [6]}
    assert steps.take(a=([3, 1, 2], 4, [5]), b=([5], 1, [2])) == {"a": [5], "b": [2]}


def test_who_shares_a_cached_prefix_is_told_its_experts_too() -> None:
    steps = Steps()
    steps.take(a=([3, 1], 0, [7, 8, 9]))
    assert steps.take(b=([3, 6], 2, [4])) == {"b": [7, 8, 4]}


def test_who_is_set_back_is_told_nothing_twice_and_keeps_what_was_chosen_first() -> None:
    steps = Steps()
    steps.take(a=([3, 1], 0, [7, 8, 9]))
    # computed again elsewhere, perhaps with other weights, and one token further
    assert steps.take(a=([5, 6], 0, [1, 2, 3, 4])) == {"a": [4]}


def test_a_finished_request_s_name_may_come_again() -> None:
    steps = Steps()
    steps.take(a=([3], 0, [7, 8]))
    steps.store.forget(["a"])
    assert steps.take(a=([4], 0, [1])) == {"a": [1]}
