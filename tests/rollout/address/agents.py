"""Agents that ask an address, over HTTP as anybody's would, and a policy that answers them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from munro.envs.agent_run import Address, AgentRun
from munro.rewards.config import RewardsConfig
from munro.rollout.address import Addresses, Policy, Session
from munro.rollout.calls import reader_of
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from munro.rollout.render import renderer
from munro.rollout.stream import Limits
from tests.builders import make_task
from tests.rollout.builders import CHATML, ScriptedEngine, make_tokenizer

TOOLS = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN, CALLING = make_tokenizer(CHATML), make_tokenizer(TOOLS)
END = PLAIN.convert_tokens_to_ids("<|im_end|>")
LIMITS = Limits(max_response_tokens=400, max_context=1000, max_turns=20, top_p=0.9)
TASK = make_task()
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def engine(said: Callable[[int], str] | str = "yes", tokenizer=PLAIN) -> ScriptedEngine:
    """Says the same, or what belongs to the number of the turn."""

    def writes(request):
        text = said(request.key[-1]) if callable(said) else said
        return [*tokenizer.encode(text), END]

    served = ScriptedEngine(writes, version=3)
    served.prompts = []
    inner = served._complete

    def noted(request):
        served.prompts.append(list(request.prompt_ids))
        return inner(request)

    served._complete = noted
    return served


def session(served, tokenizer=PLAIN, **limits) -> Session:
    """An attempt on that engine."""
    policy = Policy(
        generate=served.generate,
        renderer=renderer(tokenizer, "chat"),
        reader=reader_of("hermes"),
        limits=replace(LIMITS, **limits),
        seed=1,
        key=(7, 2, 0),
    )
    return Session(TASK, policy)


@asynccontextmanager
async def client_of(address: Address):
    """Speaks HTTP with the attempt's key."""
    headers = {"Authorization": f"Bearer {address.key}"}
    async with httpx.AsyncClient(
        base_url=address.base_url, headers=headers, verify=False, timeout=60
    ) as client:
        yield client


@asynccontextmanager
async def asking(attempt: Session):
    """A function that asks for a chat, and gives status and body."""
    async with Addresses().opened(attempt) as address, client_of(address) as client:

        async def ask(messages, path="/chat/completions", **more):
            body = {"model": address.model, "messages": messages, **more}
            got = await client.post(path, json=body)
            return got.status_code, got.json()

        ask.client, ask.address = client, address
        yield ask


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(body) -> dict:
    """The assistant's message, as most agents send it back."""
    return body["choices"][0]["message"]


def text_of(ids, tokenizer=PLAIN) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)


class Agent(AgentRun):
    """Runs a function at one task."""

    budget = AgentRun.budget.model_copy(update={"start_s": 5.0, "reply_s": 5.0})

    def __init__(self, agent):
        self.agent = agent

    def tasks(self, split):
        return [TASK]

    async def run(self, task, address):
        return await self.agent(address)


def worker(served, environment, **config) -> ProblemWorker:
    """Plays the environment's one task."""
    config = {"group_size": 4, "num_early": 2, "retries": 1, "top_p": 0.9} | config
    return ProblemWorker(
        served,
        {"arithmetic": environment}.__getitem__,
        PLAIN,
        RolloutConfig(**config),
        RewardsConfig(),
        seed=1,
        max_context=1000,
    )


async def chat(address: Address, *messages, **more):
    """One request of an agent's own; the body, which may be an error."""
    async with client_of(address) as client:
        body = {"model": address.model, "messages": list(messages), **more}
        got = await client.post("/chat/completions", json=body)
        return json.loads(got.content)
