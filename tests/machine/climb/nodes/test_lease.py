"""What outlives a climb's own process ends when nobody comes back; what is set aside is whole."""

from __future__ import annotations

import gc
import threading
import time

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from munro.machine.climb.cluster import lease, places
from munro.machine.climb.cluster.lease import KEEPER, NAMESPACE, _Keeper, kept
from munro.machine.climb.cluster.places import Wanted, together
from munro.machine.loading import BadConfig, from_overrides

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


class Thing:
    def ping(self):
        return "pong"


def left(name):
    """A detached actor of that name."""
    actor = (
        ray.remote(Thing)
        .options(name=name, namespace=NAMESPACE, lifetime="detached", num_cpus=0)
        .remote()
    )
    assert ray.get(actor.ping.remote()) == "pong"
    return actor


def names(run):
    return {name.rpartition("/")[2] for name in lease._names(lease._run(run))}


def until(is_so, within_s=60):
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_free():
    """Whether the whole cluster is to be had: no actor of an earlier test is left in a cycle."""
    gc.collect()
    return ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"]


@pytest.mark.climb
def test_orphans_end_once_nobody_is_heard_of_and_their_keeper_with_them(tmp_path):
    lasting = f"{lease._run(tmp_path)}of-one-setting"
    left(f"{lasting}/server-0")
    keeper = (
        ray.remote(_Keeper)
        .options(name=f"{lasting}/{KEEPER}", namespace=NAMESPACE, lifetime="detached", num_cpus=0)
        .remote(lasting, 2.0)
    )
    for _ in range(8):  # longer than that, all told
        ray.get(keeper.beat.remote())
        time.sleep(0.5)
    assert names(tmp_path) == {"server-0", KEEPER}
    until(lambda: not names(tmp_path))


@pytest.mark.climb
def test_the_same_setting_is_found_again_and_another_one_is_ended_first(tmp_path):
    one, other = (f"{lease._run(tmp_path)}{of}" for of in ("one", "other"))
    left(f"{one}/server-0")
    elsewhere = left(f"{lease._run(tmp_path / 'another-run')}one/server-0")
    with kept(one, tmp_path, 60) as found:
        assert found
        assert names(tmp_path) == {"server-0", KEEPER}
    assert not names(tmp_path)
    left(f"{other}/server-1")
    with kept(one, tmp_path, 60) as found:
        assert not found
        assert names(tmp_path) == {KEEPER}
    assert ray.get(elsewhere.ping.remote()) == "pong"
    ray.kill(elsewhere)


def test_the_name_is_of_the_run_and_of_all_that_its_config_says(tmp_path):
    def name(run="one", **start):
        return lease.name_of(config(**start), tmp_path / "model", tmp_path / run)

    assert name(start_s=1) == name(start_s=1)
    assert len({name(start_s=1), name(start_s=2), name("other", start_s=1)}) == 3
    assert name(start_s=1).startswith(lease._run(tmp_path / "one"))


def config(start_s):
    return from_overrides(
        [("num_steps", "1"), ("env", "arithmetic"), ("deadlines.start_s", str(start_s))]
    )


def test_two_that_want_more_than_half_of_all_come_one_after_the_other(monkeypatch):
    """Each in two groups: had both one of them, neither would ever be done."""
    monkeypatch.setattr(places, "TRY_S", 3.0)
    until(is_free)
    in_the_way = placement_group([{"CPU": 1}])
    assert in_the_way.wait(60)
    at_once, most, done, lock = 0, 0, [], threading.Lock()

    def climb(name):
        nonlocal at_once, most
        with together([Wanted(bundles=[{"CPU": 1}], strategy="PACK")] * 2, config(120)):
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.3)
            with lock:
                at_once -= 1
            done.append(name)

    both = [threading.Thread(target=climb, args=(name,)) for name in "ab"]
    for one in both:
        one.start()
    time.sleep(1)
    remove_placement_group(in_the_way)
    for one in both:
        one.join()
    assert (sorted(done), most) == (["a", "b"], 1)


def test_more_than_there_is_is_refused_in_time():
    with (
        pytest.raises(BadConfig, match=r"set aside 9 CPUs and 0 GPUs within 1 s \(it has 2 and 0"),
        together([Wanted(bundles=[{"CPU": 3}], strategy="PACK")] * 3, config(1)),
    ):
        pass
