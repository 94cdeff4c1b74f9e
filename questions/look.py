"""A build as one page that a person can judge it by: pairs beside their source, and every drop.

No script runs in it, and what documents say is escaped, cut, and stands in its own direction.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from munro.questions import tables
from munro.questions.errors import QuestionsError
from munro.questions.stages import MARK, STAGES
from munro.questions.types import PAGE_END, Dropped, Page, Question, pairwise, text_of

PAGE = "look.html"
PAIRS = 40
"""Shown of the questions, spread evenly over all."""
PER_REASON = 6
"""Shown of what a stage left out for a reason."""
AROUND = 240
"""Characters of the source before and after a question, and then to the end of a line."""
MOST_TEXT = 2_000
STYLE = """
:root { color-scheme: light }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  color: #1d2430; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.4rem } h3 { font-size: 1rem }
table { border-collapse: collapse } td, th { padding: .3rem 1.2rem .3rem 0; text-align: left;
  vertical-align: top }
td.n { font-variant-numeric: tabular-nums; text-align: right }
.bar { width: 12rem; height: .7rem; background: #eef1f5; margin-top: .4rem }
.bar i { display: block; height: .7rem; background: #7a9fd1 }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.4rem; border-top: 1px solid #dfe4ec;
  padding: .9rem 0 }
@media (max-width: 48rem) { .pair { grid-template-columns: 1fr } }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f7f9; padding: .6rem .8rem;
  margin: .3rem 0; unicode-bidi: isolate; font: 13px/1.5 ui-monospace, monospace }
mark.q { background: #ffe9a8 } mark.a { background: #bfe6c8 }
.dim { color: #667080; font-size: .87rem } .why { color: #8f3a1f } summary { cursor: pointer }
"""

Record = TypeVar("Record")


def write_page(out: Path) -> Path:
    """Write `look.html` into a build's folder.

    Raises:
        QuestionsError: it holds no build that came to its end, or it is damaged.
    """
    if not (out / MARK).exists():
        raise QuestionsError(f"{out} was not made by munro questions build: name its `out`.")
    questions = _rows(out / "questions.jsonl", Question)
    dropped = _rows(out / "dropped.jsonl", Dropped)
    build = _Build(
        out=out,
        questions=questions,
        dropped=[*dropped, *_wrong(out)],
        levels=_json(out / "funnel.json"),
        sources=_sources(out, [one.document for one in _spread(questions, PAIRS)]),
        scores=_scores(out),
    )
    page = _page(build)
    draft = out / f".{PAGE}.draft"
    try:
        draft.write_text(page, encoding="utf-8")
        os.replace(draft, out / PAGE)
    except OSError as error:
        raise QuestionsError(f"{out / PAGE} cannot be written ({error.strerror}).") from error
    return out / PAGE


@dataclass(frozen=True, slots=True)
class _Source:
    """A document that is shown."""

    text: str
    read_by: Mapping[int, str]
    """By page: the reader of scans that its text is from, empty for the file itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    """All that the page is made of."""

    out: Path
    questions: Sequence[Question]
    dropped: Sequence[Dropped]
    levels: Sequence[dict[str, Any]]
    sources: Mapping[str, _Source]
    scores: Mapping[str, str]
    """By question: what tiers made of it."""


def _page(build: _Build) -> str:
    questions, dropped, levels = build.questions, build.dropped, build.levels
    shown = _spread(questions, PAIRS)
    name = escape(build.out.resolve().name)
    pairs = "".join(
        _pair(one, build.sources.get(one.document), build.scores.get(one.id, "")) for one in shown
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{name}: questions</title><style>{STYLE}</style></head>
<body><h1>{name}: {len(questions):,} questions</h1>
<p class="dim">{len(dropped):,} things were <a href="#left-out">left out</a> on the way; each is in
dropped.jsonl.</p>
<table><tr><th>stage</th><th>kept</th><th></th><th></th><th>left out</th></tr>
{"".join(_level(level, levels) for level in levels)}</table>
<h2>Questions beside their source</h2>
<p class="dim">{len(shown):,} of {len(questions):,}, spread over all. <mark class="q">Yellow</mark>
is where the question stands, <mark class="a">green</mark> its answer.</p>
{pairs or "<p>There are none.</p>"}
<h2 id="left-out">What was left out, and why</h2>
{_drops(dropped) or "<p>Nothing.</p>"}
</body></html>
"""


def _level(level: dict[str, Any], levels: Sequence[dict[str, Any]]) -> str:
    most = max([one["kept"] for one in levels if one["noun"] == level["noun"]], default=1) or 1
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in level["dropped"].items())
    return (
        f'<tr><td>{escape(level["stage"])}</td><td class="n">{level["kept"]:,}</td>'
        f'<td>{escape(level["noun"])}</td><td><div class="bar"><i style="width:'
        f'{level["kept"] / most:.0%}"></i></div></td><td>{escape(reasons)}</td></tr>'
    )


def _pair(one: Question, source: _Source | None, score: str) -> str:
    rewritten = (
        f'<p class="dim">before it was rewritten:</p>'
        f'<pre dir="auto">{_cut(one.converted_from)}</pre>'
        if one.converted_from
        else ""
    )
    place = f"{Path(one.file).name}, page {one.page}, number {one.label}"
    if source is not None and (reader := source.read_by.get(one.page)):
        place += f" (a picture, read by {reader})"
    said = [
        " on ".join(filter(None, (one.type, one.topic))),
        f"vouched for by: {one.by}",
        f"differs from {one.template} in numbers or answer" if one.template else "",
        score,
    ]
    return (
        f'<div class="pair" id="{escape(one.id)}"><div><p class="dim">{escape(place)}</p>'
        f'<pre dir="auto">{_cut(one.question)}</pre>'
        f'<pre dir="auto">{_cut(one.answer)}</pre>{rewritten}'
        f'<p class="dim">{escape("; ".join(filter(None, said)))}</p>'
        f"</div><div>{_beside(one, source)}</div></div>"
    )


def _beside(one: Question, source: _Source | None) -> str:
    """The page around question and answer, with both marked where they stand."""
    if source is None:
        return '<p class="dim">its pages are not in this folder any more</p>'
    text = source.text
    both = {"q": one.question_pieces, "a": one.answer_pieces}
    places = {name: pairwise(pieces) for name, pieces in both.items() if pieces}
    blocks: list[tuple[int, int]] = []
    for some in places.values():
        low = _line_begin(text, some[0][0] - AROUND)
        high = _line_end(text, some[-1][1] + AROUND)
        if not blocks or not blocks[0][0] <= some[0][0] <= some[-1][1] <= blocks[0][1]:
            blocks.append((low, high))
    return "".join(
        f'<p class="dim">page {text.count(PAGE_END, 0, low) + 1}</p>'
        f'<pre dir="auto">{_marked(text, low, high, places)}</pre>'
        for low, high in blocks
    )


def _line_begin(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, max(at, 0)), text.rfind(PAGE_END, 0, max(at, 0))) + 1


def _line_end(text: str, at: int) -> int:
    found = text.find("\n", min(at, len(text)))
    return min(len(text) if found < 0 else found, at + AROUND, len(text))


def _marked(text: str, low: int, high: int, places: dict[str, list[tuple[int, int]]]) -> str:
    pieces, at = [], low
    spans = sorted((begin, end, name) for name, some in places.items() for begin, end in some)
    for begin, end, name in spans:
        if end <= at or begin >= high:
            continue
        begin, end = max(begin, at), min(end, high)
        pieces.append(escape(text[at:begin]))
        pieces.append(f'<mark class="{name}">{escape(text[begin:end])}</mark>')
        at = end
    pieces.append(escape(text[at:high]))
    return "".join(pieces).replace("\f", "\n")


def _drops(dropped: Sequence[Dropped]) -> str:
    groups: dict[tuple[str, str], list[Dropped]] = defaultdict(list)
    for one in dropped:
        groups[one.stage, one.reason].append(one)
    return "".join(
        f"<details open><summary><b>{escape(stage)}</b>: {escape(reason)} ({len(some):,})</summary>"
        f"{''.join(_drop(one) for one in _spread(some, PER_REASON))}</details>"
        for (stage, reason), some in groups.items()
    )


def _drop(one: Dropped) -> str:
    place = f"{Path(one.file).name}{f', page {one.page}' if one.page else ''}"
    texts = "".join(
        f'<pre dir="auto">{_cut(text)}</pre>' for text in (one.question, one.answer) if text
    )
    return (
        f'<div><p><span class="dim">{escape(place)}</span> '
        f'<span class="why">{_cut(one.evidence)}</span></p>{texts}</div>'
    )


def _sources(out: Path, documents: Iterable[str]) -> dict[str, _Source]:
    """The documents that are shown, whole."""
    wanted = set(documents)
    pages: dict[str, list[Page]] = defaultdict(list)
    file = out / STAGES / "ocr.parquet"
    if wanted and tables.key_of(file):
        for page in tables.read(file, Page):
            if page.document in wanted:
                pages[page.document].append(page)
    return {
        document: _Source(
            text_of([page.text for page in some]), {page.number: page.read_by for page in some}
        )
        for document, some in pages.items()
    }


def _scores(out: Path) -> dict[str, str]:
    """What tiers made of each question, where they were tried."""
    told = {}
    for row in _scored(out, "questions.jsonl"):
        rates = ", ".join(f"{name} {rate:.2f}" for name, rate in row["pass_rates"].items())
        doubt = (
            f"; in doubt ({row['doubt']}): tiers say {row['consensus']}" if "doubt" in row else ""
        )
        told[str(row.get("id"))] = f"{row['bracket']}: {rates or 'no pass rates'}{doubt}"
    return told


def _wrong(out: Path) -> list[Dropped]:
    """Questions whose answer the blind judge takes for wrong."""
    return [
        Dropped(
            stage="score",
            reason=str(line["reason"]),
            evidence=f"{line['votes']} attempts of the strongest tier say {line['consensus']}",
            **{
                name: line["row"].get(name, "")
                for name in ("source", "file", "page", "id", "question", "answer")
            },
        )
        for line in _scored(out, "dropped.jsonl")
    ]


def _scored(out: Path, name: str) -> list[dict[str, Any]]:
    file = out / "scored" / name
    return [json.loads(line) for line in _text(file).split("\n") if line] if file.exists() else []


def _spread(some: Sequence[Record], number: int) -> list[Record]:
    """So many of them, evenly over all."""
    if len(some) <= number:
        return list(some)
    return [some[at * len(some) // number] for at in range(number)]


def _cut(text: str) -> str:
    rest = len(text) - MOST_TEXT
    return escape(text if rest <= 0 else f"{text[:MOST_TEXT]} [{rest:,} more characters]")


def _rows(file: Path, record: Callable[..., Record]) -> list[Record]:
    names = {field.name for field in fields(record)}  # type: ignore[arg-type]
    defaults = dict.fromkeys(names, "")

    def made(line: str) -> Record:
        row = {name: value for name, value in json.loads(line).items() if name in names}
        whole = defaults | row
        lists = {name: tuple(value) for name, value in whole.items() if isinstance(value, list)}
        return record(**whole | lists)

    return [made(line) for line in _text(file).split("\n") if line]


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError as error:
        raise QuestionsError(f"{file} is damaged ({error}): run the build again.") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise QuestionsError(
            f"{file} cannot be read ({error.strerror}): run munro questions build to its end first."
        ) from error
