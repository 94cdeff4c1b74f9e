"""Keys of a fleet that changes are refused where it must not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from munro.machine.config import RunConfig


def config(rollout, **sync):
    return RunConfig.model_validate(
        {"num_steps": 1, "env": "arithmetic", "rollout": rollout, "sync": sync}
    )


@pytest.mark.parametrize(
    ("rollout", "sync", "told"),
    [
        ({"servers": 3, "max_servers": 2}, {}, "fewer than rollout.servers = 3"),
        ({"max_servers": 2}, {"max_staleness": 0}, "a wave repeats bit by bit only on as many"),
        ({"max_servers": 2}, {"transport": "nccl"}, "meets its servers once"),
        ({"resume_partial": 64}, {"max_staleness": 0}, "a wave waits for whole ones"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(rollout, sync, told):
    with pytest.raises(ValidationError, match=rf"{told}.*(Raise|Leave|Set)"):
        config(rollout, **sync)


def test_what_can_be_is_taken():
    assert config({"servers": 2, "max_servers": 2}, max_staleness=0).rollout.max_servers == 2
    assert config({"servers": 2, "max_servers": 6, "resume_partial": 9}).rollout.resume_partial == 9
