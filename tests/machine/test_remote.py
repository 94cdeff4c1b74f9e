"""An object store's address where a folder is meant is refused, and makes no folder named `s3:`."""

from __future__ import annotations

import pytest

from munro.machine.errors import BadConfig
from munro.machine.loading import check
from munro.machine.remote import refuse_stores_among


@pytest.mark.parametrize(
    "raw",
    [
        {"folder": "s3://bucket/runs", "env": "arithmetic"},
        {"model": {"path": "gs://bucket/model"}, "env": "arithmetic"},
        {"env": [{"path": "HDFS://node/mine.py:Mine"}]},
        {"tracking": ["abfss://x@y/z.py:Mine"], "env": "arithmetic"},
    ],
)
def test_a_key_that_holds_one_is_named(raw: dict) -> None:
    with pytest.raises(BadConfig, match=r"^mine.toml: [\w.]+ = '\w+://.*': Munro reads and writes"):
        check({"num_steps": 1, **raw}, source="mine.toml")


def test_what_an_environment_takes_and_where_a_service_is_are_left_alone() -> None:
    raw = {
        "env": {"path": "mine.py:Mine", "args": {"bucket": "s3://bucket/rows"}},
        "ray": {"address": "ray://head:10001"},
        "judge": {"j": {"model": "m", "base_url": "http://localhost:8000/v1"}},
    }
    assert check({"num_steps": 1, **raw}, source="mine.toml").env[0].args == {
        "bucket": "s3://bucket/rows"
    }


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["export", "runs/a", "--to", "s3://bucket/a"], "--to s3://bucket/a"),
        (["export", "runs/a", "--to=s3://bucket/a"], "--to s3://bucket/a"),
        (["report", "gs://bucket/a"], "gs://bucket/a"),
    ],
)
def test_an_argument_that_is_one_is_named(arguments: list[str], what: str) -> None:
    with pytest.raises(BadConfig, match=f"^{what}: Munro reads and writes files"):
        refuse_stores_among(arguments)
    refuse_stores_among(["climb", "--env.args.bucket", "s3://b", "--ray.address", "ray://head:1"])
