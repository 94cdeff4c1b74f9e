"""Many questions, made or of reasoning-gym, and what may become of one on its way: other words,
another order, other numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from tests.questions.questions import sentence

GYM_LEFT = ("gsm_symbolic", "leg_counting", "dice", "number_filtering", "letter_counting")
GYM_RIGHT = (
    "knights_knaves",
    "family_relationships",
    "time_intervals",
    "syllogism",
    "simple_geometry",
)
"""Generators of which no one's questions resemble another's."""
WORDS = (
    *("bicycle", "quantity", "whatever", "orchard", "under", "parliament", "seldom", "violet"),
    *("whisper", "engine", "tomorrow", "granite", "between", "lantern", "perhaps", "saddle"),
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
ENDS = ("weigh", "cost", "need", "hold", "measure", "lose")
SENTENCES = 4


def made(number: int, seed: int) -> str:
    """Question `number` of an endless list: four sentences and what is asked."""
    rng = random.Random(f"{seed}/{number}")
    told = ". ".join(sentence(rng) for _ in range(SENTENCES))
    which = rng.choice(("first", "second", "last"))
    return f"{told}. How much does the {which} one {rng.choice(ENDS)}?"


def of_gym(names: tuple[str, ...], count: int, seed: int) -> Iterator[str]:
    """So many of these generators in all, none twice."""
    from reasoning_gym.factory import create_dataset

    for name in names:
        entries = create_dataset(name, size=-(-count // len(names)), seed=seed)
        yield from dict.fromkeys(entry["question"] for entry in entries)


def reworded(text: str, rng: random.Random, share: float = 0.2) -> str:
    """That share of its words are others; numbers stay."""
    words = text.split(" ")
    places = [at for at, word in enumerate(words) if word.isalpha()]
    for at in rng.sample(places, round(share * len(places))):
        words[at] = rng.choice(WORDS)
    return " ".join(words)


def renumbered(text: str, rng: random.Random) -> str:
    """Every number is another one, of as many digits."""

    def other(found: re.Match[str]) -> str:
        low = 10 ** (len(found[0].split(".")[0]) - 1)
        while (drawn := str(rng.randrange(low, 10 * low))) == found[0]:
            pass
        return drawn

    return NUMBER.sub(other, text)


def reordered(text: str, rng: random.Random) -> str:
    """One sentence stands elsewhere; what is asked stays at the end."""
    *told, asked = re.split(r"(?<=[.])\s+", text)
    at = rng.randrange(len(told))
    others = [*told[:at], *told[at + 1 :]]
    place = rng.choice([one for one in range(len(told)) if one != at])
    return " ".join([*others[:place], told[at], *others[place:], asked])
