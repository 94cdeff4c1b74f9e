"""Routed experts out of a vLLM engine on the CPU, whose runner has no way of its own.

    model.routed ──► RoutingStore (worker) ──► step output ──► RoutingScheduler ──► request output

A token's experts are kept under its place in the key-value cache, so that whoever shares a cached
prefix gets the experts that computed it. On GPUs vLLM does the same by
`enable_return_routed_experts`.

Shape letters: N = tokens of an engine step, M = mixture layers, K = experts a token goes to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig

Rows = NDArray[np.int16]


class RoutingStore:
    """Worker side: what was chosen for every token whose keys are still in the cache."""

    def __init__(self, cache: KVCacheConfig) -> None:
        specs = [group.kv_cache_spec for group in cache.kv_cache_groups]
        # a window forgets its blocks while the tokens live on
        whole = [i for i, spec in enumerate(specs) if isinstance(spec, FullAttentionSpec)]
        self._group = whole[0] if whole else 0
        self._num_slots = cache.num_blocks * specs[self._group].block_size
        self._rows: Rows | None = None
        self._told: dict[str, int] = {}

    def take(self, routed_NMK: Rows, batch: Any, scheduled: dict[str, int]) -> dict[str, Rows]:
        """Keep a step's choices; what each request has not been told yet.

        Args:
            routed_NMK: experts of the step's tokens, in the batch's order.
            batch: vLLM's input batch, as it was for this step.
            scheduled: tokens of each request in this step.
        """
        if self._rows is None:
            self._rows = np.full((self._num_slots, *routed_NMK.shape[1:]), -1, np.int16)
        requests = list(batch.req_ids)
        done_B = np.array(batch.num_computed_tokens_cpu[: len(requests)], np.int64)
        end_B = done_B + [scheduled[request] for request in requests]
        told_B = np.array([self._told.get(request, 0) for request in requests], np.int64)
        self._told.update(zip(requests, np.maximum(told_B, end_B).tolist(), strict=True))
        # every token from the first that is new, or untold, to the end: A of them
        start_B = np.minimum(told_B, done_B)
        row_A = np.repeat(np.arange(len(requests)), end_B - start_B)
        first_B = np.cumsum(end_B - start_B) - (end_B - start_B)
        position_A = np.arange(len(row_A)) - (first_B - start_B)[row_A]
        table = batch.block_table[self._group]
        blocks_A = table.block_table.np[row_A, position_A // table.block_size].astype(np.int64)
        slot_A = blocks_A * table.block_size + position_A % table.block_size
        self._rows[slot_A[position_A >= done_B[row_A]]] = routed_NMK
        untold = self._rows[slot_A[position_A >= told_B[row_A]]]
        ends = np.cumsum(np.maximum(end_B - told_B, 0))
        return dict(zip(requests, np.split(untold, ends[:-1]), strict=True))

    def forget(self, requests: Iterable[str]) -> None:
        """Drop the count of finished requests."""
        for request in requests:
            self._told.pop(request, None)


class RoutedOutputs:
    """Scheduler side: keeps the part of vLLM's own connector that its scheduler calls."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Rows]] = {}

    def take_in(self, news: dict[str, Rows] | None) -> None:
        """A step's rows, whether or not its requests have something to say."""
        for request, rows in (news or {}).items():
            self._waiting.setdefault(request, []).append(rows)

    def build_connector_meta(self, scheduler_output: Any, requests: Any) -> None:
        """Nothing needs telling to the worker."""

    def take_output(self, request: Any, output: Any) -> Rows | None:  # noqa: ARG002 - taken in
        """All rows of `request`, once it has ended."""
        if not request.is_finished():
            return None
        waiting = self._waiting.pop(request.request_id, None)
        return np.concatenate(waiting) if waiting else None

    def request_finished(self, request: Any) -> None:
        """Drop what an ended request leaves; one that is only set back goes on."""
        if request.is_finished():
            self._waiting.pop(request.request_id, None)

    def reset(self) -> None:
        """The prefix cache was emptied: nothing that is waiting comes from it."""


class RoutingScheduler(Scheduler):  # type: ignore[misc]
    """vLLM's scheduler, handing on the experts that the worker reports."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.aux_output_connector = RoutedOutputs()

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """See vLLM's own; takes in the step's rows first."""
        self.aux_output_connector.take_in(model_runner_output.aux_output_connector_output)
        return super().update_from_output(scheduler_output, model_runner_output)
