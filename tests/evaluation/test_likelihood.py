"""Every byte is predicted once, the same bytes for every tokenizer; the sums come out by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from munro.evaluation.likelihood.config import BadSuite, read_suite
from munro.evaluation.likelihood.score import (
    Figure,
    Windows,
    as_json,
    evaluation_of,
    lessons_of,
    reference_for,
    score,
    table,
    windows_of,
)
from munro.evaluation.likelihood.windows import Window, ending, growing, parted, pieces, windows
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import maker
from tests.rollout.builders import make_tokenizer

TEXT = "The sum of two numbers is a number.\n\n  def add(a, b):\n    return a + b\n" * 6
STRANGE = "naïve café — ½ 中文 🏔\t\r\n"


def uniform(size, most=4096):
    """A model that gives every token the same chance."""
    config = LlamaConfig(
        vocab_size=size, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=most, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    return model


def suite(folder, text, **files):
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    file = folder / "suite.toml"
    file.write_text(text)
    return read_suite(file)


@given(st.text(max_size=200) | st.just(TEXT + STRANGE), st.integers(16, 64), st.integers(0, 40))
def test_the_targets_of_a_text_make_it_up_again(text, window_bytes, context_bytes):
    found = list(windows(text, window_bytes=window_bytes, context_bytes=context_bytes))
    assert "".join(window.target for window in found) == text
    assert sum(window.num_bytes for window in found) == len(text.encode())
    assert all(0 < window.num_bytes <= window_bytes for window in found)
    assert all(len(window.context.encode()) <= context_bytes for window in found)
    at = 0
    for window in found:
        assert text[:at].endswith(window.context)
        at += len(window.target)


def test_a_text_is_parted_where_words_end():
    assert list(pieces("one two three four", 10)) == ["one two", " three", " four"]
    assert list(pieces("onetwothreefour", 10)) == ["onetwothre", "efour"]
    assert "".join(pieces("🏔" * 5, 16)) == "🏔" * 5


@pytest.fixture
def code(tmp_path):
    config = suite(
        tmp_path,
        '[[sets]]\nname = "code/a"\ncategory = "code"\nfiles = "a.py"\nwindow_bytes = 64\n'
        "context_bytes = 32\n",
        a_py=TEXT + STRANGE,
    )
    return config, tmp_path


def test_two_tokenizers_are_asked_for_the_same_bytes(code):
    config, folder = code
    found = []
    for tokenizer in (make_tokenizer(), small_tokenizer()):
        of = windows_of(config, folder, tokenizer)
        found.append(score(uniform(len(tokenizer)), tokenizer, of)[0])
    one, other = found
    assert one.num_bytes == other.num_bytes == len((TEXT + STRANGE).encode())
    assert one.num_windows == other.num_windows
    assert one.num_tokens == one.num_bytes  # a token a byte
    assert other.num_tokens < one.num_tokens


def test_a_uniform_model_takes_log2_of_its_vocabulary_a_token(code):
    config, folder = code
    tokenizer = make_tokenizer()
    (found,) = score(uniform(1024), tokenizer, windows_of(config, folder, tokenizer))
    assert found.nll == pytest.approx(math.log(1024), rel=1e-6)
    assert found.bits_per_byte == pytest.approx(10, rel=1e-6)


def test_nats_are_those_of_each_window_alone_and_its_context_is_not_scored():
    torch.manual_seed(0)
    model, tokenizer = maker("dense")(), small_tokenizer()
    windows_ = (
        Window(target="a number."),
        Window(target=" is a number", context="The sum of two"),
        Window(target="+ b", context="a"),
    )
    one = Windows(name="x", category="code", context_bytes=16, windows=windows_)
    (found,) = score(model, tokenizer, [one])
    nll = num_tokens = 0
    for window in windows_:
        before = tokenizer.encode(window.context, add_special_tokens=False)
        target = tokenizer.encode(window.target, add_special_tokens=False)
        ids = torch.tensor([[tokenizer.bos_token_id, *before, *target]])
        with torch.no_grad():
            logp_TV = model(input_ids=ids).logits[0].log_softmax(-1)
        first = 1 + len(before)
        nll -= sum(float(logp_TV[first - 1 + n, token]) for n, token in enumerate(target))
        num_tokens += len(target)
    assert found.num_tokens == num_tokens
    assert found.nll == pytest.approx(nll / num_tokens, rel=1e-4)
    num_bytes = sum(len(window.target) for window in windows_)
    assert found.bits_per_byte == pytest.approx(nll / num_bytes / math.log(2), rel=1e-4)


def test_of_an_answer_nothing_but_the_answer_is_scored(tmp_path):
    rows = [{"question": "2 + 2?", "answer": " 4"}, {"prompt": "Why?", "response": "So."}]
    config = suite(
        tmp_path,
        '[[sets]]\nname = "qa"\nkind = "answers"\nfiles = "*.jsonl"\n'
        '[[sets]]\nname = "asked"\nkind = "answers"\nfiles = "*.jsonl"\ntemplate = "chat"\n',
        a_jsonl="".join(json.dumps(row) + "\n" for row in rows),
    )
    tokenizer = make_tokenizer()
    plain, asked = windows_of(config, tmp_path, tokenizer)
    assert [window.num_bytes for window in plain.windows] == [2, 3]
    (lesson, _) = lessons_of(plain, tokenizer)
    assert tokenizer.decode(lesson.token_ids[1:]) == "2 + 2? 4"
    assert lesson.learned == [False] * 7 + [True] * 2
    (lesson, _) = lessons_of(asked, tokenizer)
    assert tokenizer.decode(lesson.token_ids).startswith("<|im_start|>user\n2 + 2?<|im_end|>\n")
    assert sum(lesson.learned) == 2


def test_at_every_context_the_same_end_is_predicted():
    found = growing("x" * 50 + "y" * 20, scored_bytes=20, contexts=(0, 10, 50, 51))
    assert {size: window.context for size, window in found.items()} == {
        0: "",
        10: "x" * 10,
        50: "x" * 50,
    }
    assert {window.target for window in found.values()} == {"y" * 20}


def test_a_document_is_parted_by_something_else():
    found = parted("a" * 20 + "b" * 30, "z" * 15, document_bytes=40, distances=(0, 15, 16))
    assert found == {
        0: Window(target="b" * 20, context="a" * 20),
        15: Window(target="b" * 20, context="a" * 20 + "z" * 15),
    }
    assert parted("short", "z", document_bytes=40, distances=(0,)) == {}


def test_contexts_are_figures_of_their_own_over_the_same_texts(tmp_path):
    config = suite(
        tmp_path,
        '[[sets]]\nname = "l"\nkind = "long"\nfiles = "*.txt"\nwindow_bytes = 16\n'
        "contexts = [0, 32]\n"
        '[[sets]]\nname = "r"\nkind = "retrieval"\nfiles = "*.txt"\ndocument_bytes = 32\n'
        "contexts = [0, 20]\n",
        a_txt="a" * 60,
        b_txt="b" * 60,
        c_txt="c" * 20,
    )
    found = windows_of(config, tmp_path, make_tokenizer())
    assert [(one.name, len(one.windows)) for one in found] == [
        ("l@0", 2), ("l@32", 2), ("r@0", 2), ("r@20", 2),
    ]  # fmt: skip
    assert {len(one.windows[0].context) for one in found if one.name == "r@20"} == {36}


def figure(name, category, nll, num_tokens=100, num_bytes=400):
    bits = nll * num_tokens / num_bytes / math.log(2)
    return Figure(
        name=name, category=category, nll=nll, bits_per_byte=bits, num_tokens=num_tokens,
        num_bytes=num_bytes, context_bytes=0, num_windows=1,
    )  # fmt: skip


FIGURES = [
    figure("code/a", "code", 1.0),
    figure("code/b", "code", 3.0),
    figure("math/a", "math", 2.0),
    figure("long@0", None, 9.0),
]


def test_equation_3_by_hand(tmp_path):
    file = tmp_path / "evaluation.json"
    half = [figure(one.name, one.category, one.nll / 2) for one in FIGURES]
    file.write_text(as_json([half[0], figure("code/b", "code", 1.0), half[2]]))
    reference = reference_for(file, FIGURES)
    # code: (1/0.5 + 3/1) / 2 = 2.5 at 0.5; math: 2/1 = 2 at 0.175; the weights add up to 0.675
    want = (0.5 * 2.5 + 0.175 * 2) / 0.675
    assert evaluation_of(FIGURES).target(reference) == pytest.approx(want)
    assert f"{want:.4f} of the reference's" in table(FIGURES, reference)
    assert "9.0000" in table(FIGURES, None)


def test_a_reference_with_another_tokenizer_is_compared_by_its_bytes(tmp_path):
    file = tmp_path / "evaluation.json"
    # twice the tokens at half the nats each: exactly as good
    file.write_text(as_json([figure("code/a", "code", 0.5, num_tokens=200)]))
    ours = [FIGURES[0]]
    assert evaluation_of(ours).target(reference_for(file, ours)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"name": "code/a", "nll": 1.0, "bits_per_byte": 1.0, "num_bytes": 7}], "same text"),
        ([{"name": "x", "bits_per_byte": 1.0}], "has no set 'code/a'; it knows x"),
        ([{"name": "code/a", "nll": 1.0}], "bits_per_byte of 'code/a' are None"),
        ({"a": 1}, "is no reference"),
    ],
)
def test_a_reference_that_is_none_is_one_sentence(tmp_path, rows, said):
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(rows))
    with pytest.raises(BadSuite, match=said):
        reference_for(file, [FIGURES[0]])


SET = '[[sets]]\nname = "a"\nfiles = "a.txt"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[sets", "is no TOML"),
        ("", "sets: Field required"),
        (SET + "windows = 3\n", "sets.0.windows: Extra inputs are not permitted"),
        (SET + SET, "two sets are named 'a'"),
        (SET + "contexts = [5, 5]\n", "give sizes in bytes, each once"),
        (SET + 'template = "chat"\n', "goes with kind = 'answers'"),
        (SET + 'category = "poetry"\n', "sets.0.category"),
    ],
)
def test_a_suite_that_is_wrong_is_one_sentence(tmp_path, text, said):
    with pytest.raises(BadSuite, match=said) as caught:
        suite(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "files", "said"),
    [
        ("text", {}, "there is no file"),
        ("text", {"a_txt": ""}, "holds no text"),
        ("answers", {"a_txt": "x"}, "answers come from .jsonl files"),
        ("long", {"a_txt": "x" * 99}, "no text is long enough for long at 2048 bytes"),
        ("retrieval", {"a_txt": "x" * 99}, "no text is long enough for retrieval"),
    ],
)
def test_a_set_without_anything_to_predict_is_one_sentence(tmp_path, kind, files, said):
    config = suite(tmp_path, SET + f'kind = "{kind}"\n', **files)
    with pytest.raises(BadSuite, match=said):
        windows_of(config, tmp_path, make_tokenizer())


def test_a_row_without_its_text_is_named_by_number(tmp_path):
    config = suite(
        tmp_path,
        '[[sets]]\nname = "a"\nfiles = "a.jsonl"\n',
        a_jsonl='{"text": "x"}\n\n{"txt": "y"}\n',
    )
    with pytest.raises(BadSuite, match=r"a.jsonl, line 3 has no text under 'text'"):
        windows_of(config, tmp_path, make_tokenizer())


def test_a_window_that_the_model_cannot_read_says_what_to_lower(code):
    config, folder = code
    tokenizer = make_tokenizer()
    with pytest.raises(BadSuite, match="the model reads 64: lower its window_bytes"):
        score(uniform(300, most=64), tokenizer, windows_of(config, folder, tokenizer))


def test_a_tokenizer_that_cannot_write_a_text_is_refused_its_likelihood():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(vocab={"<unk>": 0, "a": 1, "<s>": 2}, merges=[], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>")
    one = Windows(
        name="x", category=None, context_bytes=0, windows=(Window(target="aé"),), prompts=()
    )
    with pytest.raises(BadSuite, match=r"cannot write \['é'\], which set 'x' holds"):
        lessons_of(one, tokenizer)


def test_the_end_of_a_text_is_whole_characters():
    assert ending("aé中", 4) == "中"
    assert ending("aé中", 5) == "é中"
    assert ending("abc", 0) == ""
