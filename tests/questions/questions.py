"""Questions without documents, many of them and all different."""

from __future__ import annotations

import random

from munro.questions.types import Pair, Question

NOUNS = (
    *("lamp", "cart", "vessel", "spring", "magnet", "mirror", "crystal", "piston", "beam", "coil"),
    *("droplet", "satellite", "pulley", "membrane", "cable", "turbine", "prism", "capacitor"),
    *("glacier", "enzyme", "polymer", "planet", "isotope", "electrode", "bridge", "harbour"),
)
VERBS = (
    *("heats", "moves", "lifts", "crosses", "absorbs", "reflects", "compresses", "charges"),
    *("dissolves", "rotates", "cools", "stretches", "filters", "measures", "deflects", "empties"),
)
ADJECTIVES = (
    *("narrow", "heavy", "polished", "frozen", "hollow", "copper", "distant", "uneven", "damp"),
    *("silent", "coarse", "brittle", "transparent", "curved", "rusty", "shallow", "bright"),
)


def question_of(name: str, question: str, answer: str = "1") -> Question:
    """A question that is nothing but its texts."""
    return Question(
        id=name, document="d", source="s", file="f", page=1, label="1", question=question,
        answer=answer, question_pieces=(0, 1), answer_pieces=(2, 3), by="r", type="open",
    )  # fmt: skip


def pair_of(name: str, question: str, answer: str) -> Pair:
    """A pair that is nothing but its texts."""
    return Pair(
        id=name, document="d", source="s", file="f", page=1, label="1", question=question,
        answer=answer, question_pieces=(0, 1), answer_pieces=(2, 3), by="r",
    )  # fmt: skip


def sentence(rng: random.Random) -> str:
    """Some words, and a number."""
    return (
        f"The {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} {rng.choice(VERBS)} a "
        f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} of {rng.randint(2, 999)} units"
    )


def long_questions(count: int, seed: int = 0) -> list[Question]:
    """Four sentences each."""
    rng = random.Random(seed)
    return [
        question_of(
            f"q{seed}-{number}",
            ". ".join(sentence(rng) for _ in range(4))
            + f". What does the {rng.choice(NOUNS)} weigh?",
            str(number),
        )
        for number in range(count)
    ]
