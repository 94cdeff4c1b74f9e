"""Every process that computes settles torch's functions first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from munro.base_model.training.repeatable import repeatable
from munro.kernels import vector_math
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rollout.config import RolloutConfig
from munro.rollout.transformers_engine import TransformersEngine


class Calls(TorchDispatchMode):
    """Writes down what is called, with how many numbers of which kind."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, int, torch.dtype]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if isinstance(args[0], torch.Tensor):
            name = func.overloadpacket.__name__
            self.seen.add((name, args[0].numel(), args[0].dtype))
        return func(*args, **(kwargs or {}))


def test_one_number_of_each_kind_goes_through_each_function():
    with Calls() as calls:
        vector_math.settle()
    kinds = (torch.float32, torch.float64)
    assert {(name, 1, kind) for name in vector_math.FUNCTIONS for kind in kinds} <= calls.seen


def train() -> None:
    with repeatable(torch.device("cpu")):
        pass


@pytest.mark.parametrize(
    "start",
    [
        train,
        lambda: Learner("no-such-model", LearnerConfig(), seed=0),
        lambda: TransformersEngine("no-such-model", RolloutConfig(), seed=0, max_context=0),
    ],
    ids=["a training", "a learner", "an engine"],
)
def test_whatever_computes_settles_them_before_its_first_tensor(
    start: Callable[[], object], monkeypatch: pytest.MonkeyPatch
):
    class Settled(Exception):
        pass

    def settle() -> None:
        raise Settled

    monkeypatch.setattr(vector_math, "settle", settle)
    with Calls() as calls, pytest.raises(Settled):
        start()
    assert not calls.seen


SERVE = """
from munro.kernels import vector_math
from munro.rollout.vllm.worker import Worker

def settle():
    raise SystemExit("settled")

vector_math.settle = settle
Worker.load_model(object.__new__(Worker))
"""


@pytest.mark.vllm
def test_so_does_vllm_s_worker_before_it_loads():
    told = subprocess.run([sys.executable, "-c", SERVE], capture_output=True, text=True)
    assert told.stderr.splitlines()[-1] == "settled"
