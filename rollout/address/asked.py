"""What an agent asks for: read from a request's JSON, and refused where it cannot be had.

How tokens are drawn is the climb's own matter: a temperature, say, is taken note of and overruled.
What would change the shape of the answer (several at once, log-probabilities, stop texts, a forced
call or form) is refused, for an agent that did not get it would go wrong later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from munro.envs.tool_use import is_text
from munro.envs.types import Message, ToolCall
from munro.rollout.address.errors import Refused, wrong

Json = Mapping[str, Any]

OVERRULED = (
    "temperature", "top_p", "top_k", "min_p", "seed",
    "presence_penalty", "frequency_penalty", "repetition_penalty",
)  # fmt: skip
"""How tokens are drawn: as the climb draws them, whatever is asked."""
REFUSED = (
    "logprobs", "top_logprobs", "logit_bias", "stop", "functions", "function_call",
    "audio", "prediction", "background", "conversation", "prompt",
)  # fmt: skip
"""What is not to be had, unless it is asked for as nothing."""
ROLES = {"developer": "system"}
TEXTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One turn that an agent wants."""

    messages: tuple[Message, ...]
    tools: tuple[Json, ...] = ()
    """In the OpenAI shape."""
    max_tokens: int | None = None
    overruled: tuple[str, ...] = ()
    """Keys that were given and do not hold."""
    streams: bool = False
    tells_usage: bool = False
    """A stream ends with what was used."""


def chat_of(body: Json, model: str) -> Asked:
    """A request to /v1/chat/completions.

    Raises:
        Refused: it asks for what cannot be had, or is none.
    """
    refuse_unknown(body, model)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages must be a list of at least one message", "messages")
    options = body.get("stream_options")
    return Asked(
        messages=tuple(message_of(one, f"messages[{at}]") for at, one in enumerate(messages)),
        tools=tools_of(body),
        max_tokens=length_of(body, "max_completion_tokens", "max_tokens"),
        overruled=overruled_in(body),
        streams=body.get("stream") is True,
        tells_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
    )


def refuse_unknown(body: Json, model: str) -> None:
    """Raise unless the request can be answered at all."""
    if body.get("model") != model:
        raise Refused(
            404,
            f"the model {body.get('model')!r:.80} does not exist here: the policy is {model!r}",
            code="model_not_found",
            param="model",
        )
    if body.get("n") not in (None, 1):
        raise wrong("n must be 1: ask again for another answer", "n", "unsupported_value")
    for key in REFUSED:
        if body.get(key):
            raise wrong(f"{key} is not to be had here", key, "unsupported_parameter")
    text = body.get("text")
    form = body.get("response_format") or (text if isinstance(text, Mapping) else {}).get("format")
    form = form or {}
    if not isinstance(form, Mapping) or form.get("type", "text") != "text":
        raise wrong(
            "response_format: the policy's tokens are not held to a form; ask for it in words",
            "response_format",
            "unsupported_parameter",
        )
    if body.get("modalities") not in (None, ["text"]):
        raise wrong("modalities must be text alone", "modalities", "unsupported_value")


def overruled_in(body: Json) -> tuple[str, ...]:
    """What was asked about the drawing of tokens."""
    return tuple(key for key in OVERRULED if body.get(key) is not None)


def length_of(body: Json, *keys: str) -> int | None:
    """The first of these that is given."""
    for key in keys:
        value = body.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise wrong(f"{key} must be a number of tokens, at least 1", key)
        return value
    return None


def tools_of(body: Json) -> tuple[Json, ...]:
    """The tools that may be called: none where the choice says so."""
    choice = body.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise wrong(
            "tool_choice must be auto or none: the policy is not forced to call",
            "tool_choice",
            "unsupported_value",
        )
    given = body.get("tools") or []
    if not isinstance(given, list):
        raise wrong("tools must be a list", "tools")
    if choice == "none":
        return ()
    return tuple(_tool(one, f"tools[{at}]") for at, one in enumerate(given))


def _tool(one: Any, where: str) -> Json:
    if not isinstance(one, Mapping) or one.get("type", "function") != "function":
        raise wrong(f"{where}: a tool here is a function", where, "unsupported_value")
    function = one.get("function")
    if function is None:  # the flat shape of /v1/responses
        function = {key: one[key] for key in ("name", "description", "parameters") if key in one}
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise wrong(f"{where}: a function has a name", where)
    kept = {key: value for key, value in function.items() if key != "strict" and value is not None}
    if not is_text([str(kept)]):
        raise wrong(f"{where} holds half a character", where)
    return {"type": "function", "function": kept}


def message_of(one: Any, where: str) -> Message:
    """One message of a conversation.

    Raises:
        Refused: it is none, or holds more than text.
    """
    if not isinstance(one, Mapping):
        raise wrong(f"{where} is no message", where)
    role = ROLES.get(str(one.get("role")), one.get("role"))
    if role not in ("system", "user", "assistant", "tool"):
        raise wrong(f"{where}.role is {one.get('role')!r:.40}", where)
    calls = one.get("tool_calls") or []
    if not isinstance(calls, list) or (calls and role != "assistant"):
        raise wrong(f"{where}.tool_calls: a list, of the assistant's", where)
    return Message(
        role=role,
        content=text_of(one.get("content"), f"{where}.content"),
        reasoning=_whole(one.get("reasoning_content") or one.get("reasoning") or "", where),
        tool_calls=tuple(_call(made, f"{where}.tool_calls[{at}]") for at, made in enumerate(calls)),
        tool_call_id=_whole(one.get("tool_call_id") or "", where) if role == "tool" else "",
    )


def _call(made: Any, where: str) -> ToolCall:
    function = made.get("function") if isinstance(made, Mapping) else None
    if not isinstance(function, Mapping):
        raise wrong(f"{where} calls no function", where)
    return ToolCall(
        id=_whole(made.get("id") or "", where),
        name=_whole(function.get("name"), where),
        arguments=_whole(function.get("arguments") or "{}", where),
    )


def text_of(content: Any, where: str) -> str:
    """A content's text, which is all that it may hold."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _whole(content, where)
    if not isinstance(content, list):
        raise wrong(f"{where} must be a text, or a list of parts", where)
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else type(part).__name__
        if kind == "refusal":
            texts.append(_whole(part.get("refusal"), where))
        elif kind in TEXTS:
            texts.append(_whole(part.get("text"), where))
        else:
            raise wrong(
                f"{where} holds {kind!r:.40}: the policy reads text alone",
                where,
                "unsupported_content",
            )
    return "\n".join(texts)


def _whole(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise wrong(f"{where} must be a text, and is {type(text).__name__}", where)
    if not is_text([text]):
        raise wrong(f"{where} holds half a character", where)
    return text
