"""The trainer asks the device for numbers once or twice a step, and in a micro-batch never."""

from __future__ import annotations

import pytest
import torch

from munro.base_model.training.loss import summed_loss
from munro.base_model.training.rows import rows_on_device
from munro.base_model.training.sharding import Alone
from munro.base_model.training.trainer import Trainer
from tests.base_model.trainable import KINDS, corpus, maker, training
from tests.syncs import Synchronisations


def trainer(kind: str, device: str = "cpu", **changes) -> Trainer:
    return Trainer(maker(kind), corpus(), training(**changes), Alone(device))


def test_a_step_of_four_micro_batches_waits_at_most_three_times():
    made = trainer("dense", batch_rows=8, micro_rows=2)
    for group in made._optimizer.param_groups:
        group["fused"] = True  # as on a GPU
    made.take_step()
    with Synchronisations() as found:
        made.take_step()
    assert 0 < found.total <= 3, found.counts


def test_no_micro_batch_makes_the_host_wait():
    made = trainer("dense", batch_rows=4)
    rows, _ = made._read()
    micro = rows_on_device(rows, torch.device("cpu"))
    with Synchronisations() as found:
        summed_loss(made.model, micro, apart=True).nll.backward()
    assert found.total == 0, found.counts


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choice", ["off", "on"])
def test_on_a_gpu_a_micro_batch_never_waits(kind, choice):
    device = torch.device("cuda")
    made = trainer(kind, "cuda", batch_rows=4, micro_rows=2, precision="bfloat16", compile=choice)
    made.take_step()
    rows, _ = made._read()
    micro = rows_on_device(next(rows.split(2)), device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.autocast("cuda", torch.bfloat16):
            told = summed_loss(made.model, micro, apart=True)
        told.nll.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_two_runs_take_the_same_steps_bit_for_bit(kind):
    told = []
    for _ in range(2):
        made = trainer(kind, "cuda", batch_rows=4, micro_rows=2, precision="bfloat16")
        told.append([(t.loss, t.grad_norm) for t in (made.take_step() for _ in range(3))])
    assert told[0] == told[1]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
def test_on_a_gpu_bfloat16_comes_to_what_float32_does():
    told = {}
    for precision in ("bfloat16", "float32"):
        made = trainer("dense", "cuda", batch_rows=4, precision=precision, compile="off")
        told[precision] = [made.take_step() for _ in range(3)]
        assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    for ours, theirs in zip(*told.values(), strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=0.02)
