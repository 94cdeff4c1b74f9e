"""Log-probs over nuclei alone, by every twin, against the definition."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from munro.kernels import dispatch
from munro.kernels.nucleus_logprob import bench, gathered, nucleus_logprob
from munro.kernels.nucleus_logprob.layout import plan
from munro.kernels.scale import Scale
from tests.kernels.nuclei import (
    PART,
    SCALES,
    WIDTHS,
    check,
    expected,
    found,
    problem,
)
from tests.syncs import Synchronisations


@pytest.fixture(params=[5, gathered.GATHER_TILE], ids=["turns", "one turn"])
def turns(request, monkeypatch):
    monkeypatch.setattr(gathered, "GATHER_TILE", request.param)


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_values_and_gradients_are_those_of_the_definition(turns, widths, scale):
    given = problem(widths)
    for ours, theirs in zip(found(given, scale), expected(given, scale), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_torch_alone_does_all_that_is_asked_of_a_twin():
    check("cpu", beyond=33)


@pytest.mark.parametrize("turned_on", [True, False], ids=["inside", "outside"])
def test_autocast_rounds_what_is_multiplied_and_nothing_else(turned_on):
    given = problem([5] * 40, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        logp = nucleus_logprob(given.hidden, given.weight, given.token, given.plan)
    with torch.autocast("cpu", torch.bfloat16, enabled=turned_on):
        grads = torch.autograd.grad((logp * given.upstream).sum(), [given.hidden, given.weight])
    rounded = problem([5] * 40, dtype=torch.float32)
    for leaf in (rounded.hidden, rounded.weight):
        leaf.data.copy_(leaf.data.bfloat16())
    for ours, theirs in zip((logp, *grads), expected(rounded, Scale()), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_a_nucleus_of_one_token_is_certain_and_teaches_nothing():
    for ours in found(problem([1, 1, 1]), Scale()):
        assert ours.abs().max() == 0


def test_the_rest_of_the_vocabulary_is_never_touched():
    given = problem([2, 4, 3])
    outside = torch.ones(len(given.weight), dtype=torch.bool)
    outside[given.plan.ids.long()] = False
    given.weight.data[outside] = float("nan")
    logp, _, grad_weight = found(given, Scale())
    assert logp.isfinite().all()
    assert grad_weight.isfinite().all()
    assert not grad_weight[outside].any()


def test_no_gradient_is_made_that_nobody_wants():
    given = problem([2, 4, 3])
    given.weight.requires_grad_(False)
    logp = nucleus_logprob(given.hidden, given.weight, given.token, given.plan)
    logp.sum().backward()
    assert given.weight.grad is None
    assert given.hidden.grad is not None


def test_nothing_of_it_waits_for_a_device():
    given = problem([2, 4, 3] * 50, dtype=torch.float32)
    with Synchronisations() as counted:
        for how in ("return", "add"):
            logp = nucleus_logprob(
                given.hidden, given.weight, given.token, given.plan, grad_weight=how
            )
            logp.sum().backward()
    assert counted.total == 0, counted.counts


def test_a_matrix_that_cannot_be_added_to_is_refused():
    given = problem([2], dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="gradients in float32"):
        nucleus_logprob(given.hidden, given.weight, given.token, given.plan, grad_weight="add")


BAD = {
    "no nucleus": (([4], [], [0, 0]), "position 0 has no nucleus"),
    "without its token": (([4, 5], [4, 6], [0, 1, 2]), "position 1 holds its token 5 0 times"),
    "its token twice": (([4], [4, 4], [0, 2]), "position 0 holds its token 4 2 times"),
    "no such word": (([4], [4, 10], [0, 2]), "not below 10"),
    "more candidates than offsets": (([4], [4, 5], [0, 1]), "end at 1 of 2"),
}


@pytest.mark.parametrize(("given", "sentence"), BAD.values(), ids=BAD)
def test_nuclei_that_are_none_are_refused_on_the_host(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(*(np.asarray(one, np.int64) for one in given), 10)


def test_sums_cover_each_candidate_once_and_a_long_one_is_cut_in_parts():
    given = problem([1, 200, 3, 64] * 40, hot=7)
    laid, ids = given.plan, given.plan.ids.numpy()
    assert (ids[laid.order] == np.sort(ids)).all()
    assert (laid.distinct.numpy()[laid.rank] == ids).all()
    for sums, rows in ((laid.by_position, laid.owner.numpy()), (laid.by_id, np.sort(ids))):
        starts, into = sums.starts.numpy(), sums.into.numpy()
        assert starts[0] == 0
        assert starts[-1] == len(ids)
        assert 0 < np.diff(starts).min() <= np.diff(starts).max() <= PART
        # a part is of one row of the result: its own, or that of the long sum it is partial to
        split = np.repeat(sums.split_into.numpy(), np.diff(sums.split_starts.numpy()))
        target = into.copy()
        target[into < 0] = split[-1 - into[into < 0]]
        assert (np.repeat(target, np.diff(starts)) == rows).all()
        assert sums.num_partials == len(split) > 0


@pytest.mark.skipif(not dispatch.importlib.util.find_spec("triton"), reason="no Triton here")
def test_triton_s_kernels_do_all_that_is_asked_of_a_twin_under_its_interpreter():
    # blocks so small that few numbers are more than one
    source = """
from munro.kernels.nucleus_logprob import fused
from tests.kernels.nuclei import check
fused.MOST_COLUMNS = 16
check("cpu", beyond=33)
"""
    root = Path(__file__).parents[2]
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "OMP_NUM_THREADS": "1",
        dispatch.VARIABLE: "fused",
        "PYTHONPATH": f"{root / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.gpu
def test_triton_s_kernels_do_all_that_is_asked_of_a_twin_on_the_card():
    check("cuda", beyond=1025)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def real(request):
    """M = 32,768 candidates, D = 1024, a vocabulary of 151,936; the matrix in this precision."""
    return bench.Bench(bench.GPU, torch.device("cuda"), dtype=request.param)


def outcome(real: bench.Bench) -> tuple[torch.Tensor, ...]:
    real.weight.grad.zero_()
    logp = real.added()
    return logp.detach().clone(), real.hidden.grad.clone(), real.weight.grad.clone()


@pytest.mark.gpu
def test_at_real_sizes_it_repeats_and_nothing_waits(real):
    outcome(real)
    torch.cuda.set_sync_debug_mode("error")
    try:
        one, other = outcome(real), outcome(real)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(map(torch.equal, one, other))


@pytest.mark.gpu
def test_at_real_sizes_it_gives_what_torch_s_operators_give(real, monkeypatch):
    ours = outcome(real)
    monkeypatch.setenv(dispatch.VARIABLE, "plain")
    dispatch.decided.cache_clear()
    theirs = outcome(real)
    monkeypatch.undo()
    dispatch.decided.cache_clear()
    assert (ours[0] - theirs[0]).abs().max() < 1e-4
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        # hidden's gradient is bfloat16: each of two roundings to 2^-9
        assert (one.double() - other.double()).norm() < 4e-3 * other.double().norm()


@pytest.mark.gpu
def test_a_pass_can_be_recorded_and_gives_the_same_bits(real):
    expected = outcome(real)
    replay = bench.recorded(real.added)
    real.weight.grad.zero_()
    replay()
    assert torch.equal(real.weight.grad, expected[2])
