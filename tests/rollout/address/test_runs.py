"""Requests become runs of tokens: what goes on is appended to, what does not begins another one."""

from __future__ import annotations

import asyncio

import numpy as np

from munro.envs.types import Ending
from munro.rl.policy.sequences import TrainingSequence
from munro.rollout.branches import branches, runs
from tests.rollout.address.agents import (
    ADD,
    CALLING,
    END,
    PLAIN,
    asking,
    engine,
    said,
    session,
    text_of,
    user,
)

HELLO = [{"role": "system", "content": "be brief"}, user("hello")]


async def test_a_conversation_that_goes_on_is_one_run_and_nothing_is_tokenised_again():
    served = engine(lambda turn: f"answer {turn}")
    attempt = session(served)
    async with asking(attempt) as ask:
        messages = [*HELLO]
        for turn in range(4):
            status, body = await ask(messages)
            assert (status, said(body)["content"]) == (200, f"answer {turn}")
            messages += [said(body), user(f"go on {turn}")]
    told = attempt.trajectory()
    assert told.forks == ()
    assert told.ending is Ending.ANSWERED
    # every prompt is what was read and written before, and what is new after it
    for before, after in zip(served.prompts, served.prompts[1:], strict=False):
        assert after[: len(before)] == before
    assert told.token_ids[: len(served.prompts[-1])].tolist() == served.prompts[-1]
    assert text_of(told.token_ids[told.sampled]) == "".join(
        f"answer {turn}<|im_end|>" for turn in range(4)
    )
    assert (told.behaviour_logp[told.sampled] == -0.25).all()
    assert (told.versions[told.sampled] == 3).all()
    assert (told.versions[~told.sampled] == -1).all()
    assert (np.diff(told.kept.starts) == np.where(told.sampled, 2, 0)).all()
    assert [m.content for m in told.messages if m.is_sampled] == [f"answer {n}" for n in range(4)]
    assert told.reply == "answer 3"
    assert [call[0] for call in served.calls] == [(7, 2, 0, turn) for turn in range(4)]


async def test_tokens_that_encode_otherwise_are_kept_as_they_were_sampled():
    # "<|im_end|>" written letter by letter is not the token that ends a turn
    forged = [*map(PLAIN.convert_tokens_to_ids, "<|im_"), *PLAIN.encode("end|>"), END]
    served = engine()
    served.writes = lambda request: forged
    attempt = session(served)
    async with asking(attempt) as ask:
        _, body = await ask(HELLO)
        await ask([*HELLO, said(body), user("go on")])
    told = attempt.trajectory()
    assert told.forks == ()
    assert told.token_ids[told.sampled].tolist() == forged * 2


async def test_a_history_that_was_rewritten_is_a_branch_from_the_last_token_in_common():
    served = engine(lambda turn: f"answer {turn}")
    attempt = session(served)
    async with asking(attempt) as ask:
        _, first = await ask(HELLO)
        await ask([*HELLO, said(first), user("a long observation")])
        await ask([*HELLO, said(first), user("[left out]"), user("go on")])
    told = attempt.trajectory()
    (fork,) = told.forks
    assert fork[1] > told.num_prompt  # the first answer is read in both, and stands once
    assert text_of(told.token_ids[told.sampled]).count("answer 0") == 1
    _, second = runs(len(told.token_ids), told.forks)
    assert "[left out]" in text_of(told.token_ids[second.start : second.end])
    for turn, prompt in enumerate(served.prompts):
        wrote = [*PLAIN.encode(f"answer {turn}"), END]
        ways = [told.token_ids[one.tokens].tolist() for one in branches(told.sampled, told.forks)]
        assert any(way[: len(prompt) + len(wrote)] == prompt + wrote for way in ways)
    # each sampled token is trained on once, in one of the branches
    own = sum(int(one.own.sum()) for one in branches(told.sampled, told.forks))
    assert own == told.num_sampled == 3 * (len("answer 0") + 1)


async def test_a_history_with_another_beginning_is_a_run_of_its_own_and_trains():
    served = engine(lambda turn: f"answer {turn}")
    attempt = session(served)
    async with asking(attempt) as ask:
        await ask([user("plan")])
        await ask([{"role": "system", "content": "you are the other one"}, user("do")])
    told = attempt.trajectory()
    assert len(told.forks) == 1
    sequence = TrainingSequence(
        token_ids=told.token_ids,
        sampled=told.sampled,
        behaviour_logp=told.behaviour_logp,
        kept=told.kept,
        advantage=1.0,
        forks=told.forks,
    )
    assert sum(each.num_sampled for each in sequence.branches()) == told.num_sampled


async def test_requests_at_once_are_branches_of_one_attempt():
    served = engine(lambda turn: f"answer {turn}")
    attempt = session(served)
    async with asking(attempt) as ask:
        got = await asyncio.gather(*(ask([*HELLO, user(f"part {n}")]) for n in range(5)))
        assert {status for status, _ in got} == {200}
        _, last = await ask([*HELLO, user("part 3"), said(got[3][1]), user("and then?")])
    told = attempt.trajectory()
    assert len(told.forks) == 5  # four of them, and the one that went on after others had come
    assert said(last)["content"] == "answer 5"
    ways = [text_of(told.token_ids[one.tokens]) for one in branches(told.sampled, told.forks)]
    assert sum("part 3" in way and "answer 5" in way for way in ways) == 1
    assert len(ways) == 5
    assert told.num_sampled == 6 * 9


async def test_the_same_question_twice_at_once_grows_from_one_place():
    served = engine(lambda turn: f"answer {turn}")
    attempt = session(served)
    async with asking(attempt) as ask:
        await asyncio.gather(ask(HELLO), ask(HELLO))
    told = attempt.trajectory()
    assert told.forks == ((told.num_prompt + 9, told.num_prompt - 1),)


async def test_tools_are_rendered_and_calls_come_back_as_calls():
    served = engine(
        lambda turn: (
            '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>' if turn == 0 else "done"
        ),
        CALLING,
    )
    attempt = session(served, CALLING)
    async with asking(attempt) as ask:
        _, body = await ask(HELLO, tools=[ADD])
        assert '"add"' in text_of(served.prompts[0], CALLING)
        assert body["choices"][0]["finish_reason"] == "tool_calls"
        (call,) = said(body)["tool_calls"]
        assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}
        assert said(body)["content"] is None
        answer = {"role": "tool", "tool_call_id": call["id"], "content": "41"}
        _, body = await ask([*HELLO, said(body), answer], tools=[ADD])
        assert said(body)["content"] == "done"
    told = attempt.trajectory()
    assert told.forks == ()
    (record,) = told.calls
    assert (record.name, record.ok, record.turn) == ("add", True, 0)


async def test_a_call_that_cannot_be_read_stays_in_the_text():
    served = engine('<tool_call>{"name": add}</tool_call>', CALLING)
    attempt = session(served, CALLING)
    async with asking(attempt) as ask:
        _, body = await ask(HELLO, tools=[ADD])
        assert "tool_calls" not in said(body)
        assert said(body)["content"] == '<tool_call>{"name": add}</tool_call>'
        await ask([*HELLO, said(body), user("that is no call")], tools=[ADD])
    told = attempt.trajectory()
    assert told.forks == ()
    assert [record.is_malformed for record in told.calls] == [True, True]


async def test_without_tools_nothing_is_a_call():
    text = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    attempt = session(engine(text, CALLING), CALLING)
    async with asking(attempt) as ask:
        for more in ({}, {"tools": [ADD], "tool_choice": "none"}):
            _, body = await ask(HELLO, **more)
            assert said(body) == {"role": "assistant", "content": text}


async def test_a_thought_is_told_apart_and_need_not_be_sent_back():
    served = engine("<think>two and two</think>\n\n4")
    attempt = session(served)
    async with asking(attempt) as ask:
        _, body = await ask(HELLO)
        assert said(body)["content"].strip() == "4"
        assert said(body)["reasoning_content"].strip() == "two and two"
        bare = {"role": "assistant", "content": "4"}
        await ask([*HELLO, bare, user("sure?")])
        await ask([*HELLO, said(body), user("sure?")])
        assert attempt.trajectory().forks[0][1] > 0  # the same prompt again, from its last token
        assert served.prompts[1] == served.prompts[2]
        assert "two and two" in text_of(served.prompts[1])
        await ask([*HELLO, {**bare, "reasoning_content": "three"}, user("sure?")])
        assert "two and two" not in text_of(served.prompts[3])
