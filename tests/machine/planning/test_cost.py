"""The formulas of a plan, by figures worked out by hand or published."""

from __future__ import annotations

from math import sqrt

import pytest

from munro.machine.errors import BadConfig
from munro.machine.loading import load
from munro.machine.planning import cost
from munro.machine.planning.job import Job, Lengths, job_of
from munro.machine.planning.memory import learner_memory, micro_tokens, require_room
from munro.rl.policy.sizes import CONTEXTS

MAI = "configs/mai_scale.toml"
ONE = ("learner.parallel.replicate", "1")


def mai(*overrides: tuple[str, str]) -> Job:
    return job_of(load(MAI, overrides))


def test_lengths_are_cut_where_the_cap_is() -> None:
    open_ended = Lengths(mean=100.0, spread=0.5, cap=10**9)
    assert open_ended.moment(1) == pytest.approx(100.0)
    assert open_ended.moment(2) == pytest.approx(100.0**2 * 2.718281828**0.25)
    cut = Lengths(mean=100.0, spread=0.5, cap=50)
    assert 45 < cut.moment(1) < 50
    assert Lengths(mean=100.0, spread=0.0, cap=50).moment(2) == 2500


def test_the_reports_climb_has_the_reports_sizes() -> None:
    job = mai()
    assert job.gpus == 4864
    assert job.server_gpus == 4096
    # 128 attempts sampled for each 1 that counts: 16 / (.45 * .85) + 112 / .85
    assert cost.produced_per_trained(job) == pytest.approx(1.356, abs=1e-3)
    # 0.20 of 2.5 PFLOP/s over 6 x 34.66e9 is 2,404 a second; the attention of long answers takes
    # a sixth of it
    assert 2404 / 1.25 < cost.learner_tokens_per_s(job) < 2404
    assert cost.step_tokens(job) == pytest.approx(169e6, rel=0.02)
    # bfloat16 of 962e9 parameters into 64 GPUs, and out of 768 ranks for 64 servers
    found = cost.transfer(job, relayed=False)
    assert found.ingress == pytest.approx(30.1e9, rel=0.01)
    assert found.egress == pytest.approx(160.4e9, rel=0.01)
    assert cost.driver(job).token_bytes == pytest.approx(652, abs=2)


def test_updates_are_as_the_recipe_has_servers_fed() -> None:
    chain, each = mai(), mai(("sync.relay", "none"))
    assert cost.transfer(chain).egress == pytest.approx(cost.transfer(each).egress / 64)
    assert cost.step(each).sync_s > 2 * cost.step(chain).sync_s
    small = mai(("sync.bucket_mib", "1"))
    assert cost.transfer(small).estimate_s > 10 * cost.transfer(chain).estimate_s


def test_weights_and_moments_are_parted_among_the_ranks_of_a_replica() -> None:
    found = learner_memory(mai())
    parameters = mai().sizes.parameters
    assert found["weights"] + found["moments"] == pytest.approx(12 * parameters / 256)
    assert found["gradients"] == pytest.approx(4 * parameters / 256)
    whole = learner_memory(mai(ONE, ("learner.parallel.experts", "1")))
    assert whole["weights"] == pytest.approx(4 * parameters / 768)


def test_ranks_of_a_context_share_a_sequence() -> None:
    assert micro_tokens(mai()) == 16_448
    assert micro_tokens(mai(("learner.parallel.context", "1"))) == 131_072 + 512


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([("learner.parallel.context", "1")], "activations .* Lower learner.token_budget"),
        ([("learner.activation_checkpointing", "false")], "activation_checkpointing = true"),
        (
            [("learner.reduce_once", "true"), ("plan.hardware.kind", "GB200")],
            "reduce_once = false",
        ),
        ([("rollout.tensor_parallel", "4")], "Raise rollout.tensor_parallel"),
        ([("learner.ranks", "24"), ("learner.parallel.experts", "8")], "Raise learner.ranks"),
    ],
)
def test_a_plan_larger_than_memory_says_what_to_change(
    overrides: list[tuple[str, str]], said: str
) -> None:
    with pytest.raises(BadConfig, match=said):
        require_room(mai(*overrides))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([("learner.parallel.shard", "7")], "and learner.ranks = 768: their product must be that"),
        ([ONE, ("learner.parallel.context", "3")], "does not divide the 80 attention heads"),
        ([ONE, ("learner.parallel.experts", "3")], "does not divide the 512 experts"),
        ([ONE], "among the 12 ranks that share it"),
        ([("plan.hardware.kind", "H300")], "no hardware known. Did you mean"),
        ([("plan.rung", "7")], "not a multiple of 6"),
        ([("plan.rung", "0")], "set plan.rung"),
        ([("plan.rung", "0"), ("plan.shape", "{}"), ("model.path", "a/b")], "fetches nothing"),
    ],
)
def test_what_cannot_be_is_refused(overrides: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        mai(*overrides)


def test_a_checkpoint_is_due_as_young_has_it() -> None:
    job = mai(("plan.store_gb_s", "1000"))
    found = cost.saving(job)
    low, high = (3600 * hours / 768 for hours in (8_100, 50_700))
    assert found.total == 12 * job.sizes.parameters
    assert found.interval_s == tuple(
        max(found.write_s, sqrt(2 * found.stall_s * mttf)) for mttf in (low, high)
    )


def test_a_step_waits_for_the_slower_side() -> None:
    assert cost.step(mai()).waits_for == "the learner"
    few = cost.step(mai(("rollout.groups_in_flight", "4")))
    assert few.waits_for == "the groups"
    assert 0.15 < few.learner_busy < 0.3  # 256 in flight left it 24% busy in a prototype


def test_hardware_is_overridden_key_by_key() -> None:
    job = mai(("plan.hardware.memory_gb", "500"))
    assert job.hardware.memory == 500e9
    assert job.hardware.nic == 100e9


def test_contexts_are_counted_on_gpus() -> None:
    assert learner_memory(mai())["contexts"] == CONTEXTS
