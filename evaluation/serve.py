"""An OpenAI address on a checkpoint, whose prompts are token for token those of a climb.

The server is the one that judges have (`rewards/serving`), told the climb's template, its ends of
turns and its sampling. Before anybody may ask it, it is asked itself: what it makes of a dozen
conversations must be what the climb makes of them.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from munro.envs.types import Message
from munro.evaluation import templates
from munro.evaluation.templates import Conversation, Template
from munro.rewards.errors import PolicyError
from munro.rewards.serving import server as serving
from munro.rewards.serving.config import JudgeServerConfig
from munro.rollout.render import BadTemplate, Renderer

TIMEOUT_S = 60.0


class NotTheClimbs(PolicyError):
    """An address whose prompts are not the climb's; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a model answers.

    Example:
        Address(base_url="http://127.0.0.1:8000/v1", model="step-40", key="...")
    """

    base_url: str
    model: str
    """Its name there."""
    key: str = field(default="", repr=False)
    checkpoint: str = ""
    """The folder that is served, as given."""
    notes: tuple[str, ...] = ()
    """What a person should know of its prompts."""
    server: Any = field(default=None, repr=False, compare=False)
    """`munro.rewards.serving.server.JudgeServer` where it was started here."""

    @property
    def is_alive(self) -> bool:
        """Whether it answers still, as far as is known here."""
        return self.server is None or not serving.is_gone(self.server)


@contextmanager
def served(
    checkpoint: Path,
    *,
    template: Template,
    args: Mapping[str, Any] | None = None,
    sampling: Mapping[str, float] | None = None,
    port: int = 0,
    logs: str = "",
    config: JudgeServerConfig | None = None,
) -> Iterator[Address]:
    """Serve a checkpoint for as long as the context lasts, on loopback, to who has the key.

    Args:
        checkpoint: folder.
        template: whose prompts it is to have.
        args: what a chat template is told.
        sampling: for requests that do not say: temperature, top_p.
        port: to listen on; 0 takes a free one.
        logs: folder for the server's log; empty takes the working directory.
        config: sizes of the server.

    Raises:
        BadTemplate: the template cannot be told to a server.
        GraderError: it did not come up.
        NotTheClimbs: it came up, and its prompts differ.
        PolicyError: it is an adapter.
    """
    if (checkpoint / "adapter_config.json").is_file():
        raise PolicyError(
            f"{checkpoint} holds an adapter, and a checkpoint is served whole: munro merge "
            f"{checkpoint} OUT makes a whole model of it and its base."
        )
    with templates.made(checkpoint, template, args or {}, sampling or {}) as made:
        told = config or JudgeServerConfig()
        arguments = [
            *("--tokenizer", str(made.folder)),
            *("--chat-template", str(made.template_file)),
            # a climb's messages are texts, and its templates are given texts
            *("--chat-template-content-format", "string"),
            *("--generation-config", str(made.folder)),
        ]
        told = told.model_copy(update={"extra_args": (*arguments, *told.extra_args)})
        name = name_of(checkpoint)
        server = serving.acquire(str(checkpoint), told, logs=logs or ".", name=name, port=port)
        try:
            address = Address(
                base_url=server.base_url,
                model=name,
                key=server.key,
                checkpoint=str(checkpoint),
                notes=made.notes,
                server=server,
            )
            require_same(address, made.renderer, templates.PLAIN_TEXTS)
            if not made.refuses:
                require_same(address, made.renderer, templates.hostile(made.live))
            yield address
        finally:
            serving.release(server)


def name_of(checkpoint: Path) -> str:
    """What a served checkpoint is called at its address."""
    return re.sub(r"[^\w.-]", "_", checkpoint.name) or "model"


def until_it_ends(address: Address, *, poll_s: float = 1.0) -> None:
    """Wait for a server that was started here to end; Ctrl-C ends the waiting.

    Raises:
        PolicyError: it ended by itself, and why.
    """
    while address.server.is_alive:
        time.sleep(poll_s)
    raise PolicyError(address.server.obituary())


def require_same(
    address: Address, renderer: Renderer, conversations: Sequence[Conversation]
) -> int:
    """Ask an address for the tokens of conversations, and compare with the climb's.

    Returns:
        How many were compared: what the climb's template refuses nobody asks.

    Raises:
        NotTheClimbs: tokens differ, or the address refuses a conversation.
    """
    num_compared = 0
    for messages, tools in conversations:
        try:
            ours = renderer.opening(messages, tools)
        except BadTemplate:
            continue
        theirs = tokens_of(address, messages, tools)
        if theirs != ours:
            raise NotTheClimbs(
                f"{address.base_url} makes other tokens of {messages[-1].content[:60]!r} than the "
                f"climb: {theirs[:12]}... of {len(theirs)}, not {ours[:12]}... of {len(ours)}."
            )
        num_compared += 1
    return num_compared


def tokens_of(
    address: Address, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
) -> list[int]:
    """The prompt that an address makes of a conversation.

    Raises:
        NotTheClimbs: it refuses, or does not answer.
    """
    body: dict[str, Any] = {"model": address.model, "messages": [as_openai(m) for m in messages]}
    if tools:
        body["tools"] = [dict(tool) for tool in tools]
    status, told = post(address, "/tokenize", body)
    if status != 200 or not isinstance(told.get("tokens"), list):
        said = " ".join(json.dumps(told.get("error", told)).split())[:300]
        raise NotTheClimbs(
            f"{address.base_url} gives no tokens of {messages[-1].content[:60]!r} ({status}): "
            f"{said}"
        )
    return [int(token) for token in told["tokens"]]


def as_openai(message: Message) -> dict[str, Any]:
    """A message as it goes over the wire."""
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        told["reasoning"] = message.reasoning
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    return told


def post(address: Address, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """One request; the status, 0 where there was no answer, and what was told."""
    parts = urlsplit(address.base_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {address.key}"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        told = json.loads(response.read())
        return response.status, told if isinstance(told, dict) else {"error": told}
    except (OSError, http.client.HTTPException, ValueError) as failure:
        return 0, {"error": str(failure) or type(failure).__name__}
    finally:
        connection.close()
