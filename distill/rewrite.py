"""Traces as lessons: the sampled tokens as they are, or the conversation told anew.

A climb may begin in a raw-text template and go on in the model's chat format (MAI-Thinking-1
report, section 3.1.5), or move to a base with another tokenizer; then the same words are written
with other tokens. What the policy wrote is never changed, except that a thought which the old
template had opened for it is opened by itself where the new one does not, and that calls of tools
are written in the form of the new template's family.

A conversation is one lesson; where its template rewrites earlier turns, it is one for each way in
which they were read, and every turn is learned once, after what it had read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.shards.packing import Lesson
from munro.distill.sources import CannotDistill
from munro.distill.traces import Trace
from munro.envs.types import Ending, Message
from munro.rollout.branches import Forks, Tree, branches
from munro.rollout.calls import Reader, any_reader, reader_of
from munro.rollout.render import BadTemplate, Renderer, renderer, used

Template = Literal["chat", "r1_zero", "plain"]
TEMPLATES: tuple[Template, ...] = ("chat", "r1_zero", "plain")
OPEN, CLOSE = "<think>", "</think>"
MOST_DATE, LEAST_END = 12, 4
"""Tokens in which openings of one template may differ, as by a date, and that end them alike."""


class Teller:
    """Makes lessons for one tokenizer.

    Args:
        tokenizer: of the base.
        template: "keep" for the sampled tokens as they are.
        base: what to call the base in an error.
        vocabulary: tokens that its weights know; a tokenizer may name fewer.
        args: what the run's chat template was told; what this one does not use is left out.

    Raises (when made):
        CannotDistill: the tokenizer lacks what the template needs.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: Literal["keep"] | Template,
        base: str,
        vocabulary: int,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        self._tokenizer, self._base, self._vocabulary = tokenizer, base, vocabulary
        self._new: Renderer | None = None
        self._reader = any_reader()
        args = used(tokenizer, args or {})
        if template != "keep":
            chat = tokenizer if template == "chat" else None
            self._reader = reader_of("auto", chat)
            try:
                self._new = renderer(tokenizer, template, args)
            except ValueError as error:
                raise CannotDistill(
                    f"{base} has another template: {error} Set template to one that it has."
                ) from error
        self._known = [
            renderer(tokenizer, one, args)
            for one in TEMPLATES
            if one != "chat" or tokenizer.chat_template
        ]

    def lessons(self, trace: Trace) -> list[Lesson]:
        """What is to be learned from a trace, all of its conversation.

        Raises:
            CannotDistill: the tokens are kept, but they are not this tokenizer's.
        """
        if self._new is None or self._is_in(trace, self._new):
            self._refuse_foreign(trace)
            return as_lessons(trace.token_ids, trace.sampled, trace.forks)
        return told_anew(trace, self._new, self._encode, self._reader)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _refuse_foreign(self, trace: Trace) -> None:
        if trace.token_ids.max(initial=0) < self._vocabulary and any(
            self._is_in(trace, known) for known in self._known
        ):
            return
        raise CannotDistill(
            f"{self._base} has another vocabulary or template than the run: it would not write "
            f'the tokens of trace {trace.name}. Set template = "chat" (or "plain", "r1_zero") to '
            "tell the traces anew for it."
        )

    def _is_in(self, trace: Trace, known: Renderer) -> bool:
        """Whether the trace is what this template and tokenizer make of the conversation."""
        sampled = np.flatnonzero(trace.sampled)
        begin = int(sampled[0]) if sampled.size else len(trace.token_ids)
        try:
            opening = known.opening(trace.opening, trace.task["tools"])
        except BadTemplate:  # it could not have shown this at all, the tools say
            return False
        if not _are_alike(opening, trace.token_ids[:begin].tolist()):
            return False
        if len(trace.messages) > 1 or not sampled.size:
            return True
        before, turn = trace.token_ids[:begin].tolist(), trace.token_ids[begin:]
        # runs of before said nothing of the thought that their template had opened
        return trace.reply in {known.said(turn, before), known.text(turn)}


def _are_alike(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two openings are the same, but for a date that a chat template put in."""
    prefix = _common(one, other)
    if prefix == len(one) == len(other):
        return True
    suffix = _common(one[prefix:][::-1], other[prefix:][::-1])
    different = max(len(one), len(other)) - prefix - suffix
    return prefix > 0 and suffix >= LEAST_END and different <= MOST_DATE


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with."""
    for place, (ours, theirs) in enumerate(zip(one, other, strict=False)):
        if ours != theirs:
            return place
    return min(len(one), len(other))


def as_lessons(
    token_ids: NDArray[np.int32], sampled: NDArray[np.bool_], forks: Forks
) -> list[Lesson]:
    """One, with all of its tokens, or as many as there are branches."""
    if not forks:
        return [Lesson(token_ids.tolist(), sampled.tolist())]
    return [
        Lesson(token_ids[one.tokens].tolist(), one.own.tolist()) for one in branches(sampled, forks)
    ]


def told_anew(
    trace: Trace, new: Renderer, encode: Callable[[str], list[int]], reader: Reader | None = None
) -> list[Lesson]:
    """The trace's conversation in another template; learned is what the policy wrote in it.

    A turn ends with the template's own last token, unless a limit had cut it short.

    Args:
        trace: as stored.
        new: the template, on the tokenizer that reads it.
        encode: that tokenizer, with nothing added.
        reader: of the calls that the template's family writes; calls stay as they are without.
    """
    tools = trace.task["tools"]
    tree, learned = Tree(), [np.zeros(0, np.bool_)]

    def grown(is_learned: bool) -> None:
        learned.append(np.full(tree.num_tokens - sum(map(len, learned)), is_learned))

    tree.append(new.opening(trace.opening, tools))
    grown(False)
    told: list[Message] = [*trace.opening]
    written: dict[int, list[int]] = {}
    turns = list(_turns(trace.messages))
    for number, (turn, observations) in enumerate(turns):
        ids = encode(_thinking(_in_form(turn, reader, tools), new, tree.current.tolist()))
        if number + 1 < len(turns) or trace.ending == Ending.ANSWERED:
            ids += new.stop_token_ids[-1:]
        tree.append(ids)
        grown(True)
        written[len(told)] = ids
        told.append(turn)
        if observations and number + 1 < len(turns):
            history = new.reread(told, observations, turns=written, tools=tools)
            if history is not None:
                tree.turn_to(history)
            last = int(tree.current[-1]) if tree.num_tokens else -1
            tree.append(new.observed(told, observations, last_token=last, tools=tools))
            grown(False)
            told += observations
    return as_lessons(tree.token_ids, np.concatenate(learned), tuple(tree.forks))


def _in_form(turn: Message, reader: Reader | None, tools: Sequence[Any]) -> str:
    """The turn's text, its calls in the form of the family that shall learn them.

    Where no template says which family that is, where a call could not be read, and where the
    family reads the calls as they are, the text stays.
    """
    if reader is None or not reader.is_sure or not turn.raw or not turn.tool_calls:
        return turn.text
    if any(call.error for call in turn.tool_calls):
        return turn.text
    again = reader.read(turn.raw, turn=0, tools=tools)
    if [call.name for call in again] == [call.name for call in turn.tool_calls]:
        return turn.text
    return reader.family.turn(turn) or turn.text


def _turns(messages: Iterable[Message]) -> Iterable[tuple[Message, list[Message]]]:
    """Each policy turn with the observations that follow it."""
    turn: tuple[Message, list[Message]] | None = None
    for message in messages:
        if message.role == "assistant":
            if turn is not None:
                yield turn
            turn = (message, [])
        elif turn is not None:
            turn[1].append(message)
    if turn is not None:
        yield turn


def _thinking(text: str, new: Renderer, before: list[int]) -> str:
    """The turn's text, its thought opened once: by the template that precedes it or by itself."""
    opened = new.text(np.array(before[-16:], np.int32)).rstrip().endswith(OPEN)
    opens_itself = text.lstrip().startswith(OPEN)
    was_opened = CLOSE in text and OPEN not in text[: text.index(CLOSE)]
    if was_opened and not opened:
        return OPEN + text
    if opens_itself and opened:
        return text.lstrip().removeprefix(OPEN)
    return text
