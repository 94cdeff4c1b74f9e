"""A conversation becomes one token stream that only grows."""

from __future__ import annotations

import pytest

from munro.envs.types import Message, ToolCall
from munro.rollout.render import PREAMBLE, renderer
from tests.rollout.builders import CHATML, make_tokenizer

QUESTION = (Message(role="user", content="What is 17 + 25?"),)
TOOLS = ({"type": "function", "function": {"name": "add"}},)

# drops the reasoning of earlier turns, as reasoning models' templates do
FORGETFUL = CHATML.replace("m.content | trim", "m.content.split('</think>')[-1] | trim")
# lists its tools first, shows calls, and what tools said in a user's turn
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    + CHATML.replace("{{ m.role }}", "{{ 'user' if m.role == 'tool' else m.role }}").replace(
        "<|im_end|>", "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}<|im_end|>"
    )
)
LAST_ONLY = "{{ messages[-1].content }}{% if add_generation_prompt %}>{% endif %}"


def play(render, opening, replies, observations, tools=()):
    """The stream of a conversation whose policy wrote these texts and ended each by its token."""
    end = render.stop_token_ids[-1]
    stream = render.opening(opening, tools)
    said = list(opening)
    for reply, seen in zip(replies, observations, strict=True):
        stream += [*render._encode(reply), end]
        said.append(Message(role="assistant", content=reply))
        stream += render.observed(said, seen, last_token=end, tools=tools)
        said += seen
    return stream


def test_a_chat_prompt_is_what_the_template_says():
    tokenizer = make_tokenizer()
    ids = renderer(tokenizer, "chat").opening(QUESTION)
    assert tokenizer.decode(ids) == (
        "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_conversation_of_three_turns_is_the_stream_that_the_template_would_give():
    tokenizer = make_tokenizer()
    replies = ["I try 41", "then 43"]
    seen = [[Message(role="user", content="no")], [Message(role="user", content="no, no")]]
    stream = play(renderer(tokenizer, "chat"), QUESTION, replies, seen)
    whole = [*QUESTION]
    for reply, observations in zip(replies, seen, strict=True):
        whole += [Message(role="assistant", content=reply), *observations]
    assert stream == tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in whole],
        add_generation_prompt=True,
        return_dict=False,
    )


@pytest.mark.parametrize("template", [CHATML, FORGETFUL], ids=["plain", "forgetful"])
def test_what_follows_a_turn_follows_its_own_tokens_whatever_the_template_makes_of_it(template):
    tokenizer = make_tokenizer(template)
    reply = "  <think>17 and 25 </think> 42  \n"
    seen = [[Message(role="user", content="sure?")]]
    stream = play(renderer(tokenizer, "chat"), QUESTION, [reply], seen)
    assert tokenizer.decode(stream).endswith(
        f"<|im_start|>assistant\n{reply}<|im_end|>\n"
        "<|im_start|>user\nsure?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_turn_that_ended_by_another_stop_token_is_closed_by_the_template():
    tokenizer = make_tokenizer()
    render = renderer(tokenizer, "chat")
    said = [*QUESTION, Message(role="assistant", content="42")]
    delta = render.observed(
        said, [Message(role="user", content="sure?")], last_token=tokenizer.eos_token_id
    )
    assert tokenizer.decode(delta).startswith("<|im_end|>\n<|im_start|>user\nsure?")


def test_tools_and_what_they_said_reach_the_template():
    tokenizer = make_tokenizer(WITH_TOOLS)
    opening = (
        *QUESTION,
        Message(
            role="assistant", content="", tool_calls=(ToolCall(id="c", name="add", arguments="{"),)
        ),
        Message(role="tool", content="0", tool_call_id="c"),
    )
    seen = [[Message(role="tool", content="42", tool_call_id="d")]]
    stream = play(renderer(tokenizer, "chat"), opening, ["add(17, 25)"], seen, TOOLS)
    text = tokenizer.decode(stream)
    assert text.startswith('<|im_start|>system\n[{"type": "function"')
    assert text.endswith(
        "add(17, 25)<|im_end|>\n<|im_start|>user\n42<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_message_that_holds_the_mark_changes_nothing():
    tokenizer = make_tokenizer()
    seen = [[Message(role="user", content="POLICYTURN1END again")]]
    stream = play(renderer(tokenizer, "chat"), QUESTION, ["POLICYTURN1END"], seen)
    assert tokenizer.decode(stream).count("POLICYTURN1END") == 2


def test_a_template_that_does_not_show_the_turn_is_refused_with_the_way_out():
    render = renderer(make_tokenizer(LAST_ONLY), "chat")
    said = [*QUESTION, Message(role="assistant", content="42")]
    with pytest.raises(ValueError, match=r"does not show .*rollout\.max_turns = 1"):
        render.observed(said, [Message(role="user", content="sure?")], last_token=0)


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r'no chat template.*rollout\.template = "r1_zero"'):
        renderer(make_tokenizer(None), "chat")


def test_a_chat_turn_ends_by_the_end_of_text_or_of_the_turn():
    tokenizer = make_tokenizer()
    assert renderer(tokenizer, "chat").stop_token_ids == (
        tokenizer.eos_token_id,
        tokenizer.convert_tokens_to_ids("<|im_end|>"),
    )
    assert renderer(tokenizer, "plain").stop_token_ids == (tokenizer.eos_token_id,)


def test_a_raw_text_prompt_opens_the_reasoning():
    tokenizer = make_tokenizer(None)
    opening = (Message(role="system", content="Be brief."), *QUESTION)
    text = tokenizer.decode(renderer(tokenizer, "r1_zero").opening(opening))
    assert text == PREAMBLE + "Be brief.\n\nUser: What is 17 + 25?\nAssistant: <think>"


def test_a_raw_text_conversation_goes_on_by_speakers():
    tokenizer = make_tokenizer(None)
    seen = [[Message(role="tool", content="42"), Message(role="user", content="sure?")]]
    stream = play(
        renderer(tokenizer, "r1_zero"), QUESTION, ["hm </think> <answer>42</answer>"], seen
    )
    assert tokenizer.decode(stream).endswith(
        "</answer><|endoftext|>\nTool: 42\nUser: sure?\nAssistant: <think>"
    )


def test_plain_is_the_text_and_a_line_break():
    tokenizer = make_tokenizer(None)
    opening = (Message(role="system", content="add"), Message(role="user", content="17+25="))
    render = renderer(tokenizer, "plain")
    assert tokenizer.decode(render.opening(opening)) == "add\n17+25=\n"
    delta = render.observed((), [Message(role="user", content="sure?")], last_token=0)
    assert tokenizer.decode(delta) == "\nsure?\n"


def test_text_leaves_out_the_token_that_ended_the_turn_and_nothing_else():
    tokenizer = make_tokenizer()
    render = renderer(tokenizer, "chat")
    ids = tokenizer.encode(" <|im_start|>42 é<|im_end|>")
    assert render.text(ids) == " <|im_start|>42 é"
    assert render.text(ids[:-1]) == " <|im_start|>42 é"
