"""Servers as processes: one is killed, one is added, one is stopped beyond its lease."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from munro.envs.config import EnvConfig
from munro.rewards.config import RewardsConfig
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request, WeightSource
from munro.rollout.fleet.breaker import Patience
from munro.rollout.fleet.types import State
from munro.rollout.router import Router
from munro.rollout.waits import read_waits
from tests.rollout.fleet.counting import HAS, HELD

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("local_ray"),
]
LONG_S = 120.0
PATIENCE = Patience(deadline_s=LONG_S, patience_s=LONG_S)


@pytest.fixture
def setting(tmp_path):
    from munro.rollout.setting import Setting

    (tmp_path / "weights").mkdir()
    return Setting(
        model=str(tmp_path),
        rollout=RolloutConfig(
            engine=f"{Path(__file__).with_name('counting.py')}:start", servers=2, max_servers=3
        ),
        rewards=RewardsConfig(),
        envs=(EnvConfig(path="arithmetic"),),
        seed=0,
        max_context=64,
        weights=str(tmp_path / "weights"),
        run=str(tmp_path),
        environment={"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )


class Fleet:
    """Servers, a router over them, and what the registry knows."""

    def __init__(self, setting):
        import ray

        from munro.rollout.cluster import ServerHandle, Servers
        from munro.rollout.cluster.registry import RemoteDirectory

        self.setting = setting
        self.servers = Servers(setting, least=1, waits_for_dead=False, min_live_s=LONG_S)
        self.servers.wait_ready(LONG_S)
        handles = {
            name: ServerHandle(name, ray.get_actor(known))
            for name, known in self.servers.known_as.items()
        }
        self.handles = handles
        directory = RemoteDirectory(self.servers.registry, "router", handles)
        self.router = Router({}, PATIENCE, directory=directory)

    def view(self):
        return {one.name: one for one in self.servers._registry.view(None).servers}

    def until(self, what):
        end = time.monotonic() + LONG_S
        while not what(self.view()):
            assert time.monotonic() < end, self.view()
            time.sleep(0.1)

    def serve(self, *names, incarnation=None):
        def all_do(view):
            return all(
                name in view
                and view[name].may_be_asked(self.servers.version)
                and incarnation in (None, view[name].incarnation)
                for name in names
            )

        self.until(all_do)

    def update(self, version):
        path = Path(self.setting.weights) / "w"
        path.touch()
        told = {"path": str(path), "version": version}
        (path.parent / "latest.json").write_text(json.dumps(told))
        self.servers.update_weights(WeightSource(**told), drain=True, deadline_s=LONG_S)

    def send(self, name, number):
        (pid,) = (one.pid for one in read_waits(self.setting.run) if one.process == name)
        os.kill(pid, number)

    async def versions(self, num):
        self.router.expect(self.servers.version)
        asked = [Request(key=(n,), prompt_ids=[1], max_tokens=3, seed=n) for n in range(num)]
        done = await asyncio.gather(*(self.router.generate([one]) for one in asked))
        return {int(each) for (one,) in done for each in one.versions}


async def test_a_server_is_killed_one_is_added_and_one_is_stopped(local_ray, setting):
    import ray

    class Hog:
        async def there(self):
            return True

    cpus = ray.cluster_resources()["CPU"]
    hog = ray.remote(Hog).options(num_cpus=cpus).remote()
    ray.get(hog.there.remote())
    fleet = Fleet(setting)
    try:
        fleet.update(1)
        assert await fleet.versions(8) == {1}
        assert set(fleet.view()) == {"server-0", "server-1"}

        held = Request(key=(99,), prompt_ids=[HELD], max_tokens=3, seed=0)
        lost = asyncio.ensure_future(fleet.handles["server-0"].generate([held]))
        await asyncio.sleep(3)
        fleet.send("server-0", signal.SIGKILL)
        fleet.update(2)  # waits for nobody who is dead
        assert "server-1" in fleet.servers.in_use
        assert await fleet.versions(8) == {2}
        with pytest.raises(Exception, match="server-0"):
            await lost
        await asyncio.to_thread(fleet.serve, "server-0", "server-1")
        assert fleet.view()["server-0"].incarnation == 2
        assert fleet.servers._registry.view(None).lost_tokens == HAS

        ray.kill(hog)
        await asyncio.to_thread(fleet.serve, "server-2")
        fleet.update(3)
        assert set(fleet.servers.in_use) == {"server-0", "server-1", "server-2"}
        assert await fleet.versions(30) == {3}

        fleet.send("server-1", signal.SIGSTOP)
        await asyncio.to_thread(fleet.until, lambda view: view["server-1"].state is State.GONE)
        fleet.update(4)
        assert set(fleet.servers.in_use) == {"server-0", "server-2"}
        assert await fleet.versions(8) == {4}
        fleet.send("server-1", signal.SIGCONT)
        await asyncio.to_thread(fleet.serve, "server-1", incarnation=2)
        assert await fleet.versions(30) == {4}
    finally:
        fleet.servers.close(5)
