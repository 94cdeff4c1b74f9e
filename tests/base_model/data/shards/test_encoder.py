"""Tokenizers load from wherever they lie, and o200k_base is the published one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from munro.base_model.data.errors import DataError
from munro.base_model.data.shards.encoder import load_tokenizer, train
from munro.base_model.data.shards.files import fingerprint
from tests.base_model.builders import small_tokenizer
from tests.base_model.data.texts import prose


def test_a_folder_and_its_file_give_the_same_tokenizer(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    text = f"{prose(0)} 東京 12"
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load_tokenizer(str(path))
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert fingerprint(loaded) == fingerprint(tokenizer)


def test_another_vocabulary_or_other_rules_have_another_fingerprint(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    other = train([prose(1)] * 3, vocab_size=300)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    lower = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert len({fingerprint(one) for one in (tokenizer, other, lower)}) == 3


@pytest.mark.parametrize("content", ["", "{}", '{"version": "1.0", "model": {"type": "?"}}'])
def test_a_broken_tokenizer_file_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match="cannot load a tokenizer from"):
        load_tokenizer(str(tmp_path / "tokenizer.json"))


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o200k_base.tiktoken").write_text("IQ== 0\n")
    with pytest.raises(DataError, match="not the published o200k_base file"):
        load_tokenizer(str(tmp_path / "o200k_base.tiktoken"))
    with pytest.raises(DataError, match="there is no tokenizer file"):
        load_tokenizer(str(tmp_path / "none.tiktoken"))


@pytest.mark.slow
def test_o200k_gives_the_published_ids() -> None:
    reference = pytest.importorskip("bpe_openai").get_encoding("o200k_base")
    tokenizer = load_tokenizer("o200k_base")
    assert tokenizer("hello world")["input_ids"] == [24912, 2375]
    assert (len(tokenizer), tokenizer.eos_token_id) == (200_000, 199_999)
    for text in (
        Path(__file__).read_text(),
        prose(0),
        "Grüße, 東京都! I'LL १२३ 👩‍👩‍👧\r\n\t x  \n\n",
    ):
        assert tokenizer(text)["input_ids"] == reference.encode(text)
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
