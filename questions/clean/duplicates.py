"""The stage `duplicates`: of equal and nearly equal questions the first is kept.

exact       the same text but for case and white space (SHA-256)
near        character n-grams alike (MinHash), the same numbers, the same answer
template    alike but for numbers or the answer: kept, and the earlier one named
conflict    the same text with different answers: none of them is kept
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from munro.base_model.data.clean.minhash import similarity
from munro.questions.clean.curate import dropped
from munro.questions.clean.likeness import bands_of, even, masked, numbers, signed, sketched
from munro.questions.config import DuplicatesConfig
from munro.questions.stages import Outcome
from munro.questions.types import Question

STAGE = "duplicates"
MOST_OTHERS = 64
"""Earlier questions of one band that a question is compared with."""


def without_duplicates(questions: Sequence[Question], config: DuplicatesConfig) -> Outcome:
    """One of each, in their order."""
    outcome = Outcome()
    left: list[Question] = []
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        groups[_digest(question)].append(question)
    for question in questions:
        group = groups[_digest(question)]
        answers = {even(one.answer) for one in group}
        if len(answers) > 1:
            shown = " | ".join(sorted(answers))
            outcome.dropped.append(dropped(STAGE, question, "asked with different answers", shown))
        elif group[0] is not question:
            outcome.dropped.append(dropped(STAGE, question, "exact duplicate", group[0].id))
        else:
            left.append(question)
    _near(left, config, outcome)
    return outcome


def _digest(question: Question) -> str:
    return hashlib.sha256(even(question.question).encode("utf-8", "replace")).hexdigest()


def _near(questions: Sequence[Question], config: DuplicatesConfig, outcome: Outcome) -> None:
    """Part the nearly equal ones from the others."""
    if not questions:
        return
    texts = [even(one.question) for one in questions]
    signature = signed([masked(text) for text in texts], config.ngram)
    bands, sketches = bands_of(signature).T, sketched(signature)
    held: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at, question in enumerate(questions):
        keys = [(band, int(key)) for band, key in enumerate(bands[at])]
        near = sorted({other for key in keys for other in held[key]})
        alike = []
        if near:
            found = similarity(sketches[near], sketches[at])
            alike = [near[i] for i in np.flatnonzero(found >= config.threshold)]
        same = next((other for other in alike if _is_same(questions[other], question)), None)
        if same is not None:
            evidence = questions[same].id
            outcome.dropped.append(dropped(STAGE, question, "near duplicate", evidence))
            continue
        first = questions[alike[0]] if alike else None
        outcome.kept.append(
            replace(question, template=first.template or first.id) if first else question
        )
        for key in keys:
            if len(held[key]) < MOST_OTHERS:
                held[key].append(at)


def _is_same(one: Question, other: Question) -> bool:
    return numbers(one.question) == numbers(other.question) and even(one.answer) == even(
        other.answer
    )
