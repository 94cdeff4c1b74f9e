"""What a chat template is told beside the conversation reaches it everywhere, or is refused."""

from __future__ import annotations

import pytest

from munro.envs.types import Message
from munro.rewards.serving.template_keys import keys_of, refusal, templates_in
from munro.rollout.config import RolloutConfig
from munro.rollout.render import BadTemplate, renderer, used
from tests.rollout.builders import CHATML, make_tokenizer

THINKS = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
HI = (Message(role="user", content="hi"),)


def test_a_template_is_told_what_the_config_says_in_every_turn():
    tokenizer = make_tokenizer(THINKS)
    render = renderer(tokenizer, "chat", {"enable_thinking": False})
    ids = render.opening(HI)
    assert tokenizer.decode(ids).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    said = [*HI, Message(role="assistant", content="42", is_sampled=True)]
    delta = render.observed(said, [Message(role="user", content="sure?")], last_token=-1)
    assert tokenizer.decode(delta).endswith("assistant\n<think>\n\n</think>\n\n")
    plain = renderer(tokenizer, "chat").opening(HI)
    assert tokenizer.decode(plain).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"thinking": False}, r"template_args\.thinking: .* does not use it; .*enable_thinking"),
        ({"messages": []}, r"template_args\.messages is not yours to give"),
        ({"tokenize": True}, r"template_args\.tokenize is not yours to give"),
    ],
)
def test_what_a_template_does_not_use_is_refused_with_what_it_takes(args, said):
    with pytest.raises(BadTemplate, match=said):
        renderer(make_tokenizer(THINKS), "chat", args)


def test_a_template_that_takes_nothing_says_so():
    with pytest.raises(BadTemplate, match="it takes nothing of the kind"):
        renderer(make_tokenizer(), "chat", {"enable_thinking": False})


def test_a_raw_text_template_is_told_nothing():
    with pytest.raises(ValueError, match=r'rollout\.template is "plain"\. Leave them out'):
        RolloutConfig(template="plain", template_args={"enable_thinking": False})
    assert RolloutConfig(template_args={"enable_thinking": False}).template == "chat"


def test_names_that_a_template_makes_itself_are_not_offered():
    template = (
        "{% if not date is defined %}{% set date = '1 May' %}{% endif %}{{ bos_token }}"
        "{% generation %}{% for m in messages %}{% set text = m.content %}{{ text }}{{ effort }}"
        "{% if loop.first %}{% continue %}{% endif %}{% endfor %}{% endgeneration %}"
    )
    read, meant = keys_of(template)
    assert meant == ("date", "effort")
    assert {"date", "effort"} <= read
    assert not {"messages", "bos_token", "namespace", "loop", "text"} & read


def test_a_template_that_is_none_is_a_sentence():
    said = refusal("k", {"a": 1}, ["{% if %}"], "the template of x")
    assert said.startswith("k: the template of x cannot be read: ")


def test_a_checkpoints_templates_are_found_wherever_they_are_kept(tmp_path):
    assert templates_in(tmp_path) == []
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"chat_template": "one"}')
    assert templates_in(tmp_path) == ["one"]
    config.write_text('{"chat_template": [{"name": "default", "template": "two"}]}')
    assert templates_in(tmp_path) == ["two"]
    (tmp_path / "chat_template.jinja").write_text("three")
    assert templates_in(tmp_path) == ["three"]


def test_only_what_another_template_uses_is_told_to_it():
    args = {"enable_thinking": False}
    assert used(make_tokenizer(THINKS), args) == args
    assert used(make_tokenizer(), args) == used(make_tokenizer(None), args) == {}
