"""The stage `convert`, the only one that writes text: choices and proofs into open questions.

A model rewrites each several times, and what it makes is taken where most of them come to the same
answer. That answer is never the model's own: it stands in the document, as the right option or in
the proof. The question as it was is kept beside the new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from munro.questions.answers.classes import consensus
from munro.questions.clean.asked import OPTION
from munro.questions.clean.curate import dropped, is_checkable
from munro.questions.clean.filters import FILTERS, LETTER, type_of
from munro.questions.clean.likeness import even
from munro.questions.config import QuestionsConfig
from munro.questions.stages import Outcome
from munro.questions.types import Question

STAGE = "convert"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a model makes of a question once; both empty where it says that it cannot be done."""

    question: str
    answer: str


Writer = Callable[[Sequence[Question], int], list[list[Rewritten]]]
"""For each question, so many independent rewritings."""


def converted(
    questions: Iterable[Question], config: QuestionsConfig, writer: Writer | None
) -> Outcome:
    """Questions of the wanted types alone.

    Args:
        questions: of any type.
        config: which types are wanted, and how often a question is rewritten.
        writer: asked where a type is not wanted; without one nothing is rewritten.
    """
    every = list(questions)
    wanted = config.curate.types
    others = [one for one in every if one.type not in wanted]
    made: dict[str, list[Rewritten]] = {}
    if writer is not None and others:
        times = config.convert.times
        made = dict(zip((one.id for one in others), writer(others, times), strict=True))
    outcome = Outcome()
    for one in every:
        if one.type in wanted:
            outcome.kept.append(one)
        else:
            _take(one, made.get(one.id, []), config, outcome)
    return outcome


def _take(
    one: Question, made: Sequence[Rewritten], config: QuestionsConfig, outcome: Outcome
) -> None:
    answers = [each.answer if _is_of_document(each, one) else "" for each in made]
    found = consensus(answers)
    if not found.answer or 2 * found.votes <= len(made):
        shown = " | ".join(each.answer or "none" for each in made)
        outcome.dropped.append(dropped(STAGE, one, "no consensus on a rewriting", shown))
        return
    text = made[found.members[0]].question
    kind = type_of(text, found.answer, is_checkable=is_checkable(found.answer))
    new = replace(one, question=text, answer=found.answer, type=kind, converted_from=one.question)
    for name, look in FILTERS.items():
        if shown := look(new.question, new.answer, config.curate):
            outcome.dropped.append(dropped(STAGE, new, f"rewritten, {name}", shown))
            return
    if kind in config.curate.types:
        outcome.kept.append(new)
    else:
        outcome.dropped.append(dropped(STAGE, new, f"of type {kind} when rewritten", found.answer))


def _is_of_document(made: Rewritten, one: Question) -> bool:
    """Whether an answer stands in the document: as the option that is right, or in its text."""
    answer = even(made.answer)
    if not answer or not made.question.strip():
        return False
    if one.type == "choice":
        return answer.rstrip(".") == even(_option(one)).rstrip(".;,")
    held = f"{even(one.question)} {even(one.answer)}"
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", held) is not None


def _option(one: Question) -> str:
    """The text of the option that the answer names; empty where it names none."""
    letter = one.answer.strip().strip("().").upper() if LETTER.match(one.answer.strip()) else ""
    marks = list(OPTION.finditer(one.question))
    ends = [*(mark.start() for mark in marks[1:]), len(one.question)]
    for mark, end in zip(marks, ends, strict=True):
        if mark[1] == letter:
            return one.question[mark.end() : end].strip()
    return ""
