"""The stage `contamination`: questions that an evaluation set has too are left out.

exact      the same text but for case and white space
near       most words in common, and at least half of the numbers
template   the words in common and other numbers: left out too, and counted apart

Evaluation questions that differ in numbers only are one entry of the index. Short questions are
compared whole only, for their words are in too many others.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from munro.questions.clean.curate import dropped
from munro.questions.clean.likeness import even, masked, numbers, overlap, shared, words
from munro.questions.clean.ngrams import NgramIndex
from munro.questions.config import ContaminationConfig
from munro.questions.errors import QuestionsError
from munro.questions.places import located
from munro.questions.rows import rows_of, text_in
from munro.questions.stages import Outcome
from munro.questions.types import Question

STAGE = "contamination"
VARIANTS = 256
"""Of an entry whose numbers are compared one by one."""
AT_ONCE = 2048
TEMPLATE_WORDS, SAME_NUMBERS = 0.9, 0.5


def files_of(config: ContaminationConfig, out: Path) -> list[Path]:
    """The evaluation sets.

    Raises:
        QuestionsError: there is none of a name, or it is what the build itself writes.
    """
    found: list[Path] = []
    for pattern in config.files:
        files = [Path(one) for one in sorted(glob.glob(str(located(pattern))))]
        if not files:
            raise QuestionsError(f"contamination.files: there is no file {pattern}. Mend the path.")
        found += files
    for file in found:
        if out.resolve() in file.resolve().parents:
            raise QuestionsError(
                f"contamination.files names {file}, which this build itself writes: every question "
                "would be left out. Name evaluation sets only."
            )
    return list(dict.fromkeys(found))


def evaluation_texts(file: Path, fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(place, text) of each question of an evaluation set.

    Raises:
        QuestionsError: it cannot be read, or has none of the fields.
    """
    for place, row in rows_of(file):
        if isinstance(row, str):
            yield place, row
            continue
        name = next((one for one in fields if row.get(one)), None)
        if name is None:
            held = ", ".join(map(str, list(row)[:8])) if isinstance(row, dict) else "nothing"
            raise QuestionsError(
                f"{place} has none of the fields {', '.join(fields)}: it has {held}. Name the one "
                "that holds the question in contamination.fields."
            )
        yield place, text_in(row[name])


@dataclass(slots=True)
class _Entry:
    """Evaluation questions that differ in numbers only."""

    place: str
    variants: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Place by numbers."""


class EvaluationIndex:
    """Evaluation questions, quick to find."""

    def __init__(self, texts: Iterator[tuple[str, str]], config: ContaminationConfig) -> None:
        self._config = config
        self._exact: dict[str, str] = {}
        entries: dict[str, _Entry] = {}
        for place, raw in texts:
            text = even(raw)
            if not text:
                continue
            self._exact.setdefault(text, place)
            if len(text.split()) >= config.min_words:
                hidden = masked(text)
                entry = entries.setdefault(hidden, _Entry(place))
                if len(entry.variants) < VARIANTS:
                    entry.variants.setdefault(numbers(text), place)
        self._by_text = {hidden: at for at, hidden in enumerate(entries)}
        self._texts, self._entries = list(entries), list(entries.values())
        self._near = NgramIndex(self._texts)

    def __len__(self) -> int:
        return len(self._exact)

    def found(self, texts: Sequence[str]) -> list[tuple[str, str]]:
        """(reason, place) for each text; both empty where no evaluation set has it."""
        evened = [even(text) for text in texts]
        results = [
            ("exact", self._exact[text]) if text in self._exact else ("", "") for text in evened
        ]
        rest = [
            at
            for at, text in enumerate(evened)
            if not results[at][0] and len(text.split()) >= self._config.min_words
        ]
        hidden = [masked(evened[at]) for at in rest]
        for at, text, near in zip(rest, hidden, self._candidates(hidden), strict=True):
            results[at] = self._judged(evened[at], text, near)
        return results

    def _candidates(self, hidden: Sequence[str]) -> list[list[int]]:
        """Entries that may be alike, for each text; the one with its very words first."""
        near = self._near.near(hidden)
        for at, text in enumerate(hidden):
            own = self._by_text.get(text)
            if own is not None:
                near[at] = [own, *(one for one in near[at] if one != own)]
        return near

    def _judged(self, text: str, hidden: str, near: Sequence[int]) -> tuple[str, str]:
        template = ("", "")
        if not near:
            return template
        ours, figures = Counter(words(hidden)), numbers(text)
        for at in near:
            entry = self._entries[at]
            alike = overlap(ours, Counter(words(self._texts[at])))
            if alike < self._config.overlap:
                continue
            if figures in entry.variants:
                return "near", entry.variants[figures]
            for variant, place in entry.variants.items():
                if shared(figures, variant) >= SAME_NUMBERS:
                    return "near", place
            if alike >= TEMPLATE_WORDS and not template[0]:
                template = ("template", entry.place)
        return template


REASONS = {
    "exact": "in an evaluation set",
    "near": "nearly in an evaluation set",
    "template": "an evaluation set has it with other numbers",
}


def without_evaluation(
    questions: Iterator[Question], files: Sequence[Path], config: ContaminationConfig
) -> Outcome:
    """Questions that no evaluation set has."""
    texts = (one for file in files for one in evaluation_texts(file, config.fields))
    index = EvaluationIndex(texts, config)
    outcome = Outcome()
    while batch := list(islice(questions, AT_ONCE)):
        found = index.found([question.question for question in batch])
        for question, (reason, place) in zip(batch, found, strict=True):
            if reason:
                outcome.dropped.append(dropped(STAGE, question, REASONS[reason], place))
            else:
                outcome.kept.append(question)
    return outcome
