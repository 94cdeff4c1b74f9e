"""The tokenizer's own chat template: nothing dropped in silence, nothing said twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from munro.envs.types import Message
from munro.rollout.render.base import BadTemplate, Renderer
from munro.rollout.render.inert import texts_in
from munro.rollout.render.rewriting import (
    END,
    OPEN,
    Form,
    Rewritten,
    Turn,
    Turns,
    framed,
    is_kept,
    put_together,
)

# what a template does to texts that it was not made for
REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError)


class Chat(Renderer):
    """The tokenizer's chat template.

    Raises:
        BadTemplate: the tokenizer has none.
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer)
        if not tokenizer.chat_template:
            raise BadTemplate(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, which "
                'rollout.template = "chat" needs. Set rollout.template = "r1_zero" (a base model '
                'that shall reason) or "plain", or give the tokenizer a chat template.'
            )
        self._name = f"the chat template of {tokenizer.name_or_path!r}"
        self._shown: set[tuple[Any, ...]] = set()
        """Kinds of conversations of which all is shown."""
        self._opens = self._invites().rstrip().endswith(OPEN)
        """A prompt ends by opening a thought."""
        end = self._end_of_turn()
        if end is not None:
            self._stop_at(end)

    def opening(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """See `Renderer.opening`."""
        forms = [_chat_form(message) for message in messages]
        self._refuse_dropped(forms, 0, tools)
        text, mark = self._inert_text(forms, tools)
        self._refuse_hidden(tools, text)
        return self._encode(text, mark)

    def observed(
        self,
        messages: Sequence[Message],
        observations: Sequence[Message],
        *,
        last_token: int,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """See `Renderer.observed`."""
        shown = self._shown_to(messages, observations, tools)
        if shown.last not in shown.text:
            raise BadTemplate(self._rewrites("does not show what the policy said"))
        ids = self._encode(
            shown.text[shown.text.rindex(shown.last) + len(shown.last) :], shown.mark
        )
        return ids[1:] if ids and ids[0] == last_token else ids

    def reread(
        self,
        messages: Sequence[Message],
        observations: Sequence[Message],
        *,
        turns: Turns,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int] | None:
        """See `Renderer.reread`."""
        written = {
            place: Turn.of(self._unended(ids), self._decode, self._encode_inert)
            for place, ids in turns.items()
        }
        shown = self._shown_to(messages, observations, tools, written)
        place = len(messages) - 1
        begun, before = (
            self._rendered(shown.forms[:place], tools, shown.mark, shown.words, written, start)
            for start in (True, False)
        )
        # some templates end a conversation that nobody is invited to go on with
        before = before if begun.startswith(before) else begun
        if is_kept(before, begun[len(before) :], shown.text, shown.last, written[place]):
            return None
        try:
            return put_together(
                shown.text, shown.words, written, lambda text: self._encode(text, shown.mark)
            )
        except Rewritten:
            reason = "rewrites earlier turns so that it does not show each of them once, in order"
            raise BadTemplate(self._rewrites(reason)) from None

    def _rewrites(self, what: str) -> str:
        return (
            f"{self._name} {what}, so the policy could not go on from it. Set rollout.max_turns = "
            "1, or choose another rollout.template."
        )

    def _shown_to(
        self,
        messages: Sequence[Message],
        observations: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        turns: Mapping[int, Turn] | None = None,
    ) -> _Shown:
        """The conversation through the template, words in place of what the policy wrote."""
        forms, words = _marked(messages, observations, turns)
        try:
            self._refuse_dropped(forms, len(messages), tools)
            return self._told(forms, words, tools, turns)
        except BadTemplate:
            # some want to see which turns called tools, to tell whose turn it is
            plain = forms
            forms, words = _marked(messages, observations, turns, with_calls=True)
            if forms == plain:
                raise
            self._refuse_dropped(forms, len(messages), tools)
            return self._told(forms, words, tools, turns)

    def _told(
        self,
        forms: list[Form],
        words: dict[int, str],
        tools: Sequence[Mapping[str, Any]],
        turns: Mapping[int, Turn] | None,
    ) -> _Shown:
        mark = self._inert.mark([text for part in (forms, tools) for text in texts_in(part)])
        text = self._rendered(forms, tools, mark, words, turns)
        return _Shown(forms, words, text, mark)

    def _rendered(
        self,
        forms: list[Form],
        tools: Sequence[Mapping[str, Any]],
        mark: str,
        words: Mapping[int, str],
        turns: Mapping[int, Turn] | None,
        start: bool = True,
    ) -> str:
        """Texts from outside broken by the mark; turns in their frames, which must not be."""
        broken = self._broken(forms, mark)
        shown = broken if turns is None else framed(broken, words, turns, opens=self._opens)
        return self._render(shown, self._broken(tools, mark), start)

    def _inert_text(self, forms: list[Form], tools: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
        """The conversation as text, and the mark that stands in its live texts from outside."""
        mark = self._inert.mark([text for part in (forms, tools) for text in texts_in(part)])
        return self._render(self._broken(forms, mark), self._broken(tools, mark)), mark

    def _broken(self, part: Sequence[Mapping[str, Any]], mark: str) -> list[Form]:
        broken: list[Form] = self._inert.broken([dict(one) for one in part], mark)
        return broken

    def _refuse_dropped(
        self, forms: list[Form], first: int, tools: Sequence[Mapping[str, Any]]
    ) -> None:
        """Raise unless the template shows every message from `first` on.

        Each text is replaced by a word that nothing else holds, so that what a template does to a
        text (trim it, say, or leave out a thought) is not taken for dropping it. Which messages are
        shown depends on their roles: looked at once for each sequence of those.
        """
        kind = (bool(tools), bool(first), *map(_kind, forms[first:]))
        if kind in self._shown:
            return
        words: dict[str, str] = {}
        probing = forms[:first] + [
            _probed(form, f"MESSAGE{place}", words) for place, form in enumerate(forms[first:])
        ]
        try:
            shown = self._render(probing, tools)
        except BadTemplate:
            # it may be at odds with the words: let the conversation itself be the judge
            shown = self._render(forms, tools)
            words = {form["content"].strip(): _called(form) for form in forms[first:]}
        for word, what in words.items():
            if word not in shown:
                raise BadTemplate(
                    f"{self._name} does not show {what}: the model would never see it. Write the "
                    "conversation with what the template knows, or choose another "
                    "rollout.template."
                )
        self._shown.add(kind)

    def _refuse_hidden(self, tools: Sequence[Mapping[str, Any]], text: str) -> None:
        """Raise unless all tools are named somewhere, by the template or by the prompt itself."""
        names = [str(tool.get("function", tool).get("name", "")) for tool in tools]
        if hidden := [name for name in names if name not in text]:
            raise BadTemplate(
                f"{self._name} does not show the tools that the task offers, and the prompt does "
                f"not name {', '.join(hidden)}: the model could not know of them. Describe them "
                "in the prompt, or use a checkpoint whose template takes tools."
            )

    def _render(
        self,
        messages: Sequence[Form],
        tools: Sequence[Mapping[str, Any]],
        start: bool = True,
    ) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages,
                tools=[dict(tool) for tool in tools] or None,
                add_generation_prompt=start,
                tokenize=False,
            )
        except REFUSALS as error:
            said = " ".join(str(error).split()) or type(error).__name__
            roles = ", ".join(message["role"] for message in messages)
            raise BadTemplate(
                f"{self._name} refuses the conversation (roles: {roles}): {said}"
            ) from error
        return text

    def _invites(self) -> str:
        """The prompt of a first turn; empty where the template wants another conversation."""
        try:
            return self._render([{"role": "user", "content": "hello"}], ())
        except BadTemplate:
            return ""

    def _end_of_turn(self) -> int | None:
        """The special token that the template puts right after a policy turn."""
        mark = "POLICYTURN"
        turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": mark}]
        try:
            text = self._render(turns, (), start=False)
        except BadTemplate:
            return None  # what it refuses is told when a task is shown to it
        after = self._encode(text[text.rindex(mark) + len(mark) :]) if mark in text else []
        special = set(self._tokenizer.all_special_ids) | set(self._tokenizer.added_tokens_decoder)
        return after[0] if after and after[0] in special else None


@dataclass(frozen=True, slots=True)
class _Shown:
    """A conversation and what the template made of it."""

    forms: list[Form]
    """As shown, a word in place of every policy turn."""
    words: dict[int, str]
    """By place."""
    text: str
    mark: str
    """Breaks live texts from outside, in `text`."""

    @property
    def last(self) -> str:
        """The word of the last turn."""
        return self.words[max(self.words)] if self.words else ""


def _marked(
    messages: Sequence[Message],
    observations: Sequence[Message],
    turns: Mapping[int, Turn] | None = None,
    *,
    with_calls: bool = False,
) -> tuple[list[Form], dict[int, str]]:
    """The conversation with a word in place of every policy turn, and the words by place.

    With calls, those of earlier turns are shown as such; they only stand before the last word.

    Which turns are the policy's is told by `turns`, or else by what they are like. What it wrote
    must not go through the template: a template may trim it, or take it for a token that means
    something, while the stream keeps what was really sampled.
    """
    everything = "".join(message.content for message in (*messages, *observations))
    stem = "POLICYTURN"
    while stem in everything:
        stem += "X"
    marked = [_chat_form(message) for message in (*messages, *observations)]
    words: dict[int, str] = {}
    for place, message in enumerate(messages):
        is_told = turns is None and message.role == "assistant"
        shows_calls = with_calls and message.tool_calls and place + 1 < len(messages)
        if shows_calls:
            marked[place]["content"] = ""
        elif (turns is not None and place in turns) or (
            is_told and (message.is_sampled or not message.tool_calls)
        ):
            words[place] = f"{stem}{place}{END}"
            marked[place] = {"role": "assistant", "content": words[place]}
    return marked, words


def _kind(form: Form) -> tuple[Any, ...]:
    return form["role"], bool(form["content"].strip()), "tool_calls" in form


def _called(form: Form) -> str:
    return f"a message of role {form['role']!r}"


def _probed(form: Form, word: str, words: dict[str, str]) -> Form:
    """The message with words in place of its texts; what each word stands for goes to `words`."""
    probed = dict(form)
    if form["content"].strip():
        probed["content"] = f"{word}TEXT"
        words[probed["content"]] = _called(form)
    calls = [
        call | {"function": call["function"] | {"name": f"{word}CALL{number}NAME"}}
        for number, call in enumerate(form.get("tool_calls", ()))
    ]
    if calls:
        probed["tool_calls"] = calls
        what = f"the calls of {_called(form)}"
        words.update({call["function"]["name"]: what for call in calls})
    return probed


def _chat_form(message: Message) -> Form:
    form: Form = {"role": message.role, "content": message.content}
    if message.tool_calls:
        form["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name or "unreadable",
                    "arguments": _arguments(call.arguments or "{}"),
                },
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        form["tool_call_id"] = message.tool_call_id
    return form


def _arguments(text: str) -> Any:
    """Templates want arguments as an object; what does not parse is shown as it was written."""
    try:
        return json.loads(text)
    except ValueError:
        return text
