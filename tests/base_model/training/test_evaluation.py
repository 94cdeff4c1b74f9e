"""Held-out text is scored by what the model gives it, in nats, bits, categories and one target."""

from __future__ import annotations

import json
import math

import pytest
import torch

from munro.base_model.data.shards.held_out import BadEvaluation, HeldOutSet
from munro.base_model.training.evaluation import (
    Evaluation,
    SetScore,
    evaluate,
    read_reference,
)
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import maker
from tests.rounding import depth, near

LONG = "The sum of two numbers is a number. " * 8
TEXTS = ["What is 3 + 4?\n7", "naïve café — ½", LONG]


def held_out(**changes) -> HeldOutSet:
    tokenizer = small_tokenizer()
    return HeldOutSet.of("prose", "general", TEXTS, tokenizer, **{"row_tokens": 24, **changes})


def score(name: str, category: str, nll: float) -> SetScore:
    return SetScore(name=name, category=category, nll=nll, bits_per_byte=1.0, num_tokens=9)


def test_the_score_is_what_each_piece_alone_would_get():
    torch.manual_seed(0)
    model, tokenizer = maker("dense")(), small_tokenizer()
    nll = num_tokens = num_bytes = 0
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), 24):
            piece = torch.tensor([ids[start : start + 24]])
            logp_TV = model(input_ids=piece).logits[0].log_softmax(-1)
            nll -= sum(logp_TV[t, piece[0, t + 1]].item() for t in range(piece.shape[1] - 1))
            num_tokens += piece.shape[1] - 1
            num_bytes += len(tokenizer.decode(piece[0, 1:]).encode())
    (found,) = evaluate(model, [held_out()], micro_rows=2).scores
    assert found.num_tokens == num_tokens
    assert found.nll == near(nll / num_tokens, depth(model, 24) + num_tokens)
    # a letter cut in two by pieces counts towards neither
    assert found.bits_per_byte == pytest.approx(nll / num_bytes / math.log(2), rel=0.02)


def test_bytes_are_counted_exactly_where_pieces_end_with_letters():
    texts = ["ab", "sums are numbers"]
    ids = [small_tokenizer()(text, add_special_tokens=False)["input_ids"] for text in texts]
    firsts = sum(len(small_tokenizer().decode(some[:1])) for some in ids)
    one = HeldOutSet.of("x", "code", texts, small_tokenizer(), row_tokens=64)
    assert one.num_bytes == sum(map(len, texts)) - firsts


def test_a_uniform_model_needs_log2_of_the_vocabulary_for_every_token():
    model = maker("dense")()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    (found,) = evaluate(model, [held_out()]).scores
    size = len(small_tokenizer())
    assert found.nll == near(math.log(size), size + found.num_tokens)


def test_scoring_changes_neither_random_state_nor_training_mode_nor_the_score_by_dropout():
    model = maker("moe", dropout=0.5)().train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again = (evaluate(model, [held_out()]) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert first == again


def test_enough_tokens_end_the_reading():
    assert held_out(max_tokens=10).rows.num_tokens < held_out().rows.num_tokens


def test_the_target_weighs_the_five_categories_as_the_report_does():
    found = Evaluation(
        (
            score("a", "code", 1.0),
            score("b", "code", 3.0),
            score("c", "stem", 4.0),
            score("d", "math", 6.0),
            score("e", "general", 8.0),
            score("f", "multilingual", 10.0),
        )
    )
    assert found.by_category()["code"] == 2.0
    expected = 0.5 * 2 + 0.175 * 4 + 0.175 * 6 + 0.1 * 8 + 0.05 * 10
    assert found.target() == pytest.approx(expected)


def test_sets_are_divided_by_the_reference_before_they_are_averaged():
    found = Evaluation((score("a", "code", 1.0), score("b", "code", 3.0)))
    assert found.target({"a": 2.0, "b": 2.0, "other": 1.0}) == pytest.approx((0.5 + 1.5) / 2)


def test_weights_of_the_categories_that_are_there_add_up_to_one():
    found = Evaluation((score("a", "code", 2.0), score("b", "general", 5.0)))
    assert found.target() == pytest.approx((0.5 * 2 + 0.1 * 5) / 0.6)


def test_a_set_that_the_reference_does_not_know_is_named():
    with pytest.raises(BadEvaluation, match="no NLL of held-out set 'a'; it knows b"):
        Evaluation((score("a", "code", 2.0),)).target({"b": 1.0})


def test_an_evaluation_is_read_back_as_a_reference(tmp_path):
    file = tmp_path / "evaluation.json"
    file.write_text(Evaluation((score("a", "code", 2.0),)).to_json())
    assert read_reference(file) == {"a": 2.0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is no reference"),
        (json.dumps([{"name": "a"}]), "is no reference"),
        (json.dumps([{"name": "a", "nll": 0}]), "the NLL of 'a' is 0"),
    ],
)
def test_what_is_no_reference_is_refused_in_a_sentence(tmp_path, text, why):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(BadEvaluation, match=why):
        read_reference(tmp_path / "evaluation.json")
    with pytest.raises(BadEvaluation, match=r"cannot read the reference .*: No such file"):
        read_reference(tmp_path / "missing.json")


def test_texts_without_anything_to_predict_are_refused():
    with pytest.raises(BadEvaluation, match="'x' holds no text of two tokens or more"):
        HeldOutSet.of("x", "code", ["", "a"], small_tokenizer(), row_tokens=8)
