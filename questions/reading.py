"""What a model is asked about documents, where one is named: it marks and it chooses.

It answers with numbers of lines and with yes or no, and nothing of what it writes goes into a
question. What it names must be there, or it is left out and listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from munro.questions.clean.convert import Rewritten
from munro.questions.config import PairConfig, Topic
from munro.questions.errors import QuestionsError
from munro.questions.mark import rules
from munro.questions.mark.outline import RUNNING
from munro.questions.pair import pairing
from munro.questions.stages import Outcome
from munro.questions.types import Dropped, Line, Page, Question, Span, text_of
from munro.rewards.judge.access import Access
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.verdicts import V, Verdict

LINES, SHARED = 100, 20
"""Lines of a chunk, and of those that it shares with the one before: no exercise is cut twice."""
LINE_CHARACTERS = 500
MARK = """\
You are shown lines of a DOCUMENT, each with its number. Mark every exercise, problem or question
that stands in it whole, with the lines of its answer where that stands here too. Give numbers of
lines only, the first and the last of each; change nothing and add nothing. A question and an answer
have no line in common. Worked examples count, questions that a text asks and answers itself do not.
Where there is nothing of the kind, the list is empty."""
BELONGS = """\
You are shown a QUESTION and an ANSWER from one book, which may have been put together wrongly, for
keys of answers can be shifted. Decide whether the answer answers this very question. It need not be
well put, and may be short; but its value, unit, sign, variables and form must be what the question
asks for. If you can work it out, do. Where in doubt, the verdict is "no"."""


REWRITE = """\
You are shown a QUESTION from a book and its ANSWER. Rewrite it as one open question whose answer is
short and can be checked: of a choice leave the options out and ask for what the right one says; of
a proof ask for the value, the expression or the condition that is proved. Change nothing else: the
same facts, the same numbers, the same symbols. The new answer must stand word for word in what you
are shown (the text of the right option, without its letter; a part of the question or of the
proof), and must not stand in the new question. Where that cannot be done, leave both empty."""


TOPIC = """\
You are shown a QUESTION from a book and its ANSWER. Say which of these it is about, by what one
must know to answer it and not by what its story is about: {topics}. Take "other" where none fits.
"""


class Marked(BaseModel):
    """Lines of a question, and of its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    question: tuple[int, int]
    answer: tuple[int, int] | None = None


class MarksVerdict(Verdict):
    """What stands in a chunk."""

    shape = (
        '{"notes": "what the lines are, shortly", "marked": [{"question": [first line, last line], '
        '"answer": [first line, last line] or null}, ...]}'
    )
    marked: list[Marked] = Field(max_length=100)


class BelongsVerdict(Verdict):
    """Whether an answer is a question's."""

    shape = '{"notes": "what you compared, shortly", "belongs": "yes" or "no"}'
    belongs: Literal["yes", "no"]


class RewrittenVerdict(Verdict):
    """A question and an answer, made of another one."""

    shape = (
        '{"notes": "what is asked, shortly", "question": "the new question, or empty", '
        '"answer": "its answer, or empty"}'
    )
    question: str = Field(max_length=8000)
    answer: str = Field(max_length=1000)


class TopicVerdict(Verdict):
    """What a question is about."""

    shape = '{"notes": "what one must know, shortly", "topic": "one of the names"}'
    topic: Topic


class Reading:
    """A model that reads, or none: rules alone then. Use as a context manager.

    Raises (when made):
        QuestionsError: the model cannot be asked: no key, no checkpoint.
    """

    def __init__(self, config: JudgeConfig | None) -> None:
        self._config = config
        self._access: Access | None = None
        if config is not None:
            try:
                self._access = Access(config, "reader")
            except ValueError as error:
                raise QuestionsError(str(error)) from error

    @property
    def identity(self) -> Any:
        """All of the model that what it says depends on."""
        if self._config is None:
            return None
        kept = ("model", "temperature", "max_tokens", "samples", "seed", "extra", "template_args")
        return [self._config.model_dump(mode="json", include=set(kept)), MARK, BELONGS, REWRITE]

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._access is not None:
            self._access.close()

    def marked(self, pages: Sequence[Page], lines: Sequence[Line]) -> Outcome:
        """Spans of a document: by rules, and by the model where rules find no question."""
        outcome = rules.marked(pages, lines)
        found_any = any(span.role == "question" for span in outcome.kept)
        if self._access is None or self._config is None or found_any:
            return outcome
        text = text_of([page.text for page in pages])
        kept = [line for line in lines if line.kind != RUNNING]
        chunks = [kept[at : at + LINES] for at in range(0, len(kept), LINES - SHARED)]
        taken: set[int] = set()
        for number, (chunk, verdict) in enumerate(
            zip(chunks, self._each([self._mark(chunk, text) for chunk in chunks]), strict=True)
        ):
            for one in verdict.marked:
                why = _wrong(one, len(chunk), taken, chunk)
                if why:
                    outcome.dropped.append(self._invented(pages[0], number, one, why))
                    continue
                outcome.kept += self._spans(one, chunk, text, len(outcome.kept), taken)
        return outcome

    def paired(self, config: PairConfig, pages: Sequence[Page], spans: Sequence[Span]) -> Outcome:
        """Pairs of a document: by rules, and by the model where rules leave them open."""
        if self._access is None or self._config is None:
            return pairing.paired(pages, spans, config)
        return pairing.paired(pages, spans, config, self._chosen, self._config.model)

    def rewritten(self, questions: Sequence[Question], times: int) -> list[list[Rewritten]]:
        """So many independent rewritings of each question."""
        access = self._access
        assert access is not None

        async def all_of_them() -> list[list[RewrittenVerdict]]:
            prompts = [self._rewrite(question) for question in questions]
            return list(await asyncio.gather(*(access.asked(one, times) for one in prompts)))

        return [
            [Rewritten(one.question.strip(), one.answer.strip()) for one in verdicts]
            for verdicts in access.wait(all_of_them())
        ]

    def topics(self, questions: Sequence[Question]) -> list[Topic]:
        """What each question is about."""
        task = TOPIC.format(topics=", ".join(get_args(Topic)))
        verdicts = self._each([self._beside(task, one, TopicVerdict) for one in questions])
        return [verdict.topic for verdict in verdicts]

    def _rewrite(self, one: Question) -> Prompt[RewrittenVerdict]:
        return self._beside(REWRITE, one, RewrittenVerdict)

    def _beside(self, task: str, one: Question, verdict: type[V]) -> Prompt[V]:
        """A question with its answer."""
        assert self._access is not None
        parts = {
            "QUESTION": self._access.shown(one.question),
            "ANSWER": self._access.shown(one.answer),
        }
        return Prompt(task=task, parts=parts, verdict=verdict)

    def _chosen(self, shown: Sequence[tuple[str, Sequence[str]]]) -> list[int | None]:
        """The first answer of each question that the model takes for its own."""
        chosen: list[int | None] = [None] * len(shown)
        for turn in range(max((len(answers) for _, answers in shown), default=0)):
            left = [
                at
                for at, (_, answers) in enumerate(shown)
                if chosen[at] is None and turn < len(answers)
            ]
            verdicts = self._each([self._belongs(shown[at][0], shown[at][1][turn]) for at in left])
            for at, verdict in zip(left, verdicts, strict=True):
                if verdict.belongs == "yes":
                    chosen[at] = turn
        return chosen

    def _each(self, prompts: Sequence[Prompt[Any]]) -> list[Any]:
        """A verdict on each; several samples go by the first, for marks have no majority."""
        access = self._access
        assert access is not None

        async def all_of_them() -> list[Any]:
            asked = await asyncio.gather(*(access.asked(prompt, 1) for prompt in prompts))
            return [verdicts[0] for verdicts in asked]

        return access.wait(all_of_them())

    def _mark(self, chunk: Sequence[Line], text: str) -> Prompt[MarksVerdict]:
        assert self._access is not None
        shown = "\n".join(
            f"{number}: {text[line.begin : line.end][:LINE_CHARACTERS]}"
            for number, line in enumerate(chunk, 1)
        )
        return Prompt(
            task=MARK, parts={"DOCUMENT": self._access.clean(shown)}, verdict=MarksVerdict
        )

    def _belongs(self, question: str, answer: str) -> Prompt[BelongsVerdict]:
        assert self._access is not None
        parts = {"QUESTION": self._access.shown(question), "ANSWER": self._access.shown(answer)}
        return Prompt(task=BELONGS, parts=parts, verdict=BelongsVerdict)

    def _spans(
        self, one: Marked, chunk: Sequence[Line], text: str, number: int, taken: set[int]
    ) -> list[Span]:
        assert self._config is not None
        spans = []
        for role, places in (("question", one.question), ("beside", one.answer)):
            if places is None:
                continue
            lines = chunk[places[0] - 1 : places[1]]
            taken |= {line.begin for line in lines}
            spans.append(
                Span(
                    document=lines[0].document,
                    role=role,
                    scope="1//",
                    run=number,
                    label=f"m{number}",
                    page=lines[0].page,
                    pieces=rules.pieces_over(
                        [(line.begin, line.end, line.page) for line in lines], text
                    ),
                    by=self._config.model,
                )
            )
        return spans

    def _invented(self, page: Page, chunk: int, one: Marked, why: str) -> Dropped:
        return Dropped(
            stage=rules.STAGE,
            reason="marked by the reader, and not there",
            evidence=f"{why}: question {list(one.question)}, answer {list(one.answer or ())}",
            source=page.source,
            file=page.file,
            id=f"{page.document}/chunk {chunk}",
        )


def _wrong(one: Marked, count: int, taken: set[int], chunk: Sequence[Line]) -> str:
    """Why a mark cannot be taken, empty where it can."""
    places = [one.question, *([one.answer] if one.answer else [])]
    if any(not 1 <= first <= last <= count for first, last in places):
        return f"the chunk has lines 1 to {count}"
    numbers = [set(range(first, last + 1)) for first, last in places]
    if len(numbers) == 2 and numbers[0] & numbers[1]:
        return "question and answer share a line"
    if any(chunk[number - 1].begin in taken for some in numbers for number in some):
        return "a line of it was marked before"
    return ""
