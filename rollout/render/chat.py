"""The tokenizer's own chat template: nothing dropped in silence, nothing said twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from munro.envs.types import Message, ToolCall
from munro.rewards.serving.template_keys import refusal, texts_of
from munro.rollout.render.base import BadTemplate, Renderer
from munro.rollout.render.forms import (
    Calls,
    Form,
    called,
    form_of,
    kind_of,
    marked,
    probed,
    with_text_arguments,
)
from munro.rollout.render.inert import texts_in
from munro.rollout.render.package import known
from munro.rollout.render.rewriting import (
    CLOSE,
    OPEN,
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

    Args:
        tokenizer: whose it is.
        args: what it is told beside the conversation.

    Raises:
        BadTemplate: the tokenizer has none, or it does not use what it is told.
    """

    def __init__(self, tokenizer: Any, args: Mapping[str, Any] | None = None) -> None:
        super().__init__(tokenizer)
        self._args = dict(args or {})
        if not tokenizer.chat_template:
            raise BadTemplate(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, which "
                'rollout.template = "chat" needs. Set rollout.template = "r1_zero" (a base model '
                'that shall reason) or "plain", or give the tokenizer a chat template.'
            )
        self._name = f"the chat template of {tokenizer.name_or_path!r}"
        self._template = "\n".join(texts_of(tokenizer.chat_template))
        self._require_used()
        self._shown: set[tuple[Any, ...]] = set()
        """Kinds of conversations of which all is shown."""
        self._wants_texts = False
        """The template puts calls' arguments together as texts."""
        self._opens, self._heads = self._around_answers()
        self._stop_at(*self._ends())
        self._known, note = known(tokenizer, self._args, self._reference)
        self._says_the_same: dict[tuple[Any, ...], bool] = {}
        """Kinds of conversations: whether the package's tokens are the template's own."""
        self.notes = (note,) if note else ()

    def opening(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """See `Renderer.opening`."""
        forms = [form_of(message, self._template) for message in messages]
        self._refuse_dropped(forms, 0, tools)
        kind = (*map(_name, tools), *map(kind_of, forms))
        mark = self._mark_for(forms, tools)
        theirs = None
        if self._known is not None and not mark and self._says_the_same.get(kind, True):
            theirs = self._known.opening(forms, tools)
            if theirs is not None and kind in self._says_the_same:
                return theirs
        text = self._render(self._broken(forms, mark), self._broken(tools, mark))
        self._refuse_hidden(tools, text)
        ids = self._encode(text, mark)
        if not mark and kind not in self._says_the_same:
            self._says_the_same[kind] = theirs == ids
        return ids

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
        if not shown.last or shown.last not in shown.text:
            raise BadTemplate(self._rewrites("does not show what the policy said"))
        ids = self._encode(
            shown.text[shown.text.rindex(shown.last) + len(shown.last) :], shown.mark
        )
        if shown.calls is Calls.ALL:
            ends = (place for place, token in enumerate(ids) if token in self.stop_token_ids)
            ids = ids[next(ends, 0) :]
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
            place: Turn.of(self._unended(ids), self._decode, self._encode_inert, self._heads)
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
        if shown.calls is Calls.ALL and shown.text.startswith(before):
            return None  # the last turn is shown as its calls, and what it said stays as it was
        if is_kept(before, begun[len(before) :], shown.text, shown.last, written[place]):
            return None
        try:
            if shown.calls is Calls.ALL:
                raise Rewritten
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
        refused = BadTemplate("")
        # some want to see which turns called tools, to tell whose turn it is
        for calls in Calls:
            forms, words = marked(messages, observations, calls, turns, self._template)
            try:
                self._refuse_dropped(forms, len(messages), tools)
                mark = self._mark_for(forms, tools)
                text = self._rendered(forms, tools, mark, words, turns)
            except BadTemplate as error:
                refused = refused if calls.value else error
                continue
            return _Shown(forms, words, text, mark, calls)
        raise refused

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

    def _mark_for(self, forms: list[Form], tools: Sequence[Mapping[str, Any]]) -> str:
        return self._inert.mark([text for part in (forms, tools) for text in texts_in(part)])

    def _reference(
        self, forms: Sequence[Form], tools: Sequence[Mapping[str, Any]]
    ) -> list[int] | None:
        """The tokens that the template gives for a conversation; None where it refuses it."""
        try:
            return self._encode(self._render(forms, tools))
        except BadTemplate:
            return None

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
        kind = (bool(tools), bool(first), *map(kind_of, forms[first:]))
        if kind in self._shown:
            return
        words: dict[str, str] = {}
        probing = forms[:first] + [
            probed(form, f"MESSAGE{place}", words) for place, form in enumerate(forms[first:])
        ]
        try:
            shown = self._render(probing, tools)
        except BadTemplate:
            # it may be at odds with the words: let the conversation itself be the judge
            shown = self._render(forms, tools)
            words = {form["content"].strip(): called(form) for form in forms[first:]}
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
        if hidden := [name for name in map(_name, tools) if name not in text]:
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
        if self._wants_texts:
            messages = with_text_arguments(messages)
        try:
            return self._applied(messages, tools, start)
        except REFUSALS as error:
            if not self._wants_texts and any("tool_calls" in message for message in messages):
                with suppress(*REFUSALS):
                    text = self._applied(with_text_arguments(messages), tools, start)
                    self._wants_texts = True
                    return text
            said = " ".join(str(error).split()) or type(error).__name__
            roles = ", ".join(message["role"] for message in messages)
            raise BadTemplate(
                f"{self._name} refuses the conversation (roles: {roles}): {said}"
            ) from error

    def _applied(
        self, messages: Sequence[Form], tools: Sequence[Mapping[str, Any]], start: bool
    ) -> str:
        text: str = self._tokenizer.apply_chat_template(
            messages,
            tools=[dict(tool) for tool in tools] or None,
            add_generation_prompt=start,
            tokenize=False,
            **self._args,
        )
        return text

    def _require_used(self) -> None:
        if wrong := refusal("rollout.template_args", self._args, [self._template], self._name):
            raise BadTemplate(wrong)

    def _ends(self) -> Iterator[int]:
        """The special tokens that the template ends policy turns by: one that calls, an answer."""
        special = set(self._tokenizer.all_special_ids) | set(self._tokenizer.added_tokens_decoder)
        calling = self._around_turn(2) or self._around_turn(1)
        if calling is not None:
            between, after = calling
            # the last one, unless it ends each call: then it is the calls' own
            last = [token for token in after if token in special][-1:]
            yield from [token for token in last if token not in between]
        answering = self._around_turn(0)
        if answering is not None:
            yield from [token for token in answering[1][:1] if token in special]

    def _around_answers(self) -> tuple[bool, tuple[str, ...]]:
        """Whether a prompt opens a thought; and what the template writes before an answer itself.

        That is the head of a channel, say, which the policy writes too.
        """
        hello, mark = form_of(Message(role="user", content="hello")), "POLICYTURN"
        answer = form_of(Message(role="assistant", content=mark))
        try:
            invites = self._render([hello], ())
            whole = self._render([hello, answer], (), start=False)
        except BadTemplate:
            return False, ()  # it wants another conversation
        head = whole[len(invites) :].partition(mark)[0] if whole.startswith(invites) else ""
        is_one = bool(head.strip()) and OPEN not in head and CLOSE not in head
        return invites.rstrip().endswith(OPEN), (head,) if is_one else ()

    def _around_turn(self, num_calls: int) -> tuple[list[int], list[int]] | None:
        """The tokens from a turn's first mark to its last, and those after it.

        Returns:
            None where the template refuses such a turn, or does not show it.
        """
        mark = "POLICYTURN"
        call = ToolCall(id="call00000", name="mark", arguments=f'{{"turn": "{mark}"}}')
        content = "" if num_calls else mark
        turn = Message(role="assistant", content=content, tool_calls=(call,) * num_calls)
        hello = Message(role="user", content="hello")
        try:
            text = self._render([form_of(hello), form_of(turn)], (), start=False)
        except BadTemplate:
            return None  # what it refuses is told when a task is shown to it
        if mark not in text:
            return None
        first, last = text.index(mark), text.rindex(mark)
        return self._encode(text[first:last]), self._encode(text[last + len(mark) :])


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
    calls: Calls
    """Which turns are shown as calls; a last one that is has its word inside of them."""

    @property
    def last(self) -> str:
        """The word of the last turn."""
        return self.words[max(self.words)] if self.words else ""


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("function", tool).get("name", ""))
