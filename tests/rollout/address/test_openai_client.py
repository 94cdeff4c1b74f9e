"""The `openai` package itself talks to an address, in both shapes, whole and as streams."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx
import openai
import pytest

from munro.rollout.address import Addresses
from tests.rollout.address.agents import ADD, CALLING, engine, session

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
FLAT = {"type": "function", **ADD["function"]}


@asynccontextmanager
async def client_to(attempt):
    async with (
        Addresses().opened(attempt) as address,
        httpx.AsyncClient(verify=False) as http,
        openai.AsyncOpenAI(
            base_url=address.base_url, api_key=address.key, http_client=http, max_retries=0
        ) as client,
    ):
        yield client


async def test_chat_whole_and_as_a_stream():
    attempt = session(engine("<think>hm</think>\n\nyes"))
    async with client_to(attempt) as client:
        assert [model.id async for model in client.models.list()] == ["policy"]
        asked = [{"role": "user", "content": "well?"}]
        whole = await client.chat.completions.create(model="policy", messages=asked)
        assert whole.choices[0].message.content.strip() == "yes"
        stream = await client.chat.completions.create(
            model="policy", messages=asked, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage == whole.usage


async def test_a_streamed_call_is_whole():
    async with client_to(session(engine(CALL, CALLING), CALLING)) as client:
        asked = [{"role": "user", "content": "well?"}]
        stream = await client.chat.completions.create(
            model="policy", messages=asked, tools=[ADD], stream=True
        )
        first, last = [chunk async for chunk in stream]
        (call,) = first.choices[0].delta.tool_calls
        assert (call.index, call.function.arguments) == (0, '{"a": 1}')
        assert last.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("streams", [False, True])
async def test_responses_with_a_call_and_its_output(streams):
    served = engine(lambda turn: CALL if turn == 0 else "<think>hm</think>it is 2", CALLING)
    attempt = session(served, CALLING)

    async def asked(client, **more):
        got = await client.responses.create(
            model="policy", instructions="be brief", tools=[FLAT], stream=streams, **more
        )
        if not streams:
            return got
        events = [event async for event in got]
        assert [event.sequence_number for event in events] == [*range(len(events))]
        return events[-1].response

    async with client_to(attempt) as client:
        items = [{"role": "user", "content": "1 + 1?"}]
        got = await asked(client, input=items)
        (call,) = got.output
        assert (call.type, call.name, call.arguments) == ("function_call", "add", '{"a": 1}')
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "2"}
        # all of it sent again, or what is new after what it was told
        got = await asked(client, input=[*items, call.model_dump(), output])
        assert (got.status, got.output_text) == ("completed", "it is 2")
        assert attempt.trajectory().forks == ()
        again = await asked(client, input=[output], previous_response_id="resp_0")
        assert again.output_text == "it is 2"
        assert served.prompts[1] == served.prompts[2]
        sent = [one.model_dump(exclude_none=True) for one in again.output]
        last = await asked(client, input=[*items, call.model_dump(), output, *sent, items[0]])
        assert last.usage.input_tokens > got.usage.input_tokens
        assert served.prompts[3][: len(served.prompts[2])] == served.prompts[2]
        with pytest.raises(openai.BadRequestError, match="no response"):
            await asked(client, input="hello", previous_response_id="resp_9")


async def test_errors_are_those_that_clients_know():
    async with client_to(session(engine())) as client:
        asked = [{"role": "user", "content": "long " * 400}]
        with pytest.raises(openai.BadRequestError) as error:
            await client.chat.completions.create(model="policy", messages=asked)
        assert error.value.code == "context_length_exceeded"
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="gpt-4", messages=asked)
        image = [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]
        with pytest.raises(openai.BadRequestError, match="image"):
            await client.responses.create(model="policy", input=image)
