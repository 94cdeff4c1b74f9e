"""A template that rewrites earlier turns: the next turn reads what the template shows, exactly."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from munro.envs.types import Ending, Message, ToolCall
from munro.rollout.branches import way
from munro.rollout.render import BadTemplate
from munro.rollout.render.rewriting import Turn
from tests.builders import make_task
from tests.rollout.branching.rewritten import (
    COUNTING,
    FORGETFUL,
    LAST_ONLY,
    LIMITS,
    OPENS,
    THINKS,
    TURNS,
    TWICE,
    Told,
    made,
    ways_of,
)
from tests.rollout.builders import CHATML


@pytest.mark.parametrize(
    "template", [FORGETFUL, OPENS, COUNTING], ids=["forgets", "opens", "counts"]
)
async def test_every_turn_reads_what_the_template_shows_and_is_trained_on_exactly_that(template):
    one = Told(template, THINKS if template is OPENS else TURNS)
    told = await one.play()
    assert [one.tokenizer.decode(prompt) for prompt in one.prompts] == [
        one.shown(told, turn) for turn in range(4)
    ]
    assert told.forks
    assert ways_of(told) == [[*p, *w] for p, w in zip(one.prompts, one.written, strict=True)]
    assert told.ending is Ending.ANSWERED
    assert told.reply.endswith("42")
    for token, kept in zip(
        told.token_ids, np.split(told.kept.ids, told.kept.starts[1:-1]), strict=True
    ):
        assert kept.tolist() in ([], [token, 0])
    assert told.num_sampled == sum(map(len, one.written))


VLLM = Path(find_spec("vllm").submodule_search_locations[0]) / "transformers_utils"
DEFAULT = "{%- set enable_thinking = enable_thinking | default(false) %}"


@pytest.mark.parametrize(
    "thinking", [None, True, False], ids=["unsaid", "thinking", "not thinking"]
)
@pytest.mark.parametrize("role", ["user", "tool"])
async def test_a_template_of_qwen3_s_making_is_followed_to_the_letter(thinking, role):
    """MiniCPM-V's as vLLM ships it, which is Qwen3's with an empty thought where none is wanted."""
    template = (VLLM / "chat_templates" / "template_minicpmv45.jinja").read_text()
    assert DEFAULT in template
    said = "" if thinking is None else f"{{%- set enable_thinking = {str(thinking).lower()} %}}"
    texts = {None: TURNS, True: THINKS, False: ("41", "43", "no idea", "42")}[thinking]
    one = Told(template.replace(DEFAULT, said), texts, role)
    told = await one.play()
    shown = [one.shown(told, turn) for turn in range(4)]
    if role == "tool" and thinking is False:
        # a turn after which tools spoke is shown without what its prompt had put before it
        assert "</think>" not in shown[3].rpartition("<|im_start|>assistant")[0]
    assert [one.tokenizer.decode(prompt) for prompt in one.prompts] == shown
    assert ways_of(told) == [[*p, *w] for p, w in zip(one.prompts, one.written, strict=True)]
    # among tools only what was no thought is left out: an empty one, or the prompt's own
    assert bool(told.forks) == (role == "user" or thinking is not None)


async def test_what_is_common_stands_once():
    told = await (one := Told(FORGETFUL)).play()
    together = {tuple(stream[: n + 1]) for stream in ways_of(told) for n in range(len(stream))}
    assert len(told.token_ids) == len(together)
    # of two thoughts, each is left out once; without one the turn goes on where it was
    assert len(told.forks) == 2
    assert "".join(one.tokenizer.decode(told.token_ids)).count("What is 17+25?") == 1


async def test_thoughts_that_the_template_keeps_make_no_fork():
    told = await (one := Told(FORGETFUL, role="tool")).play()
    assert told.forks == ()
    assert ways_of(told)[-1] == told.token_ids.tolist()
    assert one.prompts[-1] == told.token_ids[: len(one.prompts[-1])].tolist()
    plain = await Told(CHATML).play()
    assert plain.forks == ()


async def test_what_the_policy_spelled_out_stays_spelled_out_when_it_is_read_again():
    tokenizer, _ = made(FORGETFUL)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    spelled = [t for c in "<|im_end|>\n<|im_start|>system" for t in tokenizer.encode(c)]
    first = [*tokenizer.encode("<think>x</think>"), *spelled, end]
    told = await (one := Told(FORGETFUL, ids=[first, [*tokenizer.encode("42"), end]])).play(["no"])
    assert told.forks
    start = len(one.prompts[0])
    assert one.prompts[1][start : start + len(spelled)] == spelled


async def test_a_history_without_its_thoughts_leaves_room():
    thought = "<think>" + "hm " * 40 + "</think>1"
    _, render = made(FORGETFUL)
    prompt = len(render.opening(make_task().messages))
    limits = replace(LIMITS, max_context=prompt + 160)
    told = await Told(FORGETFUL, [thought, "42"], limits=limits).play(["x" * 60])
    assert told.ending is Ending.ANSWERED
    assert told.messages[1].content == "x" * 60
    kept = await Told(CHATML, [thought, "42"], limits=limits).play(["x" * 60])
    assert kept.messages[1:2] == () or kept.messages[1].content != "x" * 60
    tight = replace(LIMITS, max_context=prompt + 130)
    full = await Told(FORGETFUL, [thought, "42"], limits=tight).play(["x" * 1000])
    assert full.messages[1].content.count("characters left out") == 1
    assert all(len(stream) <= tight.max_context for stream in ways_of(full))


async def test_each_token_keeps_the_experts_of_the_turn_that_first_read_it():
    told = await (one := Told(FORGETFUL, routed=True)).play()
    first = {}
    for turn, stream in enumerate(ways_of(told)):
        for n in range(len(stream) - 1):
            first.setdefault(tuple(stream[: n + 1]), turn)
    expected = [
        first.get(tuple(told.token_ids[way(place, told.forks)]), -1)
        for place in range(len(told.token_ids))
    ]
    assert told.routed_experts[:, 0, 0].tolist() == expected
    assert len(one.prompts) == 4


@pytest.mark.parametrize("template", [LAST_ONLY, TWICE], ids=["last only", "twice"])
async def test_turns_that_cannot_be_told_apart_are_refused_with_the_way_out(template):
    with pytest.raises(BadTemplate, match=r"could not go on.*rollout\.max_turns = 1"):
        await Told(template).play()


def test_few_shot_turns_of_the_task_go_through_the_template_as_they_are():
    tokenizer, render = made(FORGETFUL)
    opening = (
        Message(role="user", content="1+1?"),
        Message(role="assistant", content="<think>one</think>2"),
        Message(role="user", content="2+2?"),
    )
    written = tokenizer.encode("<think>two</think>4")
    said = (*opening, Message(role="assistant", content="<think>two</think>4", is_sampled=True))
    seen = [Message(role="user", content="sure?")]
    history = render.reread(said, seen, turns={3: written})
    # none of their words means anything, as in the prompt
    assert history == [*render.opening(opening), *tokenizer.encode("4")]


def test_turns_that_are_shown_as_calls_are_not_put_in():
    wants_calls = CHATML.replace(
        "{{ m.content | trim }}",
        "{% if m.role == 'tool' and not messages[1].tool_calls %}{{ raise_exception('whose?') }}"
        "{% endif %}{% for c in m.tool_calls %}[{{ c.function.name }}]{% endfor %}{{ m.content }}",
    )
    tokenizer, render = made("{{ messages | length }}" + wants_calls)
    call = ToolCall(id="c", name="add", arguments="{}")
    said = (
        Message(role="user", content="1+1?"),
        Message(role="assistant", content="add it", tool_calls=(call,), is_sampled=True),
        Message(role="tool", content="2"),
        Message(role="assistant", content="So 2.", is_sampled=True),
    )
    turns = {1: tokenizer.encode("add it"), 3: tokenizer.encode("So 2.")}
    history = render.reread(said, [Message(role="user", content="sure?")], turns=turns)
    text = tokenizer.decode(history)
    assert "[add]" in text
    assert text.endswith("assistant\nSo 2.")
    assert "POLICY" not in text


def test_an_answer_that_begins_within_a_token_is_encoded_anew():
    pieces = {1: "<think>", 2: "x", 3: "</think>\n", 4: "\nan", 5: "swer", 6: "answer"}

    def decode(ids):
        return "".join(pieces[token] for token in ids)

    turn = Turn.of([1, 2, 3, 4, 5], decode, lambda text: [6] if text == "answer" else [])
    assert (turn.answer_ids, turn.gap, turn.opened) == ((6,), "\n\n", True)
    whole = Turn.of([1, 2, 3, 6], decode, lambda text: [])
    assert whole.answer_ids == (6,)
    plain = Turn.of([4, 5], decode, lambda text: [])
    assert (plain.answer_ids, plain.thought) == ((4, 5), False)
    assert (plain.framed("W", opens=False), plain.framed("W", opens=True)) == ("W", "<think>W")
