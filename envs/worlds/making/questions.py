"""Questions that need no tool: sums, words, what everybody knows."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

Question = tuple[str, str]
"""What is asked, and the answer."""

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo",
    "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen",
    "Poland": "Warsaw", "Austria": "Vienna", "Hungary": "Budapest", "Greece": "Athens",
    "Portugal": "Lisbon", "Ireland": "Dublin", "Kenya": "Nairobi", "Peru": "Lima", "Cuba": "Havana",
    "Canada": "Ottawa", "China": "Beijing", "Germany": "Berlin", "Belgium": "Brussels",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "left": "right", "open": "closed", "early": "late",
    "light": "dark", "full": "empty", "young": "old", "near": "far", "wet": "dry", "fast": "slow",
}  # fmt: skip
COUNTS = {
    "days does a week have": 7, "months does a year have": 12, "legs does a spider have": 8,
    "sides does a hexagon have": 6, "seconds make a minute": 60, "hours does a day have": 24,
    "letters does the English alphabet have": 26, "centimetres make a metre": 100,
    "grams make a kilogram": 1000, "strings does a violin have": 4, "minutes make an hour": 60,
}  # fmt: skip
WORDS = (
    "moss", "fern", "birch", "stone", "river", "cloud", "amber", "cedar", "delta", "ember",
    "flint", "grove", "heath", "inlet", "jasper", "knoll", "lark", "maple", "north", "otter",
    "pebble", "quartz", "ridge", "slate", "thorn", "umber", "vale", "willow", "yarrow",
    "zephyr",
)  # fmt: skip
ORDINALS = ("first", "second", "third", "fourth")


def _sum(rng: random.Random) -> Question:
    left, right = rng.randint(11, 999), rng.randint(11, 999)
    if rng.random() < 0.5:
        return f"What is {left} + {right}?", str(left + right)
    low, high = sorted((left, right))
    return f"What is {high} minus {low}?", str(high - low)


def _product(rng: random.Random) -> Question:
    left, right = rng.randint(2, 20), rng.randint(2, 20)
    return f"How much is {left} times {right}?", str(left * right)


def _letter(rng: random.Random) -> Question:
    word, place = rng.choice(WORDS), rng.randrange(4)
    return f"What is the {ORDINALS[place]} letter of {word!r}?", word[place]


def _backwards(rng: random.Random) -> Question:
    word = rng.choice(WORDS)
    return f"Spell {word!r} backwards.", word[::-1]


def _longest(rng: random.Random) -> Question:
    longest = rng.choice([word for word in WORDS if len(word) > 5])
    words = [*rng.sample([word for word in WORDS if len(word) < 6], 2), longest]
    rng.shuffle(words)
    return f"Which of these words is the longest: {', '.join(words)}?", longest


def _capital(rng: random.Random) -> Question:
    land = rng.choice([*CAPITALS])
    return f"Which city is the capital of {land}?", CAPITALS[land]


def _opposite(rng: random.Random) -> Question:
    word = rng.choice([*OPPOSITES])
    return f"What is the opposite of {word!r}?", OPPOSITES[word]


def _count(rng: random.Random) -> Question:
    what = rng.choice([*COUNTS])
    return f"How many {what}?", str(COUNTS[what])


def _largest(rng: random.Random) -> Question:
    numbers = rng.sample(range(10, 10_000), 4)
    return f"Which of these numbers is the largest: {', '.join(map(str, numbers))}?", str(
        max(numbers)
    )


SYLLABLES = ("ba", "do", "fi", "gu", "ka", "le", "mo", "ni", "po", "ru", "sa", "ti")


def _say(rng: random.Random) -> Question:
    word = rng.choice(SYLLABLES) + rng.choice(SYLLABLES)
    said = (
        rng.choice(SYLLABLES) + rng.choice(SYLLABLES)
        if rng.random() < 0.5
        else str(rng.randint(1, 9))
    )
    return f'say "{said} {word}"!', f"{said} {word}"


BANK: Mapping[str, Callable[[random.Random], Question]] = {
    "sum": _sum,
    "product": _product,
    "letter": _letter,
    "backwards": _backwards,
    "longest": _longest,
    "capital": _capital,
    "opposite": _opposite,
    "count": _count,
    "largest": _largest,
}
TERSE: Mapping[str, Callable[[random.Random], Question]] = {"say": _say}
"""For models that know few words."""


def question(rng: random.Random, kinds: Sequence[str] = ()) -> Question:
    """A question, and its answer.

    Args:
        rng: draws.
        kinds: to draw from; all of `BANK` unless given.
    """
    kind = rng.choice([*(kinds or BANK)])
    return {**BANK, **TERSE}[kind](rng)
