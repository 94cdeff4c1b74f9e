"""What vLLM reports of its load is added up; what it leaves out is not made up."""

from __future__ import annotations

from types import SimpleNamespace

from munro.rollout.engine import Load
from munro.rollout.vllm.load import Meter


def test_reports_add_up():
    meter = Meter()
    for use in (0.25, 0.5):
        meter.record(
            SimpleNamespace(kv_cache_usage=use),
            SimpleNamespace(num_generation_tokens=7, num_preempted_reqs=1),
        )
    assert meter.load == Load(generated=14, preempted=2, kv_use=0.5)
    meter.record(None, None, engine_idx=0)
    assert meter.load == Load(generated=14, preempted=2, kv_use=0.5)
