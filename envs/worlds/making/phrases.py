"""How a person puts a request: many ways of saying the same, or as few words as possible."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

OPTIONAL = re.compile(r"\[([^\[\]]*)\]")

WISHES = (
    "Please {}.",
    "Could you {}?",
    "I need you to {}.",
    "Can you {} for me?",
    "I would like you to {}.",
    "{}, please.",
    "Somebody has to {}.",
    "Would you {}?",
)
QUESTIONS = (
    "What is {}?",
    "Tell me {}.",
    "I would like to know {}.",
    "Could you look up {}?",
    "Please find out {}.",
    "I need {}.",
    "Can you say what {} is?",
)
BEFORE = (
    *[""] * 6,
    "Hello. ",
    "Hi, I am in a hurry. ",
    "Good morning! ",
    "I am calling for a colleague. ",
    "Sorry to bother you. ",
    "Me again. ",
    "My manager asks for this. ",
)
AFTER = (*[""] * 6, " Thank you.", " That is all.", " It is urgent.", " No rush.", " Thanks a lot!")


class Style(Protocol):
    """A way of asking."""

    def wish(self, acts: Sequence[str], rng: random.Random) -> str:
        """That something be done: verb phrases such as "cancel the order S1042"."""
        ...

    def question(self, things: Sequence[str], rng: random.Random) -> str:
        """What something is: noun phrases such as "the price of the product fig"."""
        ...

    def of(self, label: str, called: str) -> str:
        """A field of a row: "the price of the product fig"."""
        ...


class Polite:
    """As people write to a service."""

    def wish(self, acts: Sequence[str], rng: random.Random) -> str:
        """See `Style`."""
        return _framed(rng.choice(WISHES).replace("{}", listed(acts)), rng)

    def question(self, things: Sequence[str], rng: random.Random) -> str:
        """See `Style`."""
        asked = rng.choice(QUESTIONS)
        if len(things) > 1:
            asked = asked.replace("What is", "What are").replace(" is?", " are?")
        return _framed(asked.replace("{}", listed(things)), rng)

    def of(self, label: str, called: str) -> str:
        """See `Style`."""
        return f"the {label} of {called}"


class Terse:
    """As few words as possible, for models that know few."""

    def wish(self, acts: Sequence[str], rng: random.Random) -> str:  # noqa: ARG002
        """See `Style`."""
        return _short(f"{'; '.join(acts)}!")

    def question(self, things: Sequence[str], rng: random.Random) -> str:  # noqa: ARG002
        """See `Style`."""
        return _short(f"{'; '.join(things)}?")

    def of(self, label: str, called: str) -> str:
        """See `Style`."""
        return f"{label} of {called}"


def _short(text: str) -> str:
    return text.replace("the ", "").replace(" of ", " ")


def listed(things: Sequence[str]) -> str:
    """ "a, b and c"."""
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"


def spoken(said: str, words: Mapping[str, str]) -> str:
    """A tool's phrase with its slots filled; without those optional parts that name what is not
    among the words."""

    def kept(match: re.Match[str]) -> str:
        needed = re.findall(r"\{([a-z_0-9]+)\}", match[1])
        return match[1] if all(name in words for name in needed) else ""

    text = OPTIONAL.sub(kept, said)
    for name, word in words.items():
        text = text.replace("{" + name + "}", word)
    return text


def optional(said: str) -> list[str]:
    """The parameters that a phrase may leave out."""
    return [
        name for part in OPTIONAL.findall(said) for name in re.findall(r"\{([a-z_0-9]+)\}", part)
    ]


def _framed(text: str, rng: random.Random) -> str:
    before, after = rng.choice(BEFORE), rng.choice(AFTER)
    return before + text[0].upper() + text[1:] + after
