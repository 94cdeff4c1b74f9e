"""Servers and workers as processes: they repeat, take new weights, and come back when killed."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from munro.envs.config import EnvConfig
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.fleet.errors import TooFewServers
from munro.rollout.types import Group, places_of
from munro.rollout.waits import Stalled, read_waits
from munro.rollout.weights import SharedMemoryWeights
from tests.rollout.builders import make_tokenizer
from tests.rounding import depth, largest, near

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

CAP = 6
DEADLINE_S = 600
STREAM = [5, 9, 200, 31, 7, 7, 120]


def tiny_llama(seed):
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(None)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=0.3,
        )
    ).eval()


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    from munro.rollout.cluster import Setting

    folder = tmp_path_factory.mktemp("run")
    tiny_llama(0).save_pretrained(folder / "model")
    make_tokenizer(None).save_pretrained(folder / "model")
    return Setting(
        model=str(folder / "model"),
        rollout=RolloutConfig(
            engine="transformers",
            servers=2,
            group_size=4,
            num_early=2,
            early_pass_rate=(0, 1),
            pass_rate=(0, 1),
            template="plain",
            top_p=0.9,
            generate_deadline_s=DEADLINE_S,
        ),
        rewards=RewardsConfig(),
        envs=(EnvConfig(path="arithmetic"),),
        seed=3,
        max_context=128,
        weights=str(folder / "weights"),
        run=str(folder),
        environment={"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )


class LearnerLost(Exception):
    pass


@pytest.fixture(scope="module")
def fleet(local_ray, setting):
    from munro.rollout.cluster import Servers, Solvers

    servers = Servers(setting)
    solvers = Solvers(setting, servers)
    servers.wait_ready(DEADLINE_S)
    solvers.wait_ready(DEADLINE_S)
    yield servers, solvers
    solvers.close()
    servers.close()


def groups_of(solvers, outcomes):
    found = solvers.stores.found(places_of(outcomes))
    assert all(isinstance(group, Group) for group in found)
    return found


def told(solvers, outcomes):
    """Everything that must repeat, to the last bit."""
    return [
        (group.index, a.trajectory.token_ids.tolist(), a.trajectory.behaviour_logp.tobytes())
        for group in groups_of(solvers, outcomes)
        for a in group.attempts
    ]


def log_probs(model):
    """What `Engine.score` must say of STREAM."""
    with torch.no_grad():
        logp = model(torch.tensor([STREAM])).logits[0].log_softmax(-1)
    after_first = logp[torch.arange(len(STREAM) - 1), torch.tensor(STREAM[1:])]
    return [0.0, *after_first.tolist()]


def collected(solvers, num):
    outcomes = []
    while len(outcomes) < num:
        outcomes += solvers.next_outcomes(timeout_s=1)
    return outcomes


def kill(setting, process):
    (pid,) = (said.pid for said in read_waits(setting.run) if said.process == process)
    os.kill(pid, signal.SIGKILL)
    return pid


def test_servers_that_are_ready_may_be_waited_for_again(fleet):
    """As a climb does whose server shares its place with the learner."""
    servers, _ = fleet
    version = servers.version
    servers.wait_ready(DEADLINE_S)
    assert servers.version == version


def test_waves_and_evaluations_repeat_bit_by_bit_over_two_servers(fleet):
    _, solvers = fleet
    wave = [(index, CAP) for index in range(5)]
    first = solvers.solve_all(wave, DEADLINE_S)
    assert [group.index for group in first] == list(range(5))
    assert [group.task_id for group in first] == [solvers.task_id(index) for index in range(5)]
    assert told(solvers, first) == told(solvers, solvers.solve_all(wave, DEADLINE_S))
    held_out = [solvers.evaluate(3, 2, CAP, DEADLINE_S) for _ in range(2)]
    streams = [
        [
            a.trajectory.token_ids.tolist()
            for task in groups_of(solvers, tasks)
            for a in task.attempts
        ]
        for tasks in held_out
    ]
    assert len(streams[0]) == 6
    assert streams[0] == streams[1]


def test_every_server_takes_new_weights_and_is_known_by_its_name(fleet, setting):
    servers, solvers = fleet
    model = tiny_llama(1)
    source = SharedMemoryWeights(setting.weights).publish(model.state_dict().items(), version=1)
    servers.update_weights(source, drain=True, deadline_s=DEADLINE_S)
    scores = servers.score_each([STREAM, STREAM[:3]], DEADLINE_S)
    assert list(scores) == ["server-0", "server-1"]
    for whole, start in scores.values():
        expected = log_probs(model)
        terms = depth(model, len(STREAM))
        assert whole.tolist() == near(expected, terms)
        assert start.tolist() == near(expected[:3], terms, scale=largest(expected))
    (group,) = solvers.solve_all([(0, CAP)], DEADLINE_S)
    assert group.oldest_version == 1


def test_a_killed_server_and_a_killed_worker_cost_no_task(fleet, setting):
    servers, solvers = fleet
    before = servers.score_each([STREAM], DEADLINE_S)["server-0"][0].tolist()
    wave = [(index, CAP) for index in range(3)]
    undisturbed = told(solvers, solvers.solve_all(wave, DEADLINE_S))

    solvers.assign([(index, CAP) for index in range(12)])
    gone = {kill(setting, "server-0"), kill(setting, "worker-0")}
    outcomes = collected(solvers, 12)
    assert sorted(group.index for group in outcomes) == list(range(12))
    assert {group.oldest_version for group in outcomes} == {1}
    # what the killed worker told of lies with its node's store, and can be learned from
    assert [one.index for one in groups_of(solvers, outcomes)] == [one.index for one in outcomes]
    assert solvers.lost(outcomes) == []
    solvers.forget(outcomes[:2])
    while not (lost := solvers.lost(outcomes)):  # it is told, and not waited for
        time.sleep(0.1)
    assert {one.index for one in lost} <= {one.index for one in outcomes[:2]}

    # the one that came back serves the weights it never was given
    assert servers.score_each([STREAM], DEADLINE_S)["server-0"][0].tolist() == before
    assert told(solvers, solvers.solve_all(wave, DEADLINE_S)) == undisturbed
    said = {process.process: process.pid for process in read_waits(setting.run)}
    assert not gone & set(said.values())
    assert {said["server-0"], said["worker-0"]} <= {*servers.pids(), *solvers.pids()}


def test_an_update_finds_the_servers_that_are_up_whoever_was_at_the_one_before(
    fleet, setting, monkeypatch
):
    """A learner died while all servers were down: the same version comes again, and so are they."""
    servers, _ = fleet
    freeze = servers._registry.freeze
    down = [True] * 3

    def frozen(version):
        roster = freeze(version)
        return replace(roster, members={}) if down and down.pop() else roster

    def lost():
        raise LearnerLost

    monkeypatch.setattr(servers, "_waits_for_dead", False)
    monkeypatch.setattr(servers._registry, "freeze", frozen)
    weights = SharedMemoryWeights(setting.weights)
    source = weights.publish(tiny_llama(1).state_dict().items(), version=2)
    with pytest.raises(LearnerLost):
        servers.update_weights(source, drain=True, deadline_s=DEADLINE_S, meanwhile=lost)
    assert len(down) == 2  # nobody was up, and it did not end for that
    servers.update_weights(source, drain=True, deadline_s=DEADLINE_S)
    assert list(servers.in_use) == ["server-0", "server-1"]
    down[:] = [True] * 1000
    with pytest.raises(TooFewServers, match="servers to load new weights"):
        servers.update_weights(source, drain=True, deadline_s=0.2)
    down.clear()
    servers.update_weights(source, drain=True, deadline_s=DEADLINE_S)


def test_a_server_that_is_too_slow_is_set_aside_and_comes_back(local_ray, setting):
    from munro.rollout.cluster import Servers, Solvers

    setting = replace(setting, run=f"{setting.run}/slow", weights=f"{setting.weights}-slow")
    Path(setting.run).mkdir()
    servers = Servers(setting, least=1)
    solvers = Solvers(setting, servers)
    weights = SharedMemoryWeights(setting.weights)

    def update(version, within_s):
        source = weights.publish(tiny_llama(version).state_dict().items(), version=version)
        servers.update_weights(source, drain=True, deadline_s=within_s)
        return list(servers.score_each([STREAM], within_s))

    def sampled_by():
        (group,) = solvers.solve_all([(0, CAP)], DEADLINE_S)
        return group.oldest_version

    solvers.wait_ready(DEADLINE_S)
    servers.wait_ready(DEADLINE_S)
    (slow,) = (said.pid for said in read_waits(setting.run) if said.process == "server-0")
    try:
        assert update(1, DEADLINE_S) == ["server-0", "server-1"]
        os.kill(slow, signal.SIGSTOP)
        assert update(2, 5) == ["server-1"]
        assert "weights of version 2 to be loaded (server-0)" in servers.aside["server-0"]
        assert sampled_by() == 2
        solvers.assign([(1, CAP)])
        assert [group.oldest_version for group in collected(solvers, 1)] == [2]
        os.kill(slow, signal.SIGCONT)
        assert update(3, DEADLINE_S) == ["server-1"] or servers.aside == {}
        assert update(4, DEADLINE_S) == ["server-0", "server-1"]
        assert servers.aside == {}
        assert sampled_by() == 4

        os.kill(slow, signal.SIGSTOP)
        servers._least = 2
        source = weights.publish(tiny_llama(5).state_dict().items(), version=5)
        with pytest.raises(Stalled, match=r"version 5 to be loaded \(server-0\)"):
            servers.update_weights(source, drain=True, deadline_s=3)
    finally:
        os.kill(slow, signal.SIGCONT)
        solvers.close()
        servers.close()


def test_a_server_that_cannot_serve_says_why_at_once(local_ray, setting):
    from munro.rollout.cluster import Servers

    one = setting.rollout.model_copy(update={"servers": 1})
    servers = Servers(replace(setting, model="no/such/model", rollout=one))
    with pytest.raises(PolicyError, match="no/such/model"):
        servers.wait_ready(DEADLINE_S)
    servers.close()
