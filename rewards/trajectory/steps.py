"""A transcript as turns of the agent's, each with its calls and what came of them.

Takes messages as `munro.envs.data.transcripts` writes them, or as the OpenAI API has them. The
agent's turns are numbered from 1; what was said before the first of them, and examples that are
marked as `given`, are the opening.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
FAILED = ("error", "traceback (most recent call last)")
"""How answers begin that say of themselves that a call failed."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of a tool.

    Example:
        Call(name="bash", arguments='{"command": "ls"}', answer="a.py")
    """

    name: str
    arguments: str
    """JSON as the model wrote it: hostile."""
    id: str = ""
    answer: str | None = None
    """What the tool said; None where nothing came."""
    error: str = ""
    """Why it failed, where somebody says so."""

    @property
    def is_ok(self) -> bool:
        """It was answered, and nothing says that it failed."""
        if self.error or self.answer is None:
            return False
        return not self.answer.lstrip()[:40].lower().startswith(FAILED)


@dataclass(slots=True, kw_only=True)
class Turn:
    """One turn of the agent's."""

    number: int
    says: str = ""
    thinks: str = ""
    calls: list[Call] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    """What was said to it before its next turn and answers no call."""


@dataclass(slots=True, kw_only=True)
class Transcript:
    """All of an attempt.

    Example:
        transcript_of([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}])
    """

    opening: list[tuple[str, str]]
    """(role, text) of what came before the agent's first turn."""
    turns: list[Turn]

    @property
    def calls(self) -> list[Call]:
        """Every call, in order."""
        return [call for turn in self.turns for call in turn.calls]

    @property
    def last(self) -> str:
        """What the agent said at the end."""
        return self.turns[-1].says if self.turns else ""

    @property
    def said(self) -> str:
        """All that the agent said, without its calls."""
        return "\n".join(turn.says for turn in self.turns)

    @property
    def done(self) -> str:
        """All that the agent handed to tools."""
        return "\n".join(_plain(call.arguments) for call in self.calls)


def transcript_of(messages: Any, calls: Sequence[Mapping[str, Any]] = ()) -> Transcript:
    """A transcript from messages.

    Args:
        messages: of the whole attempt, opening and all.
        calls: the record of its calls, where there is one: it knows which of them failed.

    Raises:
        ValueError: they are something else, or there are none; names the message.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError("'transcript' is empty: give the messages of the attempt, all of them")
    found = Transcript(opening=[], turns=[])
    for number, message in enumerate(messages, 1):
        try:
            _enter(found, message)
        except ValueError as error:
            raise ValueError(f"message {number} of 'transcript' {error}") from None
    errors = {
        str(each.get("id")): str(each.get("error") or "failed")
        for each in calls
        if isinstance(each, Mapping) and each.get("ok") is False
    }
    for call in found.calls:
        if call.id and not call.error:
            call.error = errors.get(call.id, "")
    return found


def _enter(found: Transcript, message: Any) -> None:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role not in ROLES:
        raise ValueError(f"is no {{role, content}} with a role of {', '.join(ROLES)}")
    text = _text(message.get("content"))
    if role == "assistant" and not message.get("given"):
        thinks = _text(message.get("reasoning") or message.get("reasoning_content"))
        made = [_call(each) for each in _list(message.get("tool_calls"))]
        number = len(found.turns) + 1
        found.turns.append(Turn(number=number, says=text, thinks=thinks, calls=made))
    elif not found.turns:
        written = [f"[calls {call.name}]" for call in map(_call, _list(message.get("tool_calls")))]
        found.opening.append((role, "\n".join(filter(None, [text, *written]))))
    elif role == "tool" and (call := _answered(found, message.get("tool_call_id"))) is not None:
        call.answer = text
    else:
        found.turns[-1].heard.append(text)


def _answered(found: Transcript, called: Any) -> Call | None:
    """The call that an answer is to: by its id, or the first of this turn that has none yet."""
    turn = found.turns[-1]
    for call in turn.calls:
        if call.answer is None and (not called or call.id == called):
            return call
    return None


def _call(made: Any) -> Call:
    if not isinstance(made, Mapping):
        raise ValueError("has a call that is no object")
    inner = made.get("function", made)
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str):
        raise ValueError("has a call without the name of a tool")
    arguments = inner.get("arguments", "")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return Call(
        name=name,
        arguments=arguments,
        id=str(made.get("id") or ""),
        error=str(made.get("error") or ""),
    )


def _list(value: Any) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError("has tool_calls that are no list")
    return value


def _text(content: Any) -> str:
    """A text, or the texts of a list of parts."""
    if content is None:
        return ""
    if isinstance(content, list | tuple):
        texts = [each.get("text") if isinstance(each, Mapping) else None for each in content]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("has content that is no text")
        return "".join(map(str, texts))
    if not isinstance(content, str):
        raise ValueError("has content that is no text")
    return content


def _plain(arguments: str) -> str:
    """Arguments as text to look for signs in: line ends as such, not as JSON writes them."""
    return arguments.replace("\\n", "\n").replace('\\"', '"').replace("\\t", "\t")
