"""Nothing is unknown, digits stand alone, and a prompt's tokens do not depend on its reply."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from munro.base_model.model.tokenizer import EOS
from munro.base_model.small.corpus import prompt, worked
from tests.base_model.builders import small_tokenizer


@given(st.text())
def test_any_text_survives_the_round_trip(text: str):
    tokenizer = small_tokenizer()
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    if not any(special in text for special in tokenizer.all_special_tokens):
        assert tokenizer.decode(ids) == text


@given(st.integers(0, 10**12))
def test_every_digit_is_a_token_of_its_own(number: int):
    assert small_tokenizer().tokenize(str(number)) == list(str(number))


@given(st.lists(st.integers(100, 999), min_size=2, max_size=2))
def test_the_tokens_of_a_prompt_do_not_depend_on_the_reply(numbers: list[int]):
    tokenizer = small_tokenizer()
    asked = tokenizer(prompt(numbers))["input_ids"]
    for reply in (str(sum(numbers)), worked(numbers)):
        assert tokenizer(prompt(numbers) + reply)["input_ids"][: len(asked)] == asked


def test_nothing_is_added_to_a_text_by_itself():
    tokenizer = small_tokenizer()
    assert tokenizer("1")["input_ids"] == tokenizer("1", add_special_tokens=False)["input_ids"]
    assert len(tokenizer("1")["input_ids"]) == 1


def test_the_chat_template_writes_what_the_base_was_taught():
    messages = [{"role": "user", "content": "What is 347 + 285?"}]
    rendered = small_tokenizer().apply_chat_template(messages, tokenize=False)
    assert rendered == prompt([347, 285])


def test_a_saved_tokenizer_loads_the_same_from_transformers(tmp_path):
    tokenizer = small_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = prompt([347, 285]) + worked([347, 285]) + EOS
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.eos_token_id == tokenizer.eos_token_id == loaded(text)["input_ids"][-1]
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded.chat_template == tokenizer.chat_template
