"""A build: documents through every stage to questions; killed anywhere and gone on with.

documents ──► parse ──► ocr ──► outline ──► mark ──► pair ──┐
                                                            ▼
           contamination ◄── duplicates ◄── convert ◄── curate
                 │
                 └──► paraphrase ──► topics ──► questions.jsonl, dropped.jsonl, funnel.json,
                                                manifest.json

Whatever a stage leaves out is kept with its reason and with what shows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from munro.questions import funnel, tables
from munro.questions.clean import contamination, convert, curate, duplicates, meaning, topics
from munro.questions.config import QuestionsConfig, TopicsConfig
from munro.questions.errors import QuestionsError
from munro.questions.mark import outline, rules
from munro.questions.pair import pairing
from munro.questions.parse import parsing, scanned
from munro.questions.parse.scan import ScanReader, reader_of
from munro.questions.reading import TOPIC, Reading
from munro.questions.stages import Build, OnProgress, Outcome, Unit, slices
from munro.questions.types import Line, Page, Pair, Question, Span

STAGES: dict[str, type[Any]] = {
    parsing.STAGE: Page,
    scanned.STAGE: Page,
    outline.STAGE: Line,
    rules.STAGE: Span,
    pairing.STAGE: Pair,
    curate.STAGE: Question,
    convert.STAGE: Question,
    duplicates.STAGE: Question,
    contamination.STAGE: Question,
    meaning.STAGE: Question,
    topics.STAGE: Question,
}
"""In their order, with what each keeps."""
CONVERTED = ("choice", "proof")
"""Types that a reader may make open questions of."""
AT_ONCE = 256
"""Questions whose topics are asked for together."""
QUESTIONS, DROPPED = "questions.jsonl", "dropped.jsonl"
SCORED = "scored"
"""Folder in it of what tiers made of the questions."""
FUNNEL, MANIFEST = "funnel.json", "manifest.json"


def build(
    config: QuestionsConfig, *, until: str = "", on_progress: OnProgress | None = None
) -> list[funnel.Level]:
    """Leave questions and all that was left out in `config.out`; return the funnel.

    The same call after a kill goes on where it stopped; what was done is not done again.

    Args:
        config: what to build.
        until: the last stage to do; empty for all of them.
        on_progress: told one line now and then.

    Raises:
        QuestionsError: an input is wrong; says what to do.
        GraderError: a reader gave no answer; the same call goes on.
    """
    if until and until not in STAGES:
        raise QuestionsError(f"there is no stage {until!r}: there are {', '.join(STAGES)}.")
    files = parsing.files_of(config)
    scans = reader_of(config.scans)
    if scans is not None and (lacking := scans.lacking()):
        raise QuestionsError(lacking)
    with ExitStack() as held:
        held.enter_context(_sentences(config))
        to = held.enter_context(Build(config.out, on_progress=on_progress))
        tools = _Tools(
            files=files,
            parser=held.enter_context(parsing.Parser(config.limits, config.workers)),
            scans=scans,
            reading=held.enter_context(Reading(config.models.reader)),
        )
        if scans is not None:
            held.callback(scans.close)
        done = []
        for stage, work in _works(config, to, tools).items():
            work()
            done.append(stage)
            if stage == until:
                break
        levels = funnel.levels_of(to, {stage: STAGES[stage] for stage in done})
        if len(done) == len(STAGES):
            _leave(config, to, levels, files)
        return levels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    """What stages work with; nothing of it is started before it is asked."""

    files: Sequence[parsing.File]
    parser: parsing.Parser
    scans: ScanReader | None
    reading: Reading


def _works(config: QuestionsConfig, to: Build, tools: _Tools) -> dict[str, Callable[[], None]]:
    """What each stage does, in their order."""
    tested = contamination.files_of(config.contamination, to.out)
    by_document = partial(_by_document, to)
    reading = tools.reading

    def together(stage: str, state: Any, work: Callable[[], Outcome]) -> None:
        to.run(stage, Question, state, lambda: [Unit(name="all", work=work)])

    return {
        parsing.STAGE: partial(_parse, config, to, tools),
        scanned.STAGE: partial(_scans, config, to, tools),
        outline.STAGE: partial(by_document, outline.STAGE, None, outline.outlined),
        rules.STAGE: partial(
            by_document, rules.STAGE, reading.identity, reading.marked, (outline.STAGE,)
        ),
        pairing.STAGE: partial(
            by_document,
            pairing.STAGE,
            [config.pair.model_dump(mode="json"), reading.identity],
            partial(reading.paired, config.pair),
            (rules.STAGE,),
        ),
        curate.STAGE: lambda: together(
            curate.STAGE,
            [config.curate.model_dump(mode="json"), config.converts],
            lambda: curate.curated(
                to.rows(pairing.STAGE, Pair), config.curate, CONVERTED if config.converts else ()
            ),
        ),
        convert.STAGE: lambda: together(
            convert.STAGE,
            [config.convert.model_dump(mode="json"), config.converts],
            lambda: convert.converted(
                to.rows(curate.STAGE, Question),
                config,
                reading.rewritten if config.converts else None,
            ),
        ),
        duplicates.STAGE: lambda: together(
            duplicates.STAGE,
            config.duplicates.model_dump(mode="json"),
            lambda: duplicates.without_duplicates(
                list(to.rows(convert.STAGE, Question)), config.duplicates
            ),
        ),
        contamination.STAGE: lambda: together(
            contamination.STAGE,
            [config.contamination.model_dump(mode="json"), _states(tested)],
            lambda: contamination.without_evaluation(
                to.rows(duplicates.STAGE, Question), tested, config.contamination
            ),
        ),
        meaning.STAGE: lambda: together(
            meaning.STAGE,
            _paraphrase_state(config, _states(tested)),
            partial(_paraphrased, config, to, tested),
        ),
        topics.STAGE: partial(_topics, config.topics, to, reading),
    }


def _parse(config: QuestionsConfig, to: Build, tools: _Tools) -> None:
    state = [
        config.limits.model_dump(mode="json"),
        [[file.source, str(file.path), file.form, file.digest] for file in tools.files],
        version("pypdfium2"),
    ]
    units = partial(tools.parser.units, tools.files)
    to.run(parsing.STAGE, Page, state, units, at_once=tools.parser.at_once)


def _scans(config: QuestionsConfig, to: Build, tools: _Tools) -> None:
    reader = tools.scans
    state = None if reader is None else [config.scans.reader, reader.identity]
    scans = scanned.Scans(tools.parser, tools.files, reader)
    to.run(scanned.STAGE, Page, state, partial(scans.units, to))


def _paraphrase_state(config: QuestionsConfig, tested: list[list[Any]]) -> Any:
    embedder = config.models.embedder
    if embedder is None:
        return None
    return [embedder.model, config.paraphrase.model_dump(mode="json"), tested]


def _paraphrased(config: QuestionsConfig, to: Build, tested: Sequence[Path]) -> Outcome:
    questions = list(to.rows(contamination.STAGE, Question))
    if config.models.embedder is None:
        return Outcome(kept=questions)
    fields = config.contamination.fields
    texts = [one for file in tested for one in contamination.evaluation_texts(file, fields)]
    embed = meaning.at_address(config.models.embedder)
    return meaning.without_paraphrases(questions, texts, config.paraphrase, embed)


def _topics(config: TopicsConfig, to: Build, reading: Reading) -> None:
    namer = reading.topics if config.by == "reader" else topics.by_rules
    asked = [reading.identity, TOPIC] if config.by == "reader" else None

    def units() -> list[Unit]:
        total = tables.num_rows(to.file(meaning.STAGE))
        rows = to.rows(meaning.STAGE, Question)
        return slices(rows, total, AT_ONCE, lambda some: topics.told(some, config, namer))

    to.run(topics.STAGE, Question, [config.model_dump(mode="json"), asked], units)


def _by_document(
    to: Build,
    stage: str,
    state: Any,
    work: Callable[..., Outcome],
    also: Sequence[str] = (),
) -> None:
    """A stage whose units are documents: `work` gets the pages, and the rows of other stages."""

    def units() -> list[Unit]:
        documents = list(dict.fromkeys(page.document for page in to.rows(scanned.STAGE, Page)))
        inputs = [
            _Grouped(to.rows(other, STAGES[other]), documents) for other in (scanned.STAGE, *also)
        ]

        def done(document: str) -> Outcome:
            return work(*(one.take(document) for one in inputs))

        return [
            Unit(name=f"{number:06}", work=partial(done, document))
            for number, document in enumerate(documents)
        ]

    to.run(stage, STAGES[stage], state, units)


class _Grouped:
    """The rows of one document after another, each read when it is asked for."""

    def __init__(self, rows: Iterator[Any], documents: Sequence[str]) -> None:
        self._groups = groupby(rows, key=lambda row: row.document)
        self._place = {document: at for at, document in enumerate(documents)}
        self._next: tuple[str, list[Any]] | None = None

    def take(self, document: str) -> list[Any]:
        """Its rows; those of documents before it are passed over."""
        while True:
            if self._next is None:
                name, group = next(self._groups, ("", iter(())))
                if not name:
                    return []
                self._next = (name, list(group))
            name, rows = self._next
            if self._place[name] > self._place[document]:
                return []
            self._next = None
            if name == document:
                return rows


def _leave(
    config: QuestionsConfig,
    to: Build,
    levels: Sequence[funnel.Level],
    files: Sequence[parsing.File],
) -> None:
    """What people and other programs read; each file is in place whole, or not at all."""
    manifest = {
        "config": config.model_dump(mode="json", exclude={"workers"}),
        "documents": {str(file.path): file.digest for file in files},
        "stages": to.keys,
        "pypdfium2": version("pypdfium2"),
    }
    if _is_left(to.out, manifest):
        return
    last = list(STAGES)[-1]
    kept = (_row(question) for question in to.rows(last, Question))
    _write(to.out / QUESTIONS, kept)
    _write(to.out / DROPPED, (asdict(one) for stage in STAGES for one in to.dropped(stage)))
    _write_json(to.out / FUNNEL, [asdict(level) for level in levels])
    _write_json(to.out / MANIFEST, manifest)  # the last: it says that all of them are there


def _is_left(out: Path, manifest: dict[str, Any]) -> bool:
    """Whether the files of this very build are there."""
    if not all((out / name).is_file() for name in (QUESTIONS, DROPPED, FUNNEL, MANIFEST)):
        return False
    try:
        found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(found == json.loads(json.dumps(manifest)))


def _row(question: Question) -> dict[str, Any]:
    """A line of questions.jsonl: what `qa` reads first."""
    first = {"id": question.id, "question": question.question, "answer": question.answer}
    return first | {name: value for name, value in asdict(question).items() if value != ""}


def _states(files: Iterable[Path]) -> list[list[Any]]:
    return [[str(file), parsing.digest_of_file(file)] for file in files]


def _write(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    draft = file.with_name(f".{file.name}.draft")
    with draft.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    os.replace(draft, file)


def _write_json(file: Path, value: Any) -> None:
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, file)


@contextmanager
def _sentences(config: QuestionsConfig) -> Iterator[None]:
    """What the operating system refuses, in one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or config.out
        raise QuestionsError(
            f"{where}: {error.strerror or error}. Mend that (a full disk, a missing permission, a "
            "file that went away); then the same command goes on."
        ) from error
