"""A chat template shows all of a conversation, or the run says so; every end token ends a turn."""

from __future__ import annotations

import json

import pytest

from munro.envs.types import Message
from munro.rollout.calls import reader_of
from munro.rollout.render import BadTemplate, renderer
from tests.rollout.builders import CHATML, make_tokenizer

# what Qwen2.5, Phi-3 and others do with roles that they do not know
THREE_ROLES = CHATML.replace(
    "{% for m in messages %}",
    "{% for m in messages if m.role in ('system', 'user', 'assistant') %}",
)
PARTS = CHATML.replace(
    "{{ m.content | trim }}",
    "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}",
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + CHATML
)
UNDEFINED = CHATML.replace("{{ m.content | trim }}", "{{ m.content | trim }}{{ m.name.first }}")
THOUGHTLESS = CHATML.replace("m.content | trim", "m.content.split('</think>')[-1] | trim")
OPENS = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
BRIEF = Message(role="developer", content="Be brief.")
HI = Message(role="user", content="hi")
ADD = {"type": "function", "function": {"name": "add", "parameters": {}}}


@pytest.mark.parametrize(
    ("template", "opening", "dropped"),
    [
        (THREE_ROLES, (BRIEF, HI), "a message of role 'developer'"),
        (PARTS, (HI,), "a message of role 'user'"),
        (THREE_ROLES, (HI, Message(role="tool", content="7")), "a message of role 'tool'"),
    ],
    ids=["developer", "parts", "tool"],
)
def test_what_a_template_drops_is_named(template, opening, dropped):
    render = renderer(make_tokenizer(template), "chat")
    with pytest.raises(BadTemplate, match=f"does not show {dropped}: the model would never see"):
        render.opening(opening)


def test_an_observation_that_a_template_drops_is_named():
    render = renderer(make_tokenizer(THREE_ROLES), "chat")
    said = [HI, Message(role="assistant", content="add(1, 2)", is_sampled=True)]
    assert render.observed(said, [Message(role="user", content="3")], last_token=0)
    with pytest.raises(BadTemplate, match="a message of role 'tool'"):
        render.observed(said, [Message(role="tool", content="3")], last_token=0)


def test_a_text_that_stands_elsewhere_too_is_missed_all_the_same():
    render = renderer(make_tokenizer(THREE_ROLES), "chat")
    with pytest.raises(BadTemplate, match="'developer'"):
        render.opening([Message(role="developer", content="hi"), HI])


def test_what_a_template_does_to_a_text_is_not_dropping_it():
    render = renderer(make_tokenizer(THOUGHTLESS), "chat")
    thought = Message(role="assistant", content="<think>hm</think>  hello  ")
    assert render.opening([HI, thought, HI])
    assert render.opening([Message(role="system", content=" "), HI])


def test_tools_that_nothing_names_are_refused():
    render = renderer(make_tokenizer(), "chat")
    with pytest.raises(BadTemplate, match=r"does not show the tools .* does not name add"):
        render.opening([HI], [ADD])
    assert render.opening([Message(role="user", content="You may call add.")], [ADD])


@pytest.mark.parametrize(
    ("template", "said"),
    [(NO_SYSTEM, "System role not supported"), (UNDEFINED, "has no attribute 'name'")],
    ids=["refuses", "undefined"],
)
def test_a_templates_own_refusal_is_one_sentence(template, said):
    render = renderer(make_tokenizer(template), "chat")
    with pytest.raises(
        BadTemplate, match=rf"refuses the conversation \(roles: system, user\).*{said}"
    ):
        render.opening([Message(role="system", content="Be brief."), HI])


def saved(folder, ends, template=CHATML, **fields):
    from transformers import AutoTokenizer

    fields = {"special": ("<|im_start|>", "<|im_end|>", "<|eom_id|>", "<|user|>")} | fields
    make_tokenizer(template, **fields).save_pretrained(folder)
    if ends is not None:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return AutoTokenizer.from_pretrained(folder)


def test_every_end_that_generation_config_names_ends_a_turn(tmp_path):
    known = saved(tmp_path, None)
    eom, user, end = map(known.convert_tokens_to_ids, ("<|eom_id|>", "<|user|>", "<|im_end|>"))
    eos = known.eos_token_id
    tokenizer = saved(tmp_path, [eom, user, eos])
    # the template's own end stays last: it is what closes a turn that is told anew
    assert renderer(tokenizer, "chat").stop_token_ids == (eom, user, eos, end)
    assert renderer(tokenizer, "plain").stop_token_ids == (eom, user, eos)
    assert renderer(saved(tmp_path, user), "chat").stop_token_ids == (user, eos, end)
    assert renderer(saved(tmp_path, None), "plain").stop_token_ids == (user, eos)


def test_a_generation_config_that_is_no_json_is_named(tmp_path):
    tokenizer = saved(tmp_path, [1])
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(BadTemplate, match=r"generation_config\.json cannot be read"):
        renderer(tokenizer, "chat")


@pytest.mark.parametrize(
    ("template", "kind", "opened"),
    [
        (OPENS, "chat", True),
        (CHATML, "chat", False),
        (None, "r1_zero", True),
        (None, "plain", False),
    ],
)
def test_a_thought_that_the_template_opened_stands_in_the_turns_text(template, kind, opened):
    tokenizer = make_tokenizer(template)
    render = renderer(tokenizer, kind)
    ids = tokenizer.encode("7, so\n</think>42")
    said = render.said(ids, render.opening([HI]))
    assert said == ("<think>" if opened else "") + "7, so\n</think>42"


def test_a_template_that_opens_thoughts_may_go_on_for_several_turns():
    tokenizer = make_tokenizer(OPENS)
    render = renderer(tokenizer, "chat")
    said = [HI, Message(role="assistant", content="<think>a</think>b", is_sampled=True)]
    delta = render.observed(said, [Message(role="user", content="more")], last_token=0)
    assert tokenizer.decode(delta) == (
        "<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )


# as Mistral's: users and assistants alternate, but for assistants that call tools
ALTERNATING = (
    "{% set turns = namespace(n=0) %}{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}"
    "{% if (m.role == 'user') != (turns.n % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% set turns.n = turns.n + 1 %}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'tool' %}{% if m.tool_call_id | length != 9 %}"
    "{{ raise_exception('ids have nine letters') }}{% endif %}"
    "[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.tool_calls %}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function | tojson }}"
    "{% endfor %}</s>{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)


def test_a_template_that_wants_to_know_who_called_tools_is_told():
    special = ("[INST]", "[/INST]", "</s>", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
    tokenizer = make_tokenizer(ALTERNATING, special)
    render = renderer(tokenizer, "chat")
    end = tokenizer.convert_tokens_to_ids("</s>")
    assert render.stop_token_ids[-1] == end
    reader, said = reader_of("mistral"), [HI]
    for turn, text in enumerate(['[TOOL_CALLS] [{"name": "add"}]', "[TOOL_CALLS] add?"]):
        calls = reader.read(text, turn=turn)
        said.append(
            Message(role="assistant", content=text, tool_calls=calls, is_sampled=True),
        )
        seen = Message(role="tool", content=f"answer {turn}", tool_call_id=calls[0].id)
        delta = render.observed(said, [seen], last_token=end)
        assert tokenizer.decode(delta) == f"[TOOL_RESULTS]answer {turn}[/TOOL_RESULTS]"
        said.append(seen)
