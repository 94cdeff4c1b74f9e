"""What cannot be had is an error of the API's own shape, and nothing of it becomes tokens."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path

import httpx
import pytest

from munro.envs.types import Ending
from munro.rollout.address import http
from munro.rollout.address.server import Addresses, folder_of
from tests.rollout.address.agents import LIMITS, asking, engine, said, session, user

HELLO = [user("hello")]
IMAGE = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"model": "gpt-4"}, 404, "model_not_found"),
        ({"model": None}, 404, "model_not_found"),
        ({"n": 2}, 400, "unsupported_value"),
        ({"logprobs": True}, 400, "unsupported_parameter"),
        ({"stop": ["\n"]}, 400, "unsupported_parameter"),
        ({"logit_bias": {"5": 100}}, 400, "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, 400, "unsupported_parameter"),
        ({"tool_choice": "required"}, 400, "unsupported_value"),
        ({"tools": [{"type": "web_search"}]}, 400, "unsupported_value"),
        ({"tools": "add"}, 400, "invalid_value"),
        ({"max_tokens": 0}, 400, "invalid_value"),
        ({"max_tokens": "9"}, 400, "invalid_value"),
        ({"messages": []}, 400, "invalid_value"),
        ({"messages": None}, 400, "invalid_value"),
        ({"messages": "hello"}, 400, "invalid_value"),
        ({"messages": ["hello"]}, 400, "invalid_value"),
        ({"messages": [{"role": "wizard", "content": "hello"}]}, 400, "invalid_value"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "invalid_value"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "invalid_value"),
        ({"messages": [{"role": "user", "content": IMAGE}]}, 400, "unsupported_content"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "x"}]}, 400, "invalid_value"),
        ({"messages": [user("long " * 400)]}, 400, "context_length_exceeded"),
    ],
)
async def test_what_cannot_be_had_is_refused(more, status, code):
    served = engine()
    async with asking(session(served)) as ask:
        body = {"model": ask.address.model, "messages": HELLO} | more
        sent = json.dumps(body)
        got = await ask.client.post("/chat/completions", content=sent)
        assert (got.status_code, got.json()["error"]["code"]) == (status, code)
        assert got.json()["error"]["message"]
        assert served.calls == []
        assert (await ask(HELLO))[0] == 200  # nothing of it is left


async def test_the_climb_decides_how_tokens_are_drawn_and_says_so():
    served = engine()
    drawn = []
    inner = served._complete
    served._complete = lambda request: drawn.append(request) or inner(request)
    async with asking(session(served)) as ask:
        wanted = {"temperature": 0, "top_p": 0.5, "seed": 3, "frequency_penalty": 1.0}
        status, body = await ask(HELLO, **wanted, n=1, user="me", parallel_tool_calls=False)
    assert status == 200
    assert sorted(body["munro"]["overruled"]) == sorted(wanted)
    (request,) = drawn
    assert (request.temperature, request.top_p) == (LIMITS.temperature, LIMITS.top_p)


async def test_an_answer_is_as_long_as_is_asked():
    served = engine("a long answer")
    attempt = session(served)
    async with asking(attempt) as ask:
        _, body = await ask(HELLO, max_tokens=6)
        assert (said(body)["content"], body["choices"][0]["finish_reason"]) == ("a long", "length")
        assert body["usage"]["completion_tokens"] == 6
        _, body = await ask([*HELLO, said(body), user("on")], max_completion_tokens=20)
    told = attempt.trajectory()
    assert told.ending is Ending.ANSWERED
    assert told.forks == ()


@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, "invalid_api_key"), ({"Authorization": "Bearer sk-123"}, "invalid_api_key")],
)
async def test_who_has_no_key_gets_nothing(headers, code):
    async with (
        asking(session(engine())) as ask,
        httpx.AsyncClient(headers=headers, verify=False) as stranger,
    ):
        for path in ("/models", "/chat/completions"):
            got = await stranger.post(ask.address.base_url + path, json={})
            assert (got.status_code, got.json()["error"]["code"]) == (401, code)


async def test_a_key_leads_to_its_own_attempt_and_to_nothing_once_that_is_over():
    addresses, other = Addresses(), session(engine("other"))
    served = engine("mine")
    async with addresses.opened(other):
        async with addresses.opened(session(served)) as mine:
            pass
        headers = {"Authorization": f"Bearer {mine.key}"}
        async with httpx.AsyncClient(headers=headers, verify=False) as late:
            body = {"model": mine.model, "messages": HELLO}
            got = await late.post(f"{mine.base_url}/chat/completions", json=body)
        assert (got.status_code, got.json()["error"]["code"]) == (403, "attempt_over")
    assert served.calls == []


async def test_a_request_that_runs_when_its_attempt_ends_leaves_nothing():
    served = engine()
    served.hangs = True
    attempt = session(served)
    addresses = Addresses()
    async with addresses.opened(session(engine())), httpx.AsyncClient(verify=False) as client:
        async with addresses.opened(attempt) as address:
            body = {"model": address.model, "messages": HELLO}
            headers = {"Authorization": f"Bearer {address.key}"}
            late = asyncio.ensure_future(
                client.post(f"{address.base_url}/chat/completions", json=body, headers=headers)
            )
            while not served.calls:
                await asyncio.sleep(0.001)
        got = await late
    assert (got.status_code, got.json()["error"]["code"]) == (403, "attempt_over")
    assert attempt._stream is None


async def test_a_client_that_goes_away_has_its_request_cancelled(monkeypatch):
    monkeypatch.setattr(http, "LOOK_S", 0.01)
    served = engine()
    served.hangs = True
    attempt = session(served)
    async with asking(attempt) as ask:
        with pytest.raises(httpx.ReadTimeout):
            await ask.client.post(
                "/chat/completions",
                json={"model": ask.address.model, "messages": HELLO},
                timeout=0.1,
            )
        while attempt._num_running:
            await asyncio.sleep(0.001)
        served.hangs = False
        assert (await ask(HELLO))[0] == 200
    assert attempt.trajectory().num_sampled == 4


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"{not json", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
    ],
)
async def test_a_body_that_is_no_json_is_refused(sent, status):
    async with asking(session(engine())) as ask:
        got = await ask.client.post("/chat/completions", content=sent)
        assert (got.status_code, got.json()["error"]["code"]) == (status, "invalid_json")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"hello\r\n\r\n", b"HTTP/1.1 400"),
        (b"POST /v1 HTTP/1.1\r\nContent-Length: -4\r\n\r\n", b"HTTP/1.1 400"),
        (b"POST /v1 HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"HTTP/1.1 413"),
        (b"POST /v1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 400"),
        (b"GET /v1 HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 431"),
    ],
)
async def test_what_is_no_http_is_told_so(sent, answer):
    async with Addresses().opened(session(engine())) as address:
        port = int(address.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert (await reader.read()).startswith(answer)
        writer.close()


async def test_sockets_end_with_their_attempt_and_folders_with_their_process(monkeypatch, tmp_path):
    # a path that is too long for a socket is not used
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 30)))
    left = Path("/tmp/munro-address-4194399-x")
    living = Path(f"/tmp/munro-address-{os.getpid()}-x")
    for folder in (left, living):
        folder.mkdir(exist_ok=True)
    folder_of.cache_clear()
    async with Addresses().opened(session(engine())) as address:
        socket = Path(address.socket)
        assert socket.is_socket()
    assert not socket.exists()
    assert socket.parent.is_dir()
    assert not left.exists()
    living.rmdir()  # was there to be taken away: its process lives


async def test_the_rest_of_the_api_is_not_there():
    async with asking(session(engine())) as ask:
        assert (await ask.client.get("/models")).json()["data"][0]["id"] == ask.address.model
        assert (await ask.client.get(f"/models/{ask.address.model}")).status_code == 200
        assert (await ask.client.get("/chat/completions")).status_code == 405
        assert (await ask.client.post("/embeddings", json={})).status_code == 404
        chunks = (part for part in [b'{"model": "policy", "messages": [', b"]}"])

        async def sent():
            for part in chunks:
                yield part

        got = await ask.client.post("/chat/completions", content=sent())
        assert got.json()["error"]["param"] == "messages"


async def test_limits_of_the_attempt_are_told_and_end_it():
    attempt = session(engine("four"), max_turns=2)
    async with asking(attempt) as ask:
        await ask(HELLO)
        await ask(HELLO)
        status, body = await ask(HELLO)
        assert (status, body["error"]["code"]) == (403, "attempt_limit")
    assert attempt.trajectory().ending is Ending.TRUNCATED_TURNS
    attempt = session(engine("four"), max_response_tokens=7)
    async with asking(attempt) as ask:
        await ask(HELLO)
        _, body = await ask(HELLO)
        assert (said(body)["content"], body["choices"][0]["finish_reason"]) == ("fo", "length")
        assert (await ask(HELLO))[1]["error"]["code"] == "attempt_limit"
    told = attempt.trajectory()
    assert (told.ending, told.num_sampled) == (Ending.TRUNCATED_TOKENS, 7)


async def test_requests_at_once_never_sample_more_than_the_attempt_may():
    attempt = session(engine("four"), max_response_tokens=12)
    async with asking(attempt) as ask:
        got = await asyncio.gather(*(ask([user(f"{n}")]) for n in range(6)))
    assert sorted(status for status, _ in got) == [200] * 3 + [403] * 3
    assert attempt.trajectory().num_sampled == 12


async def test_what_is_far_too_long_is_not_even_counted(monkeypatch):
    attempt = session(engine())
    async with asking(attempt) as ask:
        monkeypatch.setattr(attempt._policy.renderer, "opening", None)
        status, body = await ask([user("x" * 70_000)])
        assert (status, body["error"]["code"]) == (400, "context_length_exceeded")


async def test_a_context_that_is_too_long_can_be_made_shorter():
    attempt = session(engine())
    async with asking(attempt) as ask:
        await ask(HELLO)
        status, body = await ask([*HELLO, user("long " * 400)])
        assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
        assert attempt.trajectory().ending is Ending.TRUNCATED_CONTEXT
        await ask([user("in short")])
    assert attempt.trajectory().ending is Ending.ANSWERED
