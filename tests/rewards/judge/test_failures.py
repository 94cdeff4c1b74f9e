"""Each way a judge can fail is a GraderError in the end, and never a grade."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from munro.rewards.errors import GraderError
from munro.rewards.judge import Judge
from munro.rewards.judge.client import Pace, retry_after_s
from tests.rewards.judges import Reply, ScriptedJudge, config_for, fails, last_user, says, scripted

YES = says(verdict="yes")
PROSE = Reply("I would say that this is right. Verdict: yes.")


async def ask(judge, response="b"):
    return await judge.equivalence("What?", "a", response)


PASSING = {
    "too many requests": fails(429, "slow down"),
    "an internal error": fails(500, "oops"),
    "a bad gateway in HTML": Reply(status=502, raw=b"<html>bad gateway</html>"),
    "a dropped connection": Reply(drops=True),
    "a body that is not JSON": Reply(raw=b"{not json"),
    "a body that is no chat completion": Reply(raw=b'{"choices": []}'),
    "a body of another shape": Reply(raw=b'{"choices": [{"message": {"content": [1]}}]}'),
    "an error with status 200": Reply(raw=b'{"error": {"message": "overloaded"}}'),
    "a list": Reply(raw=b"[1, 2]"),
}


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
async def test_a_failure_that_passes_is_outlived(failure):
    with scripted([failure, failure, YES]) as (judge, server):
        assert (await ask(judge)).passed
        assert len(server.requests) == 3
        assert judge.metrics()["retries"] == 2


@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
async def test_a_failure_that_stays_is_a_grader_error_after_all_tries(failure):
    with scripted(failure) as (judge, server):
        with pytest.raises(GraderError, match=r"judge 'test' \(scripted at .*\) no answer in 3"):
            await ask(judge)
        assert len(server.requests) == 3
        assert judge.metrics()["failures"] == 1


async def test_a_judge_that_is_late_is_asked_again_and_then_given_up():
    with scripted([Reply(hangs=True), YES], timeout_s=2) as (judge, server):
        assert (await ask(judge)).passed
    with scripted(Reply(hangs=True), timeout_s=0.1, retries=1) as (judge, server):
        with pytest.raises(GraderError, match=r"2 tries.*no answer within timeout_s = 0.1"):
            await ask(judge)
        assert len(server.requests) == 2


async def test_nobody_there_is_a_grader_error():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        with (
            Judge(config_for(url)) as judge,
            pytest.raises(GraderError, match=r"3 tries; the last: no connection"),
        ):
            await ask(judge)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(400, "refuses the request: HTTP 400: no"), (401, "Set api_key_env"), (404, "ends in /v1")],
)
async def test_a_request_that_is_refused_for_good_is_not_repeated(status, hint):
    with scripted(fails(status)) as (judge, server):
        with pytest.raises(GraderError, match=hint):
            await ask(judge)
        assert len(server.requests) == 1


async def test_a_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("A_JUDGES_KEY", "top-secret-1")
    reply = fails(401, "the key top-secret-1 is wrong")
    with scripted(reply, api_key_env="A_JUDGES_KEY") as (judge, server):
        with pytest.raises(GraderError, match="Check the key in A_JUDGES_KEY") as failure:
            await ask(judge)
        assert server.headers[0]["authorization"] == "Bearer top-secret-1"
        assert "top-secret-1" not in str(failure.value) + repr(judge.config)


async def test_the_wait_that_a_service_asks_for_is_kept():
    wait = fails(429, retry_after="1")
    with scripted([wait, YES]) as (judge, _):
        began = time.monotonic()
        assert (await ask(judge)).passed
        assert time.monotonic() - began >= 1.0  # never sooner, whatever the machine is doing


async def test_a_service_that_asks_for_too_long_a_wait_is_given_up_at_once():
    with scripted(fails(429, retry_after="3600")) as (judge, server):
        with pytest.raises(GraderError, match=r"asks to wait 3600 s: longer than max_wait_s = 60"):
            await ask(judge)
        assert len(server.requests) == 1


def test_retry_after_is_a_number_or_a_date():
    date = "Wed, 21 Oct 2015 07:28:30 GMT"
    assert retry_after_s({"retry-after": "2.5"}) == 2.5
    assert retry_after_s({"retry-after": date}, now=1445412500.0) == 10.0
    for nothing in ("", "-3", "nan", "soon", "Wed, 99 Oct"):
        assert retry_after_s({"retry-after": nothing}) == 0.0
    assert retry_after_s({}) == 0.0


def test_requests_are_spaced_and_held():
    pace = Pace(requests_per_minute=30)
    assert [pace.reserve(100.0), pace.reserve(100.0), pace.reserve(101.0)] == [0.0, 2.0, 3.0]
    pace.hold(150.0)
    assert pace.reserve(110.0) == 40.0
    assert pace.reserve(200.0) == 0.0
    free = Pace(requests_per_minute=0)
    assert [free.reserve(1.0), free.reserve(1.0)] == [0.0, 0.0]


MALFORMED = {
    "prose": PROSE,
    "nothing": Reply(""),
    "no content": Reply(None),
    "another object": Reply('{"verdict": "yes"}'),
    "another value": says(verdict="maybe"),
    "a value of another type": says(verdict=True),
    "more than asked": says(verdict="yes", bonus=1),
    "half an object": Reply('{"notes": "I think that', finish_reason="length"),
    "a surrogate": Reply('{"notes": "\\ud800", "verdict": "\ud800"}'),
    "prose around JSON": Reply('Here: {"notes": "", "verdict": "yes"}'),
}


@pytest.mark.parametrize("reply", MALFORMED.values(), ids=MALFORMED)
async def test_an_answer_that_is_not_the_json_asked_for_is_repaired_once(reply):
    with scripted([reply, YES]) as (judge, server):
        assert (await ask(judge)).passed
        repair = server.requests[1]["messages"]
        assert [message["role"] for message in repair[-3:]] == ["user", "assistant", "user"]
        assert "not the JSON object" in last_user(server.requests[1])
        assert judge.metrics()["repairs"] == 1


@pytest.mark.parametrize("reply", MALFORMED.values(), ids=MALFORMED)
async def test_a_judge_that_rambles_twice_is_a_grader_error_and_no_verdict(reply):
    with scripted(reply) as (judge, server):
        with pytest.raises(GraderError, match="answered twice without the JSON asked for"):
            await ask(judge)
        assert len(server.requests) == 2


@pytest.mark.parametrize("order", [[1, 1, 2], [1, 2], [0, 1, 2], [1, 2, 3, 3], ["a", 1, 2]])
async def test_an_order_that_is_none_is_no_verdict(order):
    with (
        scripted(says(order=order)) as (judge, _),
        pytest.raises(GraderError, match="answered twice"),
    ):
        await judge.prefer("", ["a", "b", "c"])


async def test_json_in_a_markdown_fence_is_json():
    with scripted(Reply('```json\n{"notes": "", "verdict": "yes"}\n```')) as (judge, server):
        assert (await ask(judge)).passed
        assert len(server.requests) == 1


async def test_the_schema_goes_along_unless_the_service_takes_none():
    with scripted(YES, max_notes_chars=99) as (judge, server):
        await ask(judge)
        schema = server.requests[0]["response_format"]["json_schema"]
        assert schema["strict"] is True
        assert list(schema["schema"]["properties"]) == ["notes", "verdict"]
        assert schema["schema"]["properties"]["notes"]["maxLength"] == 99
        assert schema["schema"]["additionalProperties"] is False
    with scripted(YES, structured_output="json_object") as (judge, server):
        await ask(judge)
        assert server.requests[0]["response_format"] == {"type": "json_object"}
    with scripted(YES, structured_output="prompt", extra={"top_k": 1}) as (judge, server):
        await ask(judge)
        assert "response_format" not in server.requests[0]
        assert server.requests[0]["top_k"] == 1
        assert "chat_template_kwargs" not in server.requests[0]
    with scripted(YES, template_args={"enable_thinking": False}) as (judge, server):
        await ask(judge)
        assert server.requests[0]["chat_template_kwargs"] == {"enable_thinking": False}


async def test_one_sample_that_cannot_be_had_is_no_smaller_majority():
    replies = [YES, fails(400), YES]
    with (
        scripted(replies, samples=3, temperature=1.0) as (judge, _),
        pytest.raises(GraderError),
    ):
        await ask(judge)


async def test_equal_questions_under_way_are_asked_once_and_a_leaver_takes_nothing_along():
    with scripted(YES) as (judge, server):
        first, second = (asyncio.create_task(ask(judge)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).passed
        assert len(server.requests) == 1


async def test_who_waits_while_a_judge_is_closed_gets_a_grader_error():
    with scripted(Reply(hangs=True)) as (judge, server):
        waiting = asyncio.create_task(ask(judge))
        while not server.requests:
            await asyncio.sleep(0.01)
        judge.close()
        with pytest.raises(GraderError, match="closed meanwhile"):
            await waiting


async def test_verdicts_are_remembered_by_model_question_sampling_and_sample(tmp_path):
    cached = {"cache": str(tmp_path)}
    with ScriptedJudge([YES]) as server:

        async def asked(response="b", **changes):
            before = len(server.requests)
            with Judge(config_for(server.url, **cached, **changes)) as judge:
                assert (await ask(judge, response)).passed
            return len(server.requests) - before

        assert await asked() == 1
        assert await asked() == 0  # from another judge, after the first was closed
        assert await asked("c") == 1
        assert await asked(model="another") == 1
        assert await asked(temperature=0.5) == 1
        assert await asked(temperature=0.5, samples=3) == 2
        assert await asked(temperature=0.5, seed=7) == 1
        assert await asked(timeout_s=5, retries=0, concurrency=1) == 0


async def test_a_failure_is_not_remembered(tmp_path):
    with scripted([PROSE, PROSE, YES], cache=str(tmp_path)) as (judge, server):
        with pytest.raises(GraderError):
            await ask(judge)
        assert (await ask(judge)).passed
        assert len(server.requests) == 3


async def test_a_cache_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "verdicts.sqlite").write_text("this is no data base, but long enough for one" * 50)
    with (
        scripted(YES, cache=str(tmp_path)) as (judge, _),
        pytest.raises(GraderError, match=r"judge.cache = .* cannot be used .*Name another"),
    ):
        await ask(judge)
    file = tmp_path / "file"
    file.write_text("")
    with (
        scripted(YES, cache=str(file)) as (judge, _),
        pytest.raises(GraderError, match=r"judge.cache = .* cannot be used"),
    ):
        await ask(judge)


async def test_what_the_service_counts_is_counted():
    with scripted(YES) as (judge, _):
        await asyncio.gather(*(ask(judge, str(number)) for number in range(5)))
        counted = judge.metrics()
        assert (counted["questions"], counted["requests"]) == (5, 5)
        assert (counted["tokens_in"], counted["tokens_out"]) == (50, 25)
        assert json.dumps(counted)
