"""What ends a wait for actors that are called again and again: what they wait for is gone."""

from __future__ import annotations

import asyncio

import pytest
import ray

from munro.rewards.errors import PolicyError
from munro.rollout.cluster.actors import mostly

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


class Gone(Exception):
    """Nobody comes any more."""


@ray.remote(num_cpus=0)
class Server:
    """Takes no update: it fails each, or never answers."""

    def __init__(self, fails: bool) -> None:
        self._fails, self.asked = fails, 0

    async def update(self) -> None:
        self.asked += 1
        if self._fails:
            raise PolicyError("weights did not come")
        await asyncio.sleep(3600)

    async def times(self) -> int:
        return self.asked


@pytest.mark.parametrize("fails", [True, False])
def test_who_waits_for_a_dead_learner_hears_of_it(fails: bool) -> None:
    server, looks = Server.remote(fails), []

    def is_there() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise Gone

    with pytest.raises(Gone):
        mostly(
            "weights", {"server-0": server}, lambda one: one.update.remote(), 3600, least=1,
            meanwhile=is_there,
        )  # fmt: skip
    assert ray.get(server.times.remote()) == (3 if fails else 1)
    ray.kill(server)
