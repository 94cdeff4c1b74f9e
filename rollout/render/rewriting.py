"""Policy turns as a template is shown them, and what it makes of them: kept, cut, or told anew.

What the policy wrote never goes through the template, which gets words in its place: one for the
thought, one for what follows it. Where both come out after all that came before, nothing was
rewritten. Else the conversation is put together again from what came out, with the very tokens
that the policy wrote in place of the words.

    shown       <think>POLICYTURN1THOUGHT</think>\\n\\nPOLICYTURN1END
    comes out   <|im_start|>assistant\\nPOLICYTURN1END<|im_end|>         the thought is gone
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munro.rollout.render.forms import END, Form

OPEN, CLOSE = "<think>", "</think>"
THOUGHT = "THOUGHT"

Turns = Mapping[int, Sequence[int] | NDArray[np.int32]]
"""Token ids of policy turns, by the place of their messages in the conversation."""


class Rewritten(ValueError):
    """A template shows turns in a way that no tokens can be put in for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One policy turn."""

    ids: tuple[int, ...]
    """What was sampled, without the token that ended it."""
    thought: bool
    """It closed a thought, with something in it."""
    blank: bool
    """It closed one with nothing in it."""
    opened: bool
    """It begins by opening one; else the prompt had, or nobody."""
    gap: str
    """White space between thought and answer."""
    answer_ids: tuple[int, ...]
    """What follows the thought: all of it where there is none."""
    headed: bool = False
    """Before its answer it wrote what the template writes there too."""

    @classmethod
    def of(
        cls,
        ids: Sequence[int],
        decode: Callable[[Sequence[int]], str],
        encode: Callable[[str], list[int]],
        heads: Sequence[str] = (),
    ) -> Turn:
        """From its tokens, the one that ended it left out.

        Args:
            ids: the tokens.
            decode: text of tokens.
            encode: tokens of a text, none of which means something.
            heads: what the template writes before an answer, and the policy too.
        """
        ids, text = tuple(int(token) for token in ids), decode(ids)
        for head in heads:
            _, found, answer = text.rpartition(head)
            if found:
                answers = _ending(ids, answer, decode, encode)
                return cls(
                    ids=ids,
                    thought=False,
                    blank=False,
                    opened=False,
                    gap="",
                    answer_ids=answers,
                    headed=True,
                )
        head, close, rest = text.rpartition(CLOSE)
        is_blank = not head.replace(OPEN, "").strip()
        answer = rest.lstrip()
        return cls(
            ids=ids,
            thought=bool(close) and not is_blank,
            blank=bool(close) and is_blank,
            opened=text.lstrip().startswith(OPEN),
            gap=rest[: len(rest) - len(answer)] if close else "",
            answer_ids=_ending(ids, answer, decode, encode) if close else ids,
        )

    def framed(self, word: str, *, opens: bool) -> str:
        """The text that a template is shown for it; `opens` where prompts open a thought."""
        if self.thought:
            return f"{OPEN}{thought_of(word)}{CLOSE}{self.gap}{word}"
        if self.blank:
            return f"{OPEN}{CLOSE}{self.gap}{word}"
        return OPEN + word if opens and not self.opened else word


def thought_of(word: str) -> str:
    """The word for the thought of the turn that `word` stands for."""
    return word.removesuffix(END) + THOUGHT


def _ending(
    ids: tuple[int, ...],
    text: str,
    decode: Callable[[Sequence[int]], str],
    encode: Callable[[str], list[int]],
) -> tuple[int, ...]:
    """The last tokens, as far as they are this text; encoded anew where a token straddles."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(decode(ids[middle:])) > len(text):
            low = middle + 1
        else:
            high = middle
    return ids[low:] if decode(ids[low:]) == text else tuple(encode(text))


def framed(
    forms: Sequence[Form], words: Mapping[int, str], turns: Mapping[int, Turn], *, opens: bool
) -> list[Form]:
    """The conversation with each word in the frame of its turn."""
    shown = list(forms)
    for place, word in words.items():
        if place < len(shown):
            # a turn that is shown as its calls has its word in them
            if "tool_calls" in shown[place]:
                continue
            shown[place] = shown[place] | {"content": turns[place].framed(word, opens=opens)}
    return shown


def is_kept(before: str, start: str, later: str, word: str, turn: Turn) -> bool:
    """Whether a text shows a turn whole, and before it all that the turn was written after.

    Args:
        before: what came before the turn, as far as the conversation goes.
        start: what invited the policy to write.
        later: the text.
        word: of the turn.
        turn: what it wrote.
    """
    rest = later[len(before) :] if later.startswith(before) else ""
    shown = thought_of(word) if turn.thought else word
    if rest.count(word) != 1 or rest.count(shown) != 1:
        return False
    preceding = _squeezed(_before(rest[: rest.index(shown)], turn))
    if turn.blank:
        if not preceding.endswith(OPEN + CLOSE):
            return False
        preceding = preceding.removesuffix(OPEN + CLOSE) + OPEN * (not turn.opened)
    return preceding == _squeezed(start)


def _before(text: str, turn: Turn) -> str:
    """What the template wrote before a turn: its own tokens open its thought."""
    return text[: text.rindex(OPEN)] if turn.opened and text.rstrip().endswith(OPEN) else text


def _squeezed(text: str) -> str:
    return "".join(text.split())


def put_together(
    text: str,
    words: Mapping[int, str],
    turns: Mapping[int, Turn],
    encode: Callable[[str], list[int]],
) -> list[int]:
    """Tokens of a text up to its last turn, what the policy wrote in place of the words.

    Args:
        text: what the template made of the framed conversation.
        words: by place; turns that it left out need not be in the text.
        turns: by place.
        encode: tokens of what the template wrote.

    Raises:
        Rewritten: the last turn is not shown, or one is shown twice or out of order.
    """
    ids: list[int] = []
    at = 0
    where = -1
    everything = [one for word in words.values() for one in (word, thought_of(word))]
    for place in sorted(words):
        word, turn = words[place], turns[place]
        where = text.find(word, at)
        if where < 0:
            continue
        thought = text.find(thought_of(word), at, where) if turn.thought else where
        # of an empty thought the template writes what it likes
        is_whole = thought >= 0 and not turn.blank and not turn.headed
        between = text[at : thought if is_whole else where]
        if is_whole:
            between = _before(between, turn)
        if any(one in between for one in everything):
            raise Rewritten
        ids += encode(between)
        ids += turn.ids if is_whole else turn.answer_ids
        at = where + len(word)
    if where < 0 or any(one in text[at:] for one in everything):
        raise Rewritten
    return ids
