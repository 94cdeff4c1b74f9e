"""How much vLLM's engine has to do, as it reports itself after every step."""

from __future__ import annotations

from typing import Any

from munro.rollout.engine import Load


class Meter:
    """Takes vLLM's reports in, and adds them up.

    vLLM does not keep the fields of its reports stable: one that is missing is not told.
    """

    def __init__(self) -> None:
        self.load = Load(preempted=0, kv_use=0.0)

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,  # noqa: ARG002 - vLLM's signature
        engine_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """After a step of the engine."""
        before = self.load
        self.load = Load(
            generated=before.generated + getattr(iteration_stats, "num_generation_tokens", 0),
            preempted=(before.preempted or 0) + getattr(iteration_stats, "num_preempted_reqs", 0),
            kv_use=getattr(scheduler_stats, "kv_cache_usage", before.kv_use),
        )

    def reporter(self) -> Any:
        """What vLLM is given: makes a logger of its own kind that writes here."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        meter = self

        class Reporter(StatLoggerBase):  # type: ignore[misc]
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                pass

            def record(self, *stats: Any, **more: Any) -> None:
                meter.record(*stats, **more)

            def log_engine_initialized(self) -> None:
                pass

        return Reporter
