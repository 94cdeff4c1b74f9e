"""Votes over classes of equal answers against votes over strings, on the same attempts.

    python benchmarks/questions/consensus.py [--seeds 3]

Of 200 values, each in six notations, eight attempts are made: some are the right value, each in a
notation drawn at random; the others are wrong values, all different or all one. Counted is how
often the right value wins, by the share of right attempts. Answers that cannot be read stand among
the wrong ones too.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from munro.questions.answers.classes import consensus, equal  # noqa: E402

ATTEMPTS, VALUES = 8, 200
DENOMINATORS = (2, 4, 5, 8, 10, 20, 25, 50)
"""Whose fractions end as decimals."""
NOTATIONS: dict[str, Callable[[Fraction], str]] = {
    "fraction": lambda value: f"{value.numerator}/{value.denominator}",
    "LaTeX fraction": lambda value: rf"\frac{{{value.numerator}}}{{{value.denominator}}}",
    "decimal": lambda value: f"{float(value):.10f}".rstrip("0"),
    "decimal with zeros": lambda value: f"{float(value):.4f}",
    "per cent": lambda value: f"{float(100 * value):.10f}".rstrip("0").rstrip(".") + "%",
    "named": lambda value: rf"$x = \dfrac{{{3 * value.numerator}}}{{{3 * value.denominator}}}$",
}
UNREADABLE = (r"\frac{1}{", r"\begin{cases", "((((", r"\sqrt[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often the right value won, of so many."""

    classes: int
    strings: int
    total: int


def drawn(rng: random.Random) -> Fraction:
    """A value between 0 and 10 that is no whole number."""
    while True:
        value = Fraction(rng.randint(1, 499), rng.choice(DENOMINATORS))
        if value.denominator > 1 and value < 10:
            return value


def attempts(rng: random.Random, value: Fraction, right: int, others: str) -> list[str]:
    """Eight answers, so many of them right.

    Args:
        rng: draws notations and wrong values.
        value: the right one.
        right: how many have it.
        others: what the rest says: "different" values, "one" value, or "unreadable".
    """
    notations = list(NOTATIONS.values())
    made = [rng.choice(notations)(value) for _ in range(right)]
    wrong = iter(dict.fromkeys(v for v in (drawn(rng) for _ in range(200)) if v != value))
    one = next(wrong)
    for _ in range(ATTEMPTS - right):
        if others == "unreadable":
            made.append(UNREADABLE[0])
        else:
            made.append(rng.choice(notations)(one if others == "one" else next(wrong)))
    rng.shuffle(made)
    return made


def measured(right: int, others: str, seed: int, values: int = VALUES) -> Count:
    """Votes on as many values."""
    rng = random.Random(f"{seed}/{right}/{others}")
    classes = strings = 0
    for _ in range(values):
        value = drawn(rng)
        answers = attempts(rng, value, right, others)
        held = NOTATIONS["fraction"](value)
        classes += wins(consensus(answers).answer, held)
        strings += wins(consensus(answers, lambda one, other: one == other).answer, held)
    return Count(classes=classes, strings=strings, total=values)


def wins(answer: str, value: str) -> bool:
    """Whether what won is the value, in whatever notation."""
    return bool(answer) and equal(answer, value)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    print(f"{VALUES} values a row and seed, {len(NOTATIONS)} notations, {ATTEMPTS} attempts each;")
    print("share in which the right value wins, seeds together\n")
    print(f"{'right':>7}  {'the others are':<16} {'classes':>8} {'strings':>8}")
    for others in ("different", "one", "unreadable"):
        for right in (2, 3, 4, 5, 6, 8):
            if right == ATTEMPTS and others != "different":
                continue
            counts = [measured(right, others, seed) for seed in seeds]
            total = sum(one.total for one in counts)
            classes = sum(one.classes for one in counts) / total
            strings = sum(one.strings for one in counts) / total
            print(
                f"{right} of {ATTEMPTS}  {others:<16} {classes:>8.3f} {strings:>8.3f}", flush=True
            )


if __name__ == "__main__":
    main()
