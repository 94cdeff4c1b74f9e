"""A ladder's text: split once and for all, nothing held out is trained on."""

from __future__ import annotations

import ast
import itertools

import numpy as np
import pytest

from munro.base_model.data.errors import DataError
from munro.base_model.data.read.plain_texts import TEXTS, taken_apart, worked_product, worked_sum
from munro.base_model.data.shards.texts import Part, prepare
from munro.base_model.data.texts_config import LadderData
from tests.base_model.tiny_ladder import sources, write_texts


class Numbered:
    """Documents that say which they are."""

    name = "numbered"
    num_documents = 103
    num_tokens = 103 * 3

    def document(self, number):
        if not 0 <= number < self.num_documents:
            raise IndexError(number)
        return np.full(3, number), None


def numbers(part: Part) -> list[int]:
    return [int(part.document(number)[0][0]) for number in range(part.num_documents)]


@pytest.mark.parametrize("every", [2, 3, 10, 103, 500])
def test_what_is_held_out_and_what_is_not_are_everything_and_share_nothing(every):
    held = numbers(Part(Numbered(), every=every, held_out=True))
    rest = numbers(Part(Numbered(), every=every, held_out=False))
    assert sorted(held + rest) == list(range(103))
    assert len(held) == -(-103 // every)


def test_a_part_that_is_kept_is_the_beginning_of_the_whole_and_counts_its_tokens():
    whole = numbers(Part(Numbered(), every=10, held_out=False))
    some = Part(Numbered(), every=10, held_out=False, kept=0.3)
    assert numbers(some) == whole[: some.num_documents]
    assert some.num_documents == 28
    assert some.num_tokens == 3 * 28


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    write_texts(folder / "texts")
    config = LadderData.model_validate(
        {"vocab_size": 300, "held_out_every": 5, "sources": sources(str(folder / "texts"))}
    )
    return config, folder, prepare(config, folder / "data")


def test_text_is_prepared_once(prepared):
    config, folder, text = prepared
    said: list[str] = []
    assert prepare(config, folder / "data", note=said.append) == text
    assert said == []


def test_weights_do_not_change_the_text_and_another_vocabulary_does(prepared):
    config, folder, text = prepared
    heavier = config.model_copy(
        update={"sources": tuple(one.model_copy(update={"weight": 9.0}) for one in config.sources)}
    )
    assert prepare(heavier, folder / "data").key == text.key
    other = prepare(config.model_copy(update={"vocab_size": 310}), folder / "data")
    assert other.key != text.key
    assert other.folder != text.folder


def test_no_held_out_document_is_read_in_a_training(prepared):
    config, _, text = prepared
    tokenizer = text.tokenizer()
    mixture = text.mixture(config.weights, kept={}, seed=0)
    read = {tuple(int(one) for one in mixture.tokens(index, 0.0)) for index in range(200)}
    held = {
        tuple(int(one) for one in part.document(number)[0])
        for part in (text.part(name, held_out=True) for name in config.names)
        for number in range(part.num_documents)
    }
    assert len(read) == sum(text.part(name, held_out=False).num_documents for name in config.names)
    assert len(held) == 16
    assert read & held == set()
    assert {one.name for one in text.held_out(tokenizer, 32)} == {"one", "two"}


def test_a_source_that_is_not_there_is_a_sentence(tmp_path):
    config = LadderData.model_validate({"vocab_size": 300, "sources": sources(str(tmp_path))})
    with pytest.raises(DataError, match="there is no file or folder"):
        prepare(config, tmp_path / "data")


def test_sums_and_products_are_worked_as_their_examples_say():
    assert worked_sum(347, 85) == "347 + 85: 7+5=12 4+8+1=13 3+0+1=4 -> 432"
    assert worked_product(47, 6) == "47 x 6: 7*6=42 4*6+4=28 -> 282"


def test_worked_documents_are_the_same_every_time_and_all_differ():
    first, again = (list(itertools.islice(TEXTS["worked:arithmetic"](), 20)) for _ in range(2))
    assert first == again
    assert len({*first}) == 20


def test_code_and_its_docstrings_are_told_apart():
    source = '"""About."""\n\n\ndef double(x):\n    """Twice."""\n    return 2 * x\n'
    code, documentation = taken_apart(source, ast.parse(source))
    assert code == "\n\ndef double(x):\n    return 2 * x\n"
    assert documentation == "About.\n\nTwice."
