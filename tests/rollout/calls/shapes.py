"""What a policy may write where it calls a tool, in the form of each family.

well      one call
parallel  two calls of one turn; a family that has no way to write two writes them in a row
malformed the call's arguments cannot be read
thought   a call inside of a thought, and an answer after it
unclosed  the turn ends in the middle of the call
"""

# ruff: noqa: RUF001 - the families' tokens as they were published

from __future__ import annotations

import json
from typing import Any

BERN: dict[str, Any] = {"city": "Bern", "days": 2}
BASEL: dict[str, Any] = {"city": "Basel", "days": 3}
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of some days.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    },
)
SHAPES = ("well", "parallel", "malformed", "thought", "unclosed")
THINK = ("<think>\n", "\n</think>\n\n")
THOUGHTS = {
    "mistral": ("[THINK]", "[/THINK]"),
    "harmony": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
}
ANSWER = {"harmony": "<|channel|>final<|message|>It is sunny."}


def written(family: str, shape: str) -> str:
    """The text of a turn."""
    if shape == "thought":
        opens, closes = THOUGHTS.get(family, THINK)
        return f"{opens}I could {_call(family, BERN)}{closes}{ANSWER.get(family, 'It is sunny.')}"
    if shape == "well":
        return _call(family, BERN)
    if shape == "parallel":
        return _two(family)
    if shape == "unclosed":
        whole = _call(family, BERN)
        return whole[: whole.index("2")]
    return _malformed(family)


def _json(given: dict[str, Any]) -> str:
    return json.dumps(given)


def _call(family: str, given: dict[str, Any], number: int = 0) -> str:
    body = _json(given)
    match family:
        case "hermes":
            return f'<tool_call>\n{{"name": "weather", "arguments": {body}}}\n</tool_call>'
        case "qwen_xml":
            told = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in given.items())
            return f"<tool_call>\n<function=weather>\n{told}</function>\n</tool_call>"
        case "glm":
            told = "".join(
                f"<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>\n" for k, v in given.items()
            )
            return f"<tool_call>weather\n{told}</tool_call>"
        case "llama_json":
            return f'{{"name": "weather", "parameters": {body}}}'
        case "mistral":
            return f'[TOOL_CALLS] [{{"name": "weather", "arguments": {body}}}]'
        case "pythonic":
            return f'[weather(city="{given["city"]}", days={given["days"]})]'
        case "deepseek":
            return f"<｜tool▁calls▁begin｜>{_deepseek(body)}<｜tool▁calls▁end｜>"
        case "kimi":
            return f"<|tool_calls_section_begin|>{_kimi(body, number)}<|tool_calls_section_end|>"
    assert family == "harmony"
    return f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{body}"


def _deepseek(body: str) -> str:
    return (
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
        f"{body}\n```<｜tool▁call▁end｜>"
    )


def _kimi(body: str, number: int) -> str:
    return (
        f"<|tool_call_begin|>functions.weather:{number}"
        f"<|tool_call_argument_begin|>{body}<|tool_call_end|>"
    )


def _two(family: str) -> str:
    one, two = _json(BERN), _json(BASEL)
    match family:
        case "llama_json":
            return f"{_call(family, BERN)}; {_call(family, BASEL)}"
        case "mistral":
            both = ", ".join(f'{{"name": "weather", "arguments": {body}}}' for body in (one, two))
            return f"[TOOL_CALLS] [{both}]"
        case "pythonic":
            return f"[{_call(family, BERN)[1:-1]}, {_call(family, BASEL)[1:-1]}]"
        case "deepseek":
            both = "\n".join(_deepseek(body) for body in (one, two))
            return f"<｜tool▁calls▁begin｜>{both}<｜tool▁calls▁end｜>"
        case "kimi":
            both = _kimi(one, 0) + _kimi(two, 1)
            return f"<|tool_calls_section_begin|>{both}<|tool_calls_section_end|>"
        case "harmony":
            return f"{_call(family, BERN)}<|call|><|start|>assistant{_call(family, BASEL)}"
    return f"{_call(family, BERN)}\n{_call(family, BASEL)}"


def _malformed(family: str) -> str:
    whole = _call(family, BERN)
    match family:
        case "qwen_xml":
            return whole.replace("</parameter>\n</function>", "</function>")
        case "glm":
            return whole.replace("<arg_value>2</arg_value>\n", "")
        case "pythonic":
            return whole.replace("days=2", "days=2 +")
    return whole.replace('"days": 2', '"days": two')
