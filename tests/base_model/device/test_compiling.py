"""Layers are compiled where that can be done, once for all; where it cannot, a sentence says so."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

from munro.base_model.device.compiling import CannotCompile, compile_layers
from munro.base_model.device.working import gradients_aside, working_copy

CPU = torch.device("cpu")


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x).sin()


class Model(nn.Module):
    _no_split_modules = ("Layer",)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.fixture
def graphs(monkeypatch):
    """What is compiled, recorded and left as it is: the compiler itself takes a minute."""
    seen: list[torch.fx.GraphModule] = []
    compile_ = nn.Module.compile

    def record(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        seen.append(graph)
        return graph

    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **how: compile_(self, backend=record, **how)
    )
    torch._dynamo.reset()
    yield seen
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_one_graph_serves_all_layers_and_rows_of_any_length_in_every_step(graphs):
    model, plain = Model(), Model()
    plain.load_state_dict(model.state_dict())
    assert compile_layers(model, "on", CPU) == ""
    for rows in (3, 5, 11):
        x = torch.randn(2, rows, 8)
        for each in (model, plain):
            with working_copy(each, torch.bfloat16):
                with gradients_aside(each):
                    out = each(x.bfloat16().requires_grad_())
                out.float().square().sum().backward()
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)
    assert len(graphs) == 1


def test_a_cpu_and_off_compile_nothing(graphs):
    for choice in ("auto", "off"):
        model = Model()
        assert compile_layers(model, choice, CPU) == ""
        model(torch.randn(2, 3, 8))
    assert graphs == []


def test_where_there_is_no_compiler_it_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    card = torch.device("cuda")
    assert "not compiled, which is slower: there is no C compiler" in compile_layers(
        Model(), "auto", card
    )
    with pytest.raises(CannotCompile, match="cannot be compiled: there is no C compiler"):
        compile_layers(Model(), "on", CPU)
