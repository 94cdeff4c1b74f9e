"""Figures wait where they were computed, and come over all at once and exactly."""

from __future__ import annotations

import torch

from munro.base_model.device.figures import Figures


def plain(value):
    return value.detach() if isinstance(value, torch.Tensor) else value


def test_each_micro_batch_s_figures_come_back_exactly_and_in_their_order():
    given = [
        {"loss": torch.tensor(0.1), "tokens": torch.tensor(2**40 + 1), "host": 3},
        {"extra": 0.25},
        {"loss": torch.tensor([1e-30], requires_grad=True), "host": 0.1},
    ]
    figures = Figures()
    for one in given:
        figures.add(one)
    told = figures.read()
    assert [list(one) for one in told] == [list(one) for one in given]
    assert told == [{name: float(plain(value)) for name, value in one.items()} for one in given]
    assert Figures().read() == []


def test_they_are_read_by_one_transfer(monkeypatch):
    figures = Figures()
    for number in range(5):
        figures.add({"a": torch.tensor(float(number)), "b": torch.tensor(number)})
    asked = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: asked.append(1) or tolist(self))
    assert figures.read()[4] == {"a": 4.0, "b": 4.0}
    assert len(asked) == 1
