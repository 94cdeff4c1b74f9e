"""How families of models write a call of a tool in their own text, and how it is read.

    reader = reader_of("auto", tokenizer)         the family whose marks the chat template holds
    reader.message("<think>...", turn=3)          what was thought, what was called, what was said

One file a family, found by its name; a family of your own by its path or an entry point of the
group `munro.calls`. What a model thinks is no call. A call in another family's form is answered
with the form that would be understood, so that it is never mistaken for a final answer; where no
template says which family it is, every family's calls are carried out.
"""

from __future__ import annotations

import inspect
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from munro.envs.thoughts import THINK, parted
from munro.envs.tool_use import HALVES, is_text
from munro.envs.types import Message, ToolCall
from munro.rewards.plugins import Registry

Tools = Sequence[Mapping[str, Any]]
"""JSON schemas in the OpenAI shape."""


class Family(ABC):
    """How one family of models writes calls. A subclass alone in its file is a plug-in."""

    name: ClassVar[str]
    """For a person and for the model."""
    signs: ClassVar[tuple[str, ...]]
    """Regular expressions that are all found in the family's chat templates. Of two families whose
    signs a template holds, the one with more signs is meant."""
    form: ClassVar[str]
    """How a call is written; what the model is told where one could not be read."""
    thoughts: ClassVar[tuple[tuple[str, str], ...]] = (THINK,)
    """What opens and what closes a thought."""

    @abstractmethod
    def parse(self, text: str, tools: Tools) -> list[ToolCall]:
        """The calls in a text without thoughts, in order; none where it holds none.

        One that cannot be read is a `ToolCall` whose `error` says why. The text is hostile: read it
        in time linear in its length. Ids are given later, unless the family writes them itself.
        """

    def written(self, calls: Sequence[ToolCall]) -> str:
        """Calls as the family writes them, readable ones all; "" where it does not say how."""
        del calls
        return ""

    def turn(self, message: Message) -> str:
        """A turn with readable calls as the family writes it: thoughts, text, calls; "" as above.

        Args:
            message: as any family's turn was read.
        """
        opens, closes = self.thoughts[0]
        thought = f"{opens}\n{message.reasoning}\n{closes}\n\n" if message.reasoning else ""
        calls = self.written(message.tool_calls)
        return thought + "\n".join(filter(None, [message.content, calls])) if calls else ""

    def parted(self, text: str) -> tuple[str, str]:
        """What a turn thought, and its text outside of that."""
        return parted(text, *self.thoughts)

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:  # noqa: ARG002
        """What a person would read of a text without thoughts: the text without its calls.

        Args:
            spoken: the text.
            calls: what `parse` read in it.
        """
        return spoken


def _is_family(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Family)


FAMILIES = Registry(
    what="family of calls", group="munro.calls", home="munro.rollout.calls", fits=_is_family
)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the policy's turns."""

    family: Family
    others: tuple[Family, ...] = ()
    is_sure: bool = True
    """The template or a person says that it is this family; otherwise all families are read."""

    def message(self, text: str, *, turn: int, tools: Tools = ()) -> Message:
        """A turn of the policy as an episode sees it: thoughts, calls and the rest told apart.

        Args:
            text: all that the policy wrote in the turn, an opened thought included.
            turn: number of the turn; makes the calls' ids unique in the episode, but for families
                that write ids of their own.
            tools: what may be called.
        """
        reasoning, spoken = self.family.parted(text)
        family, calls = self._found(spoken, tools)
        content = family.said(spoken, calls)
        return Message(
            role="assistant",
            content=content if content == text else content.strip("\n"),
            reasoning=reasoning,
            # nine letters and digits, which is what the strictest templates take
            tool_calls=tuple(
                replace(call, id=call.id or f"call{turn:03d}{number:02d}")
                for number, call in enumerate(calls)
            ),
            is_sampled=True,
            raw=text,
        )

    def read(self, text: str, *, turn: int, tools: Tools = ()) -> tuple[ToolCall, ...]:
        """The calls of a turn alone; see `message`."""
        return self.message(text, turn=turn, tools=tools).tool_calls

    def _found(self, spoken: str, tools: Tools) -> tuple[Family, list[ToolCall]]:
        """What the family reads; where that is nothing good, what another one would."""
        calls = self.family.parse(spoken, tools)
        if any(not call.error for call in calls):
            return self.family, calls
        readings = [(other, other.parse(spoken, tools)) for other in self.others]
        readings = [(other, read) for other, read in readings if read]
        good = [(other, read) for other, read in readings if not any(one.error for one in read)]
        if good and not self.is_sure:
            return good[0]
        if calls and not good:
            return self.family, calls
        for other, _ in good or readings:
            return self.family, [
                unreadable(
                    f"this is a call in the form of {other.name}, which was not understood; a call "
                    f"is written {self.family.form}"
                )
            ]
        return self.family, []


def reader_of(name: str, tokenizer: Any = None) -> Reader:
    """The reader of `rollout.calls`.

    Args:
        name: a family, a path to one, or "auto": the one that the chat template is written for.
        tokenizer: whose template it is.

    Raises:
        BadPlugin: there is no such family.
    """
    families = sorted(
        (FAMILIES.find(each) for each in FAMILIES.names()),
        key=lambda family: (-len(family.signs), family.name),
    )
    template = str(getattr(tokenizer, "chat_template", None) or "")
    chosen = FAMILIES.find(name) if name != "auto" else _written_for(template, families)
    known = chosen or FAMILIES.find("hermes")
    others = tuple(family() for family in families if family is not known)
    return Reader(known(), others, is_sure=chosen is not None)


@cache
def any_reader() -> Reader:
    """The reader of a policy whose template nobody knows: one for all, as families are looked up
    among everything that is installed."""
    return reader_of("auto")


def _written_for(template: str, families: Sequence[type[Family]]) -> type[Family] | None:
    for family in families:
        if all(re.search(sign, template) for sign in family.signs):
            return family
    return None


def call(name: Any, arguments: Any, form: str) -> ToolCall:
    """A call out of JSON, or why it is none."""
    if not isinstance(name, str) or not name.strip() or not isinstance(arguments, dict):
        return unreadable(f"a call is written {form}")
    if not is_text([name, arguments]):
        return unreadable(HALVES)
    return ToolCall(id="", name=name.strip(), arguments=json.dumps(arguments))


def unreadable(why: str) -> ToolCall:
    """A call that could not be read, and what the model is told."""
    return ToolCall(id="", name="", arguments="", error=why)


def not_json(error: Exception, form: str) -> ToolCall:
    """A call whose JSON is none."""
    return unreadable(f"the call is not JSON ({str(error)[:100]}); a call is written {form}")


def given(call: ToolCall) -> dict[str, Any]:
    """A readable call's arguments; none where they are no JSON object."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}
