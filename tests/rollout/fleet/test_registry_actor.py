"""The registry's process may die: who asks waits until it is there again."""

import os
import signal
from types import SimpleNamespace
from uuid import uuid4

import pytest
import ray

from munro.rollout.cluster.registry import RegistryHandle
from munro.rollout.waits import Stalled

pytestmark = pytest.mark.ray


@pytest.fixture
def handle(local_ray):
    setting = SimpleNamespace(placement="DEFAULT", lasting="", environment={})
    # a name of its own: Ray gives one up a little after its actor was ended
    one = RegistryHandle(setting, f"registry-{uuid4().hex}", "some layout", 60)
    yield one
    one.close()


def pid_of(handle):
    return ray.get(handle._actor.__ray_call__.remote(lambda _: os.getpid()))


def test_a_registry_that_died_is_waited_for(handle):
    assert handle.view(0).servers == ()
    for call in (lambda: handle.view(3), lambda: handle.freeze(4), lambda: handle.freeze(5)):
        os.kill(pid_of(handle), signal.SIGKILL)
        assert call() is not None
    roster = handle.freeze(6)
    os.kill(pid_of(handle), signal.SIGKILL)
    handle.closed(roster, ())


def test_one_that_does_not_come_back_is_waited_for_no_longer_than_is_said(handle):
    handle.view(0)
    handle._deadline_s = 0.5
    os.kill(pid_of(handle), signal.SIGKILL)

    def often():
        for _ in range(100):  # that it died may be heard a little later
            handle.freeze(1)

    with pytest.raises(Stalled, match="a roster"):
        often()
