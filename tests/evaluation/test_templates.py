"""What a server makes of a climb's template and a parted tokenizer is what the climb makes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from munro.envs.types import Message
from munro.evaluation import templates
from munro.evaluation.templates import MARK, TEMPLATES, hostile, made
from munro.rollout.render import BadTemplate, renderer
from munro.rollout.render.forms import form_of
from tests.rollout.builders import make_tokenizer
from tests.rollout.render.test_inert import FAMILIES


def save(folder, **made_of):
    make_tokenizer(**made_of).save_pretrained(folder)
    return folder


def tokens(served, messages, tools=()):
    """As a server makes them: the template's text, encoded by the tokenizer in the folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(served.folder)
    text = tokenizer.apply_chat_template(
        [form_of(message) for message in messages],
        tools=list(tools) or None,
        chat_template=served.template_file.read_text(),
        add_generation_prompt=True,
        tokenize=False,
    )
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    text, special, added = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return save(folder, chat_template=text, special=special, added=added)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_family_has_the_climbs_tokens_even_of_texts_that_look_like_its_marks(
    checkpoint, template
):
    with made(checkpoint, template, {}, {}) as served:
        assert served.live
        assert not served.refuses
        compared = 0
        for messages, tools in (*templates.PLAIN_TEXTS, *hostile(served.live)):
            try:
                ours = served.renderer.opening(messages, tools)
            except BadTemplate:
                continue
            assert tokens(served, messages, tools) == ours
            compared += 1
        assert compared >= 5


TEXTS = st.text(max_size=20) | st.lists(
    st.sampled_from(["<|im_start|>", "<|im_end|>", "<|im_", "end|>", "\n", " ", "a", "中", "'"])
).map("".join)


@pytest.fixture(scope="module", params=TEMPLATES)
def chatml(request, tmp_path_factory):
    folder = save(tmp_path_factory.mktemp("chatml"))
    with made(folder, request.param, {}, {}) as served:
        yield served


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), min_size=1))
def test_any_conversation_has_the_climbs_tokens(chatml, told):
    messages = [Message(role=role, content=text) for role, text in told]
    assert tokens(chatml, messages) == chatml.renderer.opening(messages)


def test_without_the_marks_a_text_would_become_the_end_of_a_turn(tmp_path):
    folder = save(tmp_path)
    asked = [Message(role="user", content="a<|im_end|>b")]
    with made(folder, "chat", {}, {}) as served:
        ours = served.renderer.opening(asked)
        served.template_file.write_text(FAMILIES["chatml"][0])
        assert tokens(served, asked) != ours


def test_a_text_that_holds_the_mark_itself_is_refused_in_words(chatml):
    from jinja2 import TemplateError

    with pytest.raises(TemplateError, match="by which this server parts texts: leave it out"):
        tokens(chatml, [Message(role="user", content=f"a{MARK}b")])


def test_what_the_climb_tells_its_chat_template_is_told(tmp_path):
    text = "{% if thinking %}think{% else %}at once{% endif %}{{ mode }}{{ messages[0].content }}"
    folder = save(tmp_path, chat_template=text, special=())
    args = {"thinking": False, "mode": "it's {{ x }}\n"}
    with made(folder, "chat", args, {}) as served:
        asked = [Message(role="user", content="?")]
        assert tokens(served, asked) == renderer(make_tokenizer(text, ()), "chat", args).opening(
            asked
        )


def test_what_begins_every_text_begins_these_too(tmp_path):
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(special=("<s>",))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.convert_tokens_to_ids("<s>"))]
    )
    tokenizer.save_pretrained(tmp_path)
    for template in ("plain", "r1_zero"):
        with made(tmp_path, template, {}, {}) as served:
            asked = [Message(role="user", content="a<s>")]
            found = tokens(served, asked)
            assert found == served.renderer.opening(asked)
            assert found.count(tokenizer.convert_tokens_to_ids("<s>")) == 1


def test_a_tokenizer_that_cannot_be_parted_refuses_such_texts(tmp_path):
    """One that puts something before every text, so also before every part of one."""
    from jinja2 import TemplateError

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Prepend("_")
    tokenizer.save_pretrained(tmp_path)
    with made(tmp_path, "chat", {}, {}) as served:
        assert served.refuses
        assert "is refused" in served.notes[-1]
        with pytest.raises(TemplateError, match="which this server cannot show as text"):
            tokens(served, [Message(role="user", content="a<|im_end|>")])
        asked = [Message(role="user", content="a")]
        assert tokens(served, asked) == served.renderer.opening(asked)


def test_ends_of_turns_and_sampling_are_told_to_the_server(tmp_path):
    with made(save(tmp_path), "chat", {}, {"temperature": 0.7, "top_p": 0.9}) as served:
        told = json.loads((served.folder / "generation_config.json").read_text())
        assert told["eos_token_id"] == list(served.renderer.stop_token_ids)
        assert (told["temperature"], told["top_p"]) == (0.7, 0.9)
        folder = served.folder
    assert not folder.exists()


def test_a_checkpoint_without_a_chat_template_says_so(tmp_path):
    folder = save(tmp_path, chat_template=None)
    with pytest.raises(BadTemplate, match="has no chat template"), made(folder, "chat", {}, {}):
        pass


def test_of_several_templates_the_one_for_tools_is_told_too(tmp_path):
    plain = "{% for m in messages %}{{ m.content }}|{% endfor %}"
    told = {"default": plain, "tool_use": "{{ tools | tojson }}\n" + plain}
    tokenizer = make_tokenizer()
    tokenizer.chat_template = told
    tokenizer.save_pretrained(tmp_path)
    tool = {"type": "function", "function": {"name": "look", "description": "<|im_end|>"}}
    asked = [Message(role="user", content="a<|im_end|>b")]
    with made(tmp_path, "chat", {}, {}) as served:
        for tools in ((), (tool,)):
            assert tokens(served, asked, tools) == served.renderer.opening(asked, tools)
