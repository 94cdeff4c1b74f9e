"""Which twin runs, and how it is told."""

from __future__ import annotations

import pytest
import torch

from munro.kernels import dispatch

ALL = dispatch.TWINS
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def afresh(monkeypatch):
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    dispatch.decided.cache_clear()
    dispatch.why_not_fused.cache_clear()
    yield
    monkeypatch.undo()
    dispatch.decided.cache_clear()
    dispatch.why_not_fused.cache_clear()


def test_a_cpu_runs_the_plain_twin_and_says_why():
    assert dispatch.twin("one", CPU, ALL) == "plain"
    assert dispatch.decided("one", "cpu", ALL).why == "fused kernels are for GPUs"


def test_the_variable_asks_for_another_once_a_process(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "reference")
    assert dispatch.twin("one", CPU, ALL) == "reference"
    monkeypatch.setenv(dispatch.VARIABLE, "plain")
    assert dispatch.twin("one", CPU, ALL) == "reference"


def test_a_kernel_without_the_twin_that_is_asked_for_runs_its_best_and_says_so(monkeypatch):
    monkeypatch.setenv(dispatch.VARIABLE, "fused")
    decision = dispatch.decided("one", "cpu", ("reference", "plain"))
    assert decision.twin == "plain"
    assert "does not have" in decision.why


@pytest.mark.parametrize(
    ("value", "sentence"), [("quick", "names no twin"), ("fused", "cannot run on cpu")]
)
def test_what_cannot_run_is_refused_in_a_sentence(monkeypatch, value, sentence):
    monkeypatch.setenv(dispatch.VARIABLE, value)
    with pytest.raises(dispatch.NoSuchTwin, match=sentence) as caught:
        dispatch.twin("one", CPU, ALL)
    assert caught.value.is_sentence


def test_triton_s_interpreter_runs_fused_kernels_anywhere(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv(dispatch.VARIABLE, "fused")
    assert dispatch.twin("one", CPU, ALL) == "fused"


def test_every_kernel_is_in_the_report():
    found = {one.kernel: one.twin for one in dispatch.report()}
    assert found["linear_logprob"] == ("plain" if not torch.cuda.is_available() else "fused")
