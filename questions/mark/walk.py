"""From top to bottom of a document: which part is it in, and which numbered thing.

prose ──"Exercises"──► exercises ──"Answers"──► answers ──"Chapter 3"──► prose, or the
  ▲                        │                       │      answers to chapter 3
  └──── a chapter, a section, another heading ─────┘
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from munro.questions.mark.headings import Heading, heading_of, is_section
from munro.questions.mark.labels import (
    ASKED,
    DANGLING,
    KEY_REACH,
    REACH,
    Label,
    follows,
    label_of,
    on_one_line,
    restarts,
)
from munro.questions.mark.outline import OF_PAGES, TEXT
from munro.questions.mark.tables import Table, table_at
from munro.questions.types import Line

PROSE, EXERCISES, ANSWERS = "prose", "exercises", "answers"
BESIDE = re.compile(r"^\**(?:answer|ans|solution|sol)\b\**\s*(?:[.:]\**\s*|$)", re.I)
BESIDE_INLINE = re.compile(r"(?<=[.?!)\]])\s+[\[(]?(?:Answer|Ans)\s*[.:]\s+")
ASKING = re.compile(
    r"\?|\b(?:what|which|how|why|find|compute|calculate|determine|evaluate|solve|simplify|prove|show|"
    r"explain|expand|factor|sketch|draw|write|state|list|estimate|convert|verify)\b",
    re.I,
)
TAIL = 60
NAMED_ANSWER = re.compile(r"^a(?:nswer)?\s*:\s*", re.I)


@dataclass(slots=True)
class Item:
    """A numbered thing as it is being read."""

    role: str
    """question or answer."""
    scope: str
    run: int
    label: str
    page: int
    begin: int
    """Of its number."""
    lines: list[tuple[int, int, int]] = field(default_factory=list)
    """(begin, end, page) of each."""
    beside: list[tuple[int, int, int]] = field(default_factory=list)
    """Of the answer that stands with a question."""
    answers_now: bool = False


@dataclass(slots=True)
class _Part:
    """Where the walk is."""

    kind: str = PROSE
    level: int = 0
    """Of the heading that began it; 0 where the format does not say."""
    run: int = -1
    last: tuple[int, ...] | None = None
    is_named: bool = False
    """Whether its numbers stand behind a word: "Exercise 3"."""
    outer: list[tuple[tuple[int, ...], int]] = field(default_factory=list)
    """Lists that another list interrupted: their last number, and the place of that item."""


class Walk:
    """One way through a document. `items` is what was found."""

    def __init__(self, lines: Sequence[Line], text: str) -> None:
        self.items: list[Item] = []
        self.unread: list[Line] = []
        """Rows of tables that can be read in more ways than one."""
        self._lines = [line for line in lines if line.kind not in OF_PAGES]
        self._text = text
        self._part = _Part()
        self._book, self._chapter, self._section = 1, "", ""
        self._seen: list[str] = []
        self._exercises_seen: set[str] = set()
        self._runs = self._named = 0
        self._item: Item | None = None
        self._until = 0
        for at, line in enumerate(self._lines):
            if at >= self._until:
                self._take(at, line)

    def _words(self, line: Line) -> str:
        return self._text[line.begin : line.end]

    def _take(self, at: int, line: Line) -> None:
        words = self._words(line)
        is_named = line.kind != TEXT
        label = label_of(words)
        if label is not None and self._is_spoken_of(at, label):
            label = None
        if label is not None and label.is_word and self._is_next(label):
            self._begin(line, label)
            return
        if self._part.kind == ANSWERS and self._part.last is None and label is None:
            table = table_at(self._lines, at, self._text)
            if table is not None:
                self._put_table(table)
                return
        heading = heading_of(words, is_named=is_named)
        if heading is not None:
            self._turn(at, line, heading, int(line.kind[-1]) if is_named else 0)
        elif label is not None and self._is_item(label, words):
            self._begin(line, label)
        elif is_section(words) and self._part.kind != PROSE:
            self._enter(PROSE, 0)
        elif found := ASKED.match(words):
            self._named_question(line, found.end())
        else:
            self._continue(line, words)

    def _turn(self, at: int, line: Line, heading: Heading, level: int) -> None:
        if heading.kind == "answers":
            self._enter(ANSWERS, level)
            if heading.name:
                self._chapter, self._section = heading.name, ""
        elif heading.kind == "exercises":
            key = " ".join(self._words(line).split()).casefold()
            if self._part.kind == ANSWERS and heading.name and key in self._exercises_seen:
                self._section = heading.name
                self._restart()
                return
            self._exercises_seen.add(key)
            self._section = heading.name
            self._enter(EXERCISES, level)
        elif heading.kind == "chapter":
            if self._part.kind == ANSWERS and self._goes_on_with_answers(at):
                self._chapter, self._section = heading.name, ""
                self._restart()
                return
            if heading.name in self._seen:  # two books in one file
                self._book, self._seen = self._book + 1, []
            self._seen.append(heading.name)
            self._chapter, self._section = heading.name, ""
            self._enter(PROSE, level)
        elif level and self._part.kind != PROSE and level > self._part.level > 0:
            self._item = None  # a heading inside the part: numbers may go on
        else:
            self._enter(PROSE, level)

    def _goes_on_with_answers(self, at: int) -> bool:
        """Whether what follows a chapter's name in a key is more of the key."""
        for line in self._lines[at + 1 :]:
            words = self._words(line)
            found = heading_of(words, is_named=line.kind != TEXT)
            if found is not None and found.kind == "other":
                continue
            if found is not None:
                key = " ".join(words.split()).casefold()
                return (
                    found.kind == "exercises" and bool(found.name) and key in self._exercises_seen
                )
            label = label_of(words)
            return label is not None and not is_section(words)
        return False

    def _put_table(self, table: Table) -> None:
        """Answers of a key that is a table."""
        self._until = table.until
        self.unread += table.unread
        if not table.answers:
            return
        self._new_run()
        for answer in table.answers:
            self._add(str(answer.number), answer.line)
            for begin, end, page in answer.pieces:
                self._put(begin, end, page)
        self._part.last, self._item = (table.answers[-1].number,), None

    def _is_spoken_of(self, at: int, label: Label) -> bool:
        """Whether a sentence that began above goes on with this number ("beside|Exercise 12.")."""
        part = self._part
        if label.is_word and part.last is not None and not part.is_named:
            return True  # in a list of bare numbers
        if self._item is None or not self._item.lines:
            return False
        before = self._lines[at - 1]
        tail = self._text[max(before.begin, before.end - TAIL) : before.end]
        return DANGLING.search(tail) is not None

    def _enter(self, kind: str, level: int) -> None:
        self._part = _Part(kind=kind, level=level)
        self._item = None

    def _restart(self) -> None:
        self._part.last, self._part.outer, self._item = None, [], None

    def _is_next(self, label: Label) -> bool:
        last = self._part.last
        reach = KEY_REACH if self._part.kind == ANSWERS else REACH
        return last is None or follows(label, last, reach) or restarts(label, last)

    def _is_item(self, label: Label, words: str) -> bool:
        part = self._part
        if part.kind == PROSE:
            return False
        if part.last is None:
            return not (len(label.number) > 1 and is_section(words) and part.kind == EXERCISES)
        if self._is_next(label):
            return True
        reach = KEY_REACH if part.kind == ANSWERS else REACH
        return any(follows(label, last, reach) for last, _ in part.outer)

    def _begin(self, line: Line, label: Label) -> None:
        part = self._part
        if part.kind == PROSE:  # "Exercise 3." in the middle of a text
            self._part = part = _Part(kind=EXERCISES)
        reach = KEY_REACH if part.kind == ANSWERS else REACH
        if part.last is None:
            self._new_run()
            part.is_named = label.is_word
        elif not follows(label, part.last, reach) or self._ends_inner_list(label, reach):
            self._leave_inner_list(label, reach)
        part.last = label.number
        words = self._words(line)
        several = on_one_line(words) if part.kind == ANSWERS else []
        for number, begin, end in several[:-1]:
            self._add(number, line)
            self._put(line.begin + begin, line.begin + end, line.page)
        if several:
            number, begin, end = several[-1]
            self._add(number, line)
            self._put(line.begin + begin, line.begin + end, line.page)
            part.last = (int(number),)
            return
        self._add(label.name, line)
        self._continue_at(line, words, label.after)

    def _ends_inner_list(self, label: Label, reach: int) -> bool:
        """Whether a number that follows in two lists goes on with the outer one: where nothing in
        the inner one asks anything."""
        part = self._part
        if not part.outer or not follows(label, part.outer[-1][0], reach):
            return False
        inner = self.items[part.outer[-1][1] + 1 :]
        words = (self._text[begin:end] for item in inner for begin, end, _ in item.lines)
        return not any(ASKING.search(one) for one in words)

    def _leave_inner_list(self, label: Label, reach: int) -> None:
        """A number that does not follow: a list begins, or one that was interrupted goes on."""
        part = self._part
        for depth in range(len(part.outer) - 1, -1, -1):
            last, place = part.outer[depth]
            if follows(label, last, reach):
                # what lay between was a list inside of that item
                for inner in self.items[place + 1 :]:
                    (_, end, page), *rest = inner.lines or [(0, inner.begin, inner.page)]
                    self.items[place].lines += [(inner.begin, end, page), *rest, *inner.beside]
                del self.items[place + 1 :]
                del part.outer[depth:]
                part.run = self.items[place].run
                return
        assert part.last is not None
        if self._item is not None:
            part.outer.append((part.last, len(self.items) - 1))
        self._new_run()

    def _new_run(self) -> None:
        self._part.run = self._runs
        self._runs += 1

    def _add(self, label: str, line: Line) -> None:
        role = "answer" if self._part.kind == ANSWERS else "question"
        scope = f"{self._book}/{self._chapter}/{self._section}"
        self._item = Item(role, scope, self._part.run, label, line.page, line.begin)
        self.items.append(self._item)

    def _named_question(self, line: Line, after: int) -> None:
        if self._part.kind != EXERCISES or self._part.run < 0:
            self._part = _Part(kind=EXERCISES)
            self._new_run()
        self._part.last = None
        self._named += 1
        self._add(f"q{self._named}", line)
        self._put(line.begin + after, line.end, line.page)

    def _continue(self, line: Line, words: str) -> None:
        if self._item is not None:
            self._continue_at(line, words, 0)

    def _continue_at(self, line: Line, words: str, after: int) -> None:
        """A line of the item, or the answer beside it."""
        item = self._item
        assert item is not None
        rest = words[after:]
        if item.role == "question" and not item.answers_now:
            found = BESIDE.match(rest) or (
                NAMED_ANSWER.match(rest) if item.label.startswith("q") else None
            )
            if found:
                item.answers_now = True
                after += found.end()
            elif inline := BESIDE_INLINE.search(rest):
                self._put(line.begin + after, line.begin + after + inline.start(), line.page)
                item.answers_now = True
                is_bracketed = inline[0].strip()[0] in "[(" and words[-1] in "])"
                self._put(line.begin + after + inline.end(), line.end - is_bracketed, line.page)
                return
        self._put(line.begin + after, line.end, line.page)

    def _put(self, begin: int, end: int, page: int) -> None:
        item = self._item
        assert item is not None
        while begin < end and self._text[begin].isspace():
            begin += 1
        if begin < end:
            (item.beside if item.answers_now else item.lines).append((begin, end, page))
