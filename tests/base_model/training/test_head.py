"""Losses from a causal LM's output matrix against the logits that the same model gives out."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import AutoModelForCausalLM

from munro.base_model.data.shards.packing import Cursor, pack
from munro.base_model.training import head as heads
from munro.base_model.training import loss as losses
from munro.base_model.training.rows import rows_on_device
from tests.rl.policy.architectures import CONFIGS
from tests.syncs import Synchronisations

DOCUMENTS = [[5, 6, 7, 8, 9, 10], [9, 10, 11, 12]]
AS_SAID = ["Llama", "Gemma2", "Phi", "GPT-NeoX", "GPT-2", "Cohere", "Granite"]
"""Nothing more; a soft cap; a bias; other names and no layout of Llama's; constants."""


def model_of(name: str):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()


def rows():
    made, _ = pack(DOCUMENTS.__getitem__, Cursor(), rows=1, row_tokens=10, apart=False)
    return rows_on_device(made, torch.device("cpu"))


def with_gradient(model, make):
    """Loss and the gradients of all weights."""
    model.zero_grad()
    nll = make()
    nll.backward()
    return nll.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", [name for name in AS_SAID if name in CONFIGS])
def test_the_loss_is_that_of_the_model_s_own_logits(name, monkeypatch):
    model, read = model_of(name), rows()
    got, grads = with_gradient(model, lambda: losses.summed_loss(model, read, apart=False).nll)
    assert heads._KNOWN[model], "the model was not taken for what it is"
    monkeypatch.setattr(losses, "head_of", lambda _: None)
    expected, theirs = with_gradient(
        model, lambda: losses.summed_loss(model, read, apart=False).nll
    )
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(grads, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_no_logits_of_all_tokens_are_made_and_nothing_waits():
    model, read = model_of("Llama"), rows()
    losses.summed_loss(model, read, apart=True)
    seen = []
    model.register_forward_hook(lambda _, __, output: seen.append(output.logits.numel()))
    with Synchronisations() as found:
        losses.summed_loss(model, read, apart=True).nll.backward()
    assert seen == [1]
    assert found.total == 0, found.counts


def test_a_model_that_does_more_is_asked_for_its_logits_and_said_so(caplog):
    model, read = model_of("Llama"), rows()
    plain = losses.summed_loss(model, read, apart=False).nll
    other = model_of("Llama")
    inner = other.forward

    def doubled(*args, **kwargs):
        output = inner(*args, **kwargs)
        output.logits = output.logits * 2
        return output

    doubled.__signature__ = losses.inspect.signature(inner)
    other.forward = doubled
    with caplog.at_level(logging.WARNING):
        first = losses.summed_loss(other, read, apart=False).nll
        again = losses.summed_loss(other, read, apart=False).nll
    logp = doubled(input_ids=read.token_ids).logits.flatten(0, 1)[read.predicted_at].log_softmax(-1)
    expected = -logp.gather(-1, read.targets[:, None]).sum()
    torch.testing.assert_close(first, expected)
    assert torch.equal(first, again)
    assert not torch.isclose(first, plain)
    assert [record.message[:13] for record in caplog.records] == ["the logits of"]


def test_a_gradient_may_be_added_in_place():
    model, read = model_of("GPT-NeoX"), rows()
    _, expected = with_gradient(model, lambda: losses.summed_loss(model, read, apart=False).nll)
    _, got = with_gradient(
        model, lambda: losses.summed_loss(model, read, apart=False, adds=True).nll
    )
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)
