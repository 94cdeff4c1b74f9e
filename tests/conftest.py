"""What tests of several rooms share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from munro.kernels import vector_math
from tests.numeric import is_numeric

# as `munro` sets it: threads that spin on a shared machine make tests crawl
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# the same examples every time: what is green stays green, on a machine that does other work too
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
# as every process of ours that computes; tests call torch directly too
vector_math.settle()


def pytest_configure(config: pytest.Config) -> None:
    """Say what has failed by then where time is up and `.ci/run` ends the tests."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-cpus` runs."""
    for item in items:
        if is_numeric(Path(item.path)):
            item.add_marker(pytest.mark.numeric)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray on this machine for all tests that need one; ended after the last."""
    # Ray warns of its next default otherwise
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=150 << 20,
    )
    yield
    ray.shutdown()
