"""Traces become lessons: as they are, or told anew in another template or for another tokenizer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small.corpus import prompt, worked
from munro.distill.rewrite import Teller, as_lessons, told_anew
from munro.distill.sources import CannotDistill, Source, told_to_template
from munro.distill.traces import message_of
from munro.envs.types import Ending, Message
from munro.rollout.calls import reader_of
from munro.rollout.render import renderer
from tests.base_model.builders import small_tokenizer
from tests.distill.runs import make_attempt, make_trace, sum_task

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKING = CHAT.replace("<|assistant|>{% endif %}", "<|assistant|><think>\n{% endif %}")


def trace_of(reply: str, template: str, ending: Ending = Ending.ANSWERED, **fields: Any):
    """As a climb in this template stored it."""
    told = make_attempt(sum_task([7, 5]), reply, template=template, ending=ending).trajectory
    return make_trace(
        reply, token_ids=told.token_ids, sampled=told.sampled, ending=ending.value, **fields
    )


def other_tokenizer(chat_template: str | None = None) -> Any:
    texts = ["Quite another language of numbers.", prompt([12, 85]) + worked([12, 85])] * 20
    tokenizer = train_tokenizer(texts, vocab_size=320, max_context=64)
    tokenizer.chat_template = chat_template
    return tokenizer


def text_of(tokenizer: Any, lesson: Any, *, learned: bool) -> str:
    ids = np.array(lesson.token_ids)[np.array(lesson.learned) == learned]
    return tokenizer.decode(ids)


@pytest.mark.parametrize("template", ["plain", "r1_zero", "chat"])
def test_sampled_tokens_are_kept_and_nothing_else_is_learned(template):
    trace = trace_of("7+5=12 12", template)
    (lesson,) = Teller(small_tokenizer(), "keep", "base", 400).lessons(trace)
    assert list(lesson.token_ids) == trace.token_ids.tolist()
    assert list(lesson.learned) == trace.sampled.tolist()


def test_another_vocabulary_is_refused_where_tokens_are_kept():
    teller = Teller(other_tokenizer(), "keep", "checkpoints/other", 400)
    with pytest.raises(CannotDistill, match=r"checkpoints/other has another vocabulary .* run:1/0"):
        teller.lessons(trace_of("7+5=12 12", "plain"))


def with_template(chat_template: str) -> Any:
    """The tokenizer of the traces with another chat template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=small_tokenizer().backend_tokenizer,
        eos_token="<eos>",
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )


def test_another_chat_template_is_refused_where_tokens_are_kept():
    opening = renderer(with_template(THINKING), "chat").opening(sum_task([7, 5]).messages)
    ids = [*opening, *small_tokenizer().encode("7+5=12 12")]
    sampled = np.arange(len(ids)) >= len(opening)
    trace = make_trace("7+5=12 12", token_ids=np.array(ids, np.int32), sampled=sampled)
    (kept,) = Teller(with_template(THINKING), "keep", "base", 400).lessons(trace)
    assert list(kept.token_ids) == ids
    with pytest.raises(CannotDistill, match="another vocabulary or template"):
        Teller(with_template(CHAT), "keep", "base", 400).lessons(trace)


def test_a_chat_template_that_tells_the_date_is_the_same_tomorrow():
    dated = "Today is {{ strftime_now('%d %b %Y') }}. " + CHAT
    yesterday = with_template("Today is 21 Nov 2026. " + CHAT)
    opening = renderer(yesterday, "chat").opening(sum_task([7, 5]).messages)
    ids = [*opening, *small_tokenizer().encode("7+5=12 12")]
    sampled = np.arange(len(ids)) >= len(opening)
    trace = make_trace("7+5=12 12", token_ids=np.array(ids, np.int32), sampled=sampled)
    (kept,) = Teller(with_template(dated), "keep", "base", 400).lessons(trace)
    assert list(kept.token_ids) == ids


def test_a_base_without_the_template_says_which_it_lacks():
    with pytest.raises(CannotDistill, match=r"has another template: .*no chat template"):
        Teller(other_tokenizer(), "chat", "base", 400)


def test_raw_text_becomes_chat_with_its_thought_opened():
    tokenizer = other_tokenizer(CHAT)
    trace = trace_of(" 7+5=12 </think> <answer>12</answer>", "r1_zero")
    (lesson,) = Teller(tokenizer, "chat", "base", 400).lessons(trace)
    assert text_of(tokenizer, lesson, learned=False) == "<|user|>What is 7 + 5?<eos><|assistant|>"
    told = text_of(tokenizer, lesson, learned=True)
    assert told == "<think> 7+5=12 </think> <answer>12</answer><eos>"


def test_a_thought_that_the_chat_template_opens_is_not_opened_twice():
    tokenizer = other_tokenizer(THINKING)
    closed = trace_of(" 7+5=12 </think> 12", "r1_zero")
    (lesson,) = Teller(tokenizer, "chat", "base", 400).lessons(closed)
    assert text_of(tokenizer, lesson, learned=True) == " 7+5=12 </think> 12<eos>"
    both = trace_of("<think> 7+5=12 </think> 12", "plain")
    (lesson,) = Teller(tokenizer, "chat", "base", 400).lessons(both)
    assert text_of(tokenizer, lesson, learned=True) == " 7+5=12 </think> 12<eos>"


def test_a_reply_that_tells_of_the_thought_that_its_template_opened_is_the_same_reply():
    trace = trace_of("7+5=12 </think> 12", "r1_zero")
    told = replace(trace, reply=f"<think>{trace.reply}")
    for one in (trace, told):
        (lesson,) = Teller(small_tokenizer(), "keep", "base", 400).lessons(one)
        assert list(lesson.token_ids) == trace.token_ids.tolist()


def test_what_is_in_the_template_already_keeps_its_tokens():
    trace = trace_of("7+5=12 12", "plain")
    (lesson,) = Teller(small_tokenizer(), "plain", "base", 400).lessons(trace)
    assert list(lesson.token_ids) == trace.token_ids.tolist()


def test_a_truncated_turn_gets_no_end():
    tokenizer = other_tokenizer()
    cut = trace_of("7+5=1", "chat", ending=Ending.TRUNCATED_TOKENS)
    (lesson,) = told_anew(cut, renderer(tokenizer, "plain"), tokenizer.encode)
    assert text_of(tokenizer, lesson, learned=True) == "7+5=1"


FORGETFUL = CHAT.replace("m['content']", "m['content'].split('</think>')[-1]")


def test_a_template_that_forgets_thoughts_makes_a_lesson_of_every_way_they_were_read():
    tokenizer = other_tokenizer(FORGETFUL)
    turns = (
        Message(role="assistant", content="<think>add</think>7 5"),
        Message(role="user", content="12?"),
        Message(role="assistant", content="<think>sum</think>12"),
    )
    trace = make_trace("12", messages=turns)
    lessons = told_anew(trace, renderer(tokenizer, "chat"), tokenizer.encode)
    assert [tokenizer.decode(lesson.token_ids) for lesson in lessons] == [
        "<|user|>What is 7 + 5?<eos><|assistant|><think>add</think>7 5<eos>",
        "<|user|>What is 7 + 5?<eos><|assistant|>7 5<eos>"
        "<|user|>12?<eos><|assistant|><think>sum</think>12<eos>",
    ]
    assert [text_of(tokenizer, lesson, learned=True) for lesson in lessons] == [
        "<think>add</think>7 5<eos>",
        "<think>sum</think>12<eos>",
    ]


def test_a_stored_tree_is_a_lesson_a_branch_and_each_turn_is_learned_once():
    trace = make_trace(
        "12",
        token_ids=np.array([1, 2, 3, 4, 5, 4, 6, 7, 8], np.int32),
        sampled=np.array([False, False, True, True, True, False, False, True, True]),
        forks=((5, 1),),
    )
    first, second = as_lessons(trace.token_ids, trace.sampled, trace.forks)
    assert (first.token_ids, first.learned) == ([1, 2, 3, 4, 5], [False, False, True, True, True])
    assert second.token_ids == [1, 2, 4, 6, 7, 8]
    assert second.learned == [False, False, False, False, True, True]


def test_of_several_turns_only_the_policys_own_are_learned():
    tokenizer = other_tokenizer(CHAT)
    turns = (
        Message(role="assistant", content="add 7 5"),
        Message(role="tool", content="12"),
        Message(role="assistant", content="It is 12"),
    )
    trace = make_trace("It is 12", messages=turns)
    (lesson,) = told_anew(trace, renderer(tokenizer, "chat"), tokenizer.encode)
    assert tokenizer.decode(lesson.token_ids) == (
        "<|user|>What is 7 + 5?<eos><|assistant|>add 7 5<eos>"
        "<|tool|>12<eos><|assistant|>It is 12<eos>"
    )
    assert text_of(tokenizer, lesson, learned=True) == "add 7 5<eos>It is 12<eos>"


def test_what_the_runs_template_was_told_is_told_to_it_again():
    told = {"enable_thinking": False}
    quiet = THINKING.replace("<think>\n", "{% if enable_thinking is false %}<think>{% endif %}")
    opening = renderer(with_template(quiet), "chat", told).opening(sum_task([7, 5]).messages)
    ids = [*opening, *small_tokenizer().encode("7+5=12 12")]
    sampled = np.arange(len(ids)) >= len(opening)
    trace = make_trace("7+5=12 12", token_ids=np.array(ids, np.int32), sampled=sampled)
    (kept,) = Teller(with_template(quiet), "keep", "base", 400, told).lessons(trace)
    assert list(kept.token_ids) == ids
    with pytest.raises(CannotDistill, match="another vocabulary or template"):
        Teller(with_template(quiet), "keep", "base", 400).lessons(trace)
    # a base whose template does not know of it is not told
    (anew,) = Teller(with_template(CHAT), "chat", "base", 400, told).lessons(trace)
    assert anew.token_ids != ids


def test_a_run_says_what_its_template_was_told(tmp_path):
    source = Source(run=tmp_path, name="stem")
    assert told_to_template(source) == {}
    (tmp_path / "config.toml").write_text("[rollout.template_args]\nenable_thinking = false\n")
    assert told_to_template(source) == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{# [TOOL_CALLS] #}", '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 7}}]'),
        ("{# <tool_call> #}", '<tool_call>{"name": "add", "arguments": {"a": 7}}</tool_call>'),
        ("", '<tool_call>{"name": "add", "arguments": {"a": 7}}</tool_call>'),
    ],
    ids=["another family", "its own", "no family"],
)
def test_calls_are_told_anew_in_the_form_of_the_new_templates_family(template, form):
    call = '<tool_call>{"name": "add", "arguments": {"a": 7}}</tool_call>'
    turn = reader_of("hermes").message(f"<think>\nadd</think>So\n{call}", turn=0)
    trace = replace(trace_of(turn.raw, "plain"), messages=(turn,))
    (lesson,) = Teller(other_tokenizer(template + CHAT), "chat", "base", 400).lessons(trace)
    said = text_of(other_tokenizer(), lesson, learned=True)
    assert said.startswith("<think>\nadd")
    assert said.removesuffix("<eos>").endswith(f"So\n{form}")


def test_a_turn_stored_before_its_parts_were_told_apart_is_told_whole():
    call = '<tool_call>{"name": "add", "arguments": {"a": 7}}</tool_call>'
    stored = {"role": "assistant", "content": f"<think>add</think>{call}", "tool_calls": []}
    turn = message_of(stored)
    assert (turn.text, turn.raw, turn.reasoning) == (stored["content"], "", "")
    trace = replace(trace_of(turn.text, "plain"), messages=(turn,))
    tokenizer = other_tokenizer("{# [TOOL_CALLS] #}" + CHAT)
    (lesson,) = Teller(tokenizer, "chat", "base", 400).lessons(trace)
    assert text_of(tokenizer, lesson, learned=True).removesuffix("<eos>") == stored["content"]


def test_tools_that_a_chat_template_does_not_show_are_no_reason_to_refuse_another_template():
    tool = {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}
    trace = trace_of("7+5=12 12", "plain")
    trace = replace(trace, task={**trace.task, "tools": [tool]})
    tokenizer = small_tokenizer()
    assert tokenizer.chat_template
    (lesson,) = Teller(tokenizer, "keep", "base", 400).lessons(trace)
    assert list(lesson.token_ids) == trace.token_ids.tolist()
