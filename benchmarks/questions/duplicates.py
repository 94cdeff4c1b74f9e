"""Duplicates of known kinds among made questions and word problems: what is merged, what is named.

    python benchmarks/questions/duplicates.py

A thousand questions of some sentences, half of them made, half of reasoning-gym's word problems
(gsm_symbolic), each once more as it is, with other white space, in capitals, with one sentence in
another place, and with other numbers and another answer. The first three are to be merged always,
the fourth in 95 of 100, the last is to be named and kept. None of the thousand may go. Ends with
one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from munro.questions.clean.duplicates import without_duplicates  # noqa: E402
from munro.questions.config import DuplicatesConfig  # noqa: E402
from munro.questions.types import Question  # noqa: E402
from tests.questions.figures.crowd import made, of_gym, renumbered, reordered  # noqa: E402
from tests.questions.questions import question_of  # noqa: E402

KINDS: dict[str, Callable[[str, random.Random], str]] = {
    "exact": lambda text, _: text,
    "white space": lambda text, rng: re.sub(" ", lambda _: rng.choice(("  ", "\n", " \t")), text),
    "case": lambda text, _: text.upper(),
    "one sentence reordered": reordered,
    "other numbers": renumbered,
}
LEAST_SENTENCES = 4


def main() -> None:
    """Print what became of each kind."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--questions", type=int, default=1000)
    count = options.parse_args().questions
    texts = [made(number, 5) for number in range(count // 2)]
    problems = of_gym(("gsm_symbolic",), 4 * count, 5)
    long = (text for text in problems if len(re.split(r"(?<=[.])\s+", text)) >= LEAST_SENTENCES)
    texts += [text for text, _ in zip(long, range(count - len(texts)), strict=False)]
    print(json.dumps({"benchmark": "questions_duplicates", **measured(texts)}))


def measured(texts: list[str]) -> dict[str, dict[str, int]]:
    """What became of these, and of each kind of copy: merged by a reason, named, or kept."""
    rng = random.Random(0)
    base = [question_of(f"base/{at}", text, str(at)) for at, text in enumerate(texts)]
    found = {"the questions themselves": _became(base, [])}
    for kind, change in KINDS.items():
        copies = [
            question_of(
                f"copy/{at}", change(text, rng), f"{at}{'5' if kind == 'other numbers' else ''}"
            )
            for at, text in enumerate(texts)
        ]
        found[kind] = _became(copies, base)
    for kind, counts in found.items():
        print(f"{kind}: {counts}")
    return found


def _became(asked: list[Question], base: list[Question]) -> dict[str, int]:
    outcome = without_duplicates([*base, *asked], DuplicatesConfig())
    ours = {one.id for one in asked}
    counts = Counter(one.reason for one in outcome.dropped if one.id in ours)
    for one in outcome.kept:
        if one.id in ours:
            counts["named, and kept" if one.template else "kept"] += 1
    return dict(counts)


if __name__ == "__main__":
    main()
