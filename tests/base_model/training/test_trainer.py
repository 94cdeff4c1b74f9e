"""One step: micro-batches, balance, dropout, and what a step refuses to take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.base_model.data.shards.packing import Lesson
from munro.base_model.training.sharding import Alone, gathered
from munro.base_model.training.trainer import Trainer, TrainingError, load_weights
from tests.base_model.builders import small_tokenizer
from tests.base_model.tiny_munro import tiny_model
from tests.base_model.trainable import KINDS, corpus, maker, training
from tests.rounding import assert_near, depth, largest, near

TOKENS = 4 * 32
"""Of a batch of `training`."""


def trainer(kind: str = "dense", *, make: Any = None, documents: Any = None, **changes: Any) -> Any:
    made = make or maker(kind, dropout=0.0) if kind == "moe" else maker(kind)
    return Trainer(make or made, documents or corpus(), training(**changes), Alone("cpu"))


def gradients(one: Trainer) -> dict[str, torch.Tensor]:
    """Of the first batch, before any step."""
    rows, _ = one._read()
    one._gradients(rows)
    return {name: weight.grad.clone() for name, weight in one.model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_add_up_to_the_whole_batch(kind):
    # the loads that the balance loss knows are those of the micro-batches so far
    two = [trainer(kind, micro_rows=rows, balance=0.0) for rows in (0, 1)]
    whole, cut = map(gradients, two)
    assert whole.keys() == cut.keys()
    terms = depth(two[0].model, TOKENS, backward=True)
    scale = max(map(largest, whole.values()))
    for name, gradient in whole.items():
        assert_near(cut[name], gradient, terms, scale=scale, name=name)


def test_a_token_weighs_the_same_in_a_full_row_and_in_one_that_is_mostly_padding():
    class Uneven:
        """A row with 20 tokens, and one with 3."""

        def tokens(self, index: int, progress: float) -> Any:
            return list(range(5, 25)) if index % 2 == 0 else [30, 31, 32] + [33] * 0

    class Padded(Uneven):
        def tokens(self, index: int, progress: float) -> Any:
            ids = super().tokens(index, progress)
            return Lesson(
                ids + [40] * (32 - len(ids)), [True] * len(ids) + [False] * (32 - len(ids))
            )

    one = trainer(documents=Padded(), batch_rows=2, micro_rows=1)
    rows, _ = one._read()
    assert [part.num_targets for part in rows.split(1)] == [19, 2]
    taken = one.take_step()
    both = trainer(documents=Padded(), batch_rows=2, micro_rows=2).take_step()
    terms = depth(one.model, 2 * 32, backward=True)
    assert taken.loss == near(both.loss, terms)
    assert taken.grad_norm == near(both.grad_norm, terms)


def test_the_balance_loss_evens_the_load_of_experts():
    def unbalanced() -> Any:
        return tiny_model(sizes={"vocab_size": len(small_tokenizer())}).train()

    def worst(balance: float) -> float:
        one = trainer(
            make=unbalanced, balance=balance, num_steps=40, optimizer={"learning_rate": 0.01}
        )
        figures = [one.take_step().expert_figures()["experts/violation/max"] for _ in range(12)]
        return sum(figures[-4:]) / 4

    assert worst(1.0) < 0.7 * worst(0.0)


def test_selection_biases_move_against_the_load_by_their_rate():
    one = trainer(make=maker("moe", dropout=0.0, router_bias=True), bias_rate=0.25, batch_rows=8)
    taken = one.take_step()
    biases = torch.stack(
        [b for name, b in one.model.named_buffers() if name.endswith("router.bias")]
    )
    load = taken.counts.double()
    expected = 0.25 * (load.mean(-1, keepdim=True) - load).sign()
    assert torch.equal(biases.double(), expected)
    assert (expected != 0).any()


def test_biases_that_the_model_does_not_have_are_asked_for_at_the_start():
    with pytest.raises(TrainingError, match="set router_bias = true in its options"):
        trainer("moe", bias_rate=0.1)


def test_counts_are_those_of_real_tokens_over_all_micro_batches():
    one = trainer("moe", micro_rows=2)
    rows, _ = one._read()
    assert rows.num_tokens < rows.token_ids.size
    taken = one.take_step()
    assert taken.counts.sum(-1).tolist() == [2 * rows.num_tokens] * 3


def test_dropout_differs_from_step_to_step_and_repeats_with_the_seed():
    def losses(seed: int) -> list[float]:
        still = trainer(
            make=maker("moe", dropout=0.5), optimizer={"learning_rate": 1e-12}, seed=seed
        )
        found = []
        for _ in range(2):
            cursor = still.cursor
            found.append(still.take_step().loss)
            still.cursor = cursor
        return found

    first = losses(0)
    assert abs(first[0] - first[1]) > 1e-4
    assert losses(0) == first


def test_recomputed_activations_change_nothing():
    two = [
        trainer(make=maker("moe", dropout=0.0), activation_checkpointing=on) for on in (False, True)
    ]
    plain, recomputed = map(gradients, two)
    terms = depth(two[0].model, TOKENS, backward=True)
    scale = max(map(largest, plain.values()))
    for name, gradient in plain.items():
        assert_near(recomputed[name], gradient, terms, scale=scale, name=name)


@pytest.mark.slow
def test_bfloat16_products_leave_weights_in_float32_and_the_loss_near():
    exact, rough = (trainer("moe", precision=name) for name in ("float32", "bfloat16"))
    losses = [one.take_step().loss for one in (exact, rough)]
    assert {weight.dtype for weight in rough.model.parameters()} == {torch.float32}
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_loss_that_is_not_finite_takes_no_step():
    one = trainer()
    with torch.no_grad():
        one.model.lm_head.weight[0] = float("nan")
    before = gathered(one.model.state_dict(keep_vars=True), copy=True)
    with pytest.raises(
        TrainingError, match=r"optimizer step 1: the loss is nan\. No step was taken"
    ):
        one.take_step()
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, before[name]) or name == "lm_head.weight"


def test_a_batch_with_nothing_to_learn_is_a_sentence():
    class Silent:
        def tokens(self, index: int, progress: float) -> Any:
            return Lesson([5, 6, 7], [False] * 3)

    with pytest.raises(TrainingError, match=r"none of its .* tokens is to be learned"):
        trainer(documents=Silent()).take_step()


class Three:
    """Three ranks, seen from the first."""

    rank, size, data_size, device = 0, 3, 3, torch.device("cpu")


@pytest.mark.parametrize(
    ("changes", "world", "why"),
    [
        ({"batch_rows": 4}, Three(), "batch_rows = 4 does not divide among 3 ranks"),
        ({"batch_rows": 4, "micro_rows": 3}, Alone("cpu"), "micro_rows = 3 does not divide the 4"),
    ],
)
def test_rows_that_do_not_divide_are_refused(changes, world, why):
    with pytest.raises(TrainingError, match=why):
        Trainer(maker("dense"), corpus(), training(**changes), world)


def test_a_checkpoint_of_another_shape_names_the_first_weight_that_differs(tmp_path):
    other = maker("dense")()
    Checkpoint.write(tmp_path / "other", model=other, tokenizer=small_tokenizer())
    with pytest.raises(CheckpointError, match=r"another shape: .* no such weight there and \("):
        load_weights(maker("moe")(), Checkpoint(tmp_path / "other"))


def test_weights_and_moments_go_over_into_a_next_phase(tmp_path):
    one = trainer("moe")
    one.take_step()
    Checkpoint.write(
        tmp_path / "model",
        model=one.model,
        tokenizer=small_tokenizer(),
        state_dict=one.weights(),
        trainer_state=one.state(),
    )
    start = Checkpoint(tmp_path / "model")
    following = Trainer(maker("moe"), corpus(), training(), Alone("cpu"), start=start)
    assert following.step == following.num_tokens == 0
    for (name, ours), theirs in zip(
        following.model.named_parameters(), one.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name
        moments = [
            some._optimizer.state[weight] for some, weight in ((following, ours), (one, theirs))
        ]
        assert torch.equal(moments[0]["exp_avg"], moments[1]["exp_avg"])
        assert moments[0]["step"] == 1


def test_what_is_taken_tells_extremes_of_the_violation_rate():
    taken = trainer("moe").take_step()
    counts = torch.tensor([[4, 4, 4], [1, 2, 9]])
    assert replace(taken, counts=counts).expert_figures() == {
        "experts/violation/max": pytest.approx(9 / 4 - 1),
        "experts/violation/min": pytest.approx(1 / 4 - 1),
        "experts/violation/worst_layer": 1.0,
    }
    assert trainer().take_step().expert_figures() == {}
