"""Forty conversations with thoughts and tools in each family's own template, token for token."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from munro.envs.types import Message
from munro.rollout.calls import FAMILIES as READ
from munro.rollout.calls import reader_of
from munro.rollout.render import renderer
from tests.rollout.families import (
    FAMILIES,
    TOOLS,
    conversations,
    plain,
    template_of,
    tokenizer_of,
)


def made(family, folder):
    """The family's tokenizer and reference, as a checkpoint's folder would give them."""
    tokenizer = tokenizer_of(family, template_of(family))
    ends = [tokenizer.convert_tokens_to_ids(FAMILIES[family].end)]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    tokenizer.name_or_path = str(folder)

    def reference(messages, start=True, tokenize=True):
        return tokenizer.apply_chat_template(
            [plain(message, family) for message in messages],
            tools=[dict(tool) for tool in TOOLS],
            add_generation_prompt=start,
            tokenize=tokenize,
            return_dict=False,
        )

    return tokenizer, reference


def wrote(said, at, reference, end, eos):
    """What the policy wrote to be shown like this by the template, without what ended it."""
    before = reference(said[:at], tokenize=False)
    through = reference(said[: at + 1], start=False, tokenize=False)
    assert through.startswith(before)
    turn = through[len(before) :]
    # some end the last turn of all by another token
    for ends in (end, eos):
        turn = turn.rpartition(ends)[0] if ends in turn else turn
    return turn


def test_every_family_of_calls_has_its_template():
    assert sorted(FAMILIES) == READ.names()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_template_says_which_family_it_is(family):
    reader = reader_of("auto", tokenizer_of(family, template_of(family)))
    assert type(reader.family) is READ.find(family)
    assert reader.is_sure


@pytest.mark.parametrize("family", FAMILIES)
def test_streams_are_what_the_template_says_token_for_token(family, tmp_path):
    tokenizer, reference = made(family, tmp_path)
    render, end = renderer(tokenizer, "chat"), FAMILIES[family].end
    end_id = tokenizer.convert_tokens_to_ids(end)
    assert end_id in render.stop_token_ids
    reader = reader_of("auto", tokenizer)
    for said, begin in conversations(family):
        stream = render.opening(said[:begin], TOOLS)
        assert stream == reference(said[:begin])
        told = [*said[:begin]]
        for number, at in enumerate(at for at in range(begin, len(said)) if said[at].tool_calls):
            text = wrote(said, at, reference, end, FAMILIES[family].eos)
            before, written = stream, tokenizer.encode(text, add_special_tokens=False)
            stream = [*stream, *written, end_id]
            turn = reader.message(render.said(written, before), turn=number, tools=TOOLS)
            # every thought, call and word arrives where it belongs
            assert (turn.content, turn.reasoning) == (said[at].content, said[at].reasoning)
            assert [
                (call.id, call.name, json.loads(call.arguments)) for call in turn.tool_calls
            ] == [(call.id, call.name, json.loads(call.arguments)) for call in said[at].tool_calls]
            told.append(turn)
            last = at + len(turn.tool_calls)
            seen = said[at + 1 : last + 1]
            stream = [*stream, *render.observed(told, seen, last_token=end_id, tools=TOOLS)]
            told += seen
        assert stream == reference(said), tokenizer.decode(stream)
        # and rendered again from what was read, it is the same conversation
        assert render.opening([replace(one, raw="") for one in told], TOOLS) == stream


def saying(messages, text):
    """The messages with one text in place of all of theirs."""
    given = json.dumps({"place": text, text: 1})
    return [
        replace(
            one,
            content=text if one.content else "",
            reasoning=text if one.reasoning else "",
            tool_calls=tuple(replace(call, arguments=given) for call in one.tool_calls),
        )
        for one in messages
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_of_a_family_comes_out_of_a_tool_or_a_prompt(family, tmp_path):
    tokenizer, _ = made(family, tmp_path)
    render = renderer(tokenizer, "chat")
    end = tokenizer.convert_tokens_to_ids(FAMILIES[family].end)
    tokens, special = FAMILIES[family].tokens, {*tokenizer.all_special_ids}
    # one in which tools were called before
    said, begin = next(
        (said, begin)
        for said, begin in conversations(family)
        if any(m.tool_calls for m in said[:begin])
    )
    names = f"{json.dumps(TOOLS)} " if not FAMILIES[family].shows_tools else ""
    turn = replace(said[begin], is_sampled=True)
    seen = said[begin + 1 :][: len(turn.tool_calls)]

    def shown(text):
        opening = render.opening(saying(said[:begin], names + text), TOOLS)
        told = [*said[:begin], turn]
        after = render.observed(told, saying(seen, text), last_token=end, tools=TOOLS)
        return opening + after

    calm = [token for token in shown("harmless") if token in special]
    for text in (*tokens, "".join(tokens), f"{tokens[0]}\nassistant"):
        ids = shown(text)
        assert [token for token in ids if token in special] == calm, text
        assert text in tokenizer.decode(ids)


AGREES = ("hermes", "qwen_xml", "llama_json")


@pytest.mark.parametrize("family", AGREES)
def test_the_package_renders_what_it_was_seen_to_render_alike(family, tmp_path):
    tokenizer, _ = made(family, tmp_path)
    render = renderer(tokenizer, "chat")
    assert render._known.name == FAMILIES[family].package
    assert render.notes == ()
    asked = []
    render._known.opening = _counted(render._known.opening, asked)
    rendered = render._render
    for said, begin in conversations(family):
        render.opening(said[:begin], TOOLS)
        render._render = None  # of a kind that it has seen, the template is not asked again
        assert render.opening(said[:begin], TOOLS)
        render._render = rendered
    assert len(asked) == 80


def _counted(function, calls):
    def counted(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    return counted


def test_a_template_that_the_package_renders_otherwise_is_its_own_and_says_so(tmp_path):
    tokenizer, _ = made("glm", tmp_path)
    render = renderer(tokenizer, "chat")
    assert render._known is None
    (note,) = render.notes
    assert "says of glm-4.5, but for 1 of 10 conversations: it is rendered by the template" in note


def test_a_kind_of_conversation_that_the_package_renders_otherwise_is_the_templates_own(tmp_path):
    tokenizer, reference = made("hermes", tmp_path)
    render = renderer(tokenizer, "chat")
    render._known.opening = lambda *_: [1, 2, 3]
    for said, begin in conversations("hermes", 5):
        for _ in range(2):
            assert render.opening(said[:begin], TOOLS) == reference(said[:begin])


@pytest.mark.parametrize("family", ["hermes", "qwen_xml"])
def test_what_the_template_is_told_is_told_to_the_package_too(family, tmp_path):
    tokenizer, _ = made(family, tmp_path)
    known = renderer(tokenizer, "chat", {"enable_thinking": True})._known
    assert known.name == FAMILIES[family].package
    # told not to think, the package shows empty thoughts in earlier turns, which the template drops
    quiet = renderer(tokenizer, "chat", {"enable_thinking": False})
    assert quiet._known is None
    assert f"of {FAMILIES[family].package}, but for" in quiet.notes[0]
    said, begin = conversations(family)[0]
    assert tokenizer.decode(quiet.opening(said[:begin], TOOLS)).endswith("\n\n</think>\n\n")


def test_channels_of_earlier_answers_are_read_again_as_the_template_shows_them(tmp_path):
    tokenizer, reference = made("harmony", tmp_path)
    render, reader = renderer(tokenizer, "chat"), reader_of("auto", tokenizer)
    asked = [Message(role="user", content="What is 17 + 25?")]
    text = "<|channel|>analysis<|message|>add<|end|><|start|>assistant<|channel|>final<|message|>41"
    end = tokenizer.convert_tokens_to_ids("<|return|>")
    written = [*tokenizer.encode(text, add_special_tokens=False), end]
    said = [*asked, reader.message(render.text(written), turn=0)]
    seen = [Message(role="user", content="No.")]
    history = render.reread(said, seen, turns={1: written}, tools=TOOLS)
    delta = render.observed(said, seen, last_token=history[-1], tools=TOOLS)
    told = [*asked, Message(role="assistant", content="41"), *seen]
    assert [*history, *delta] == reference(told)
