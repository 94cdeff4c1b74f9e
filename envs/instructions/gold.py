"""Sampled instructions together with a text that is built to follow them, piece by piece.

Each builder below adds one instruction and changes the text so that it is followed. Some pairs
undo each other; whoever draws checks the finished text and draws again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

WORDS = tuple(
    """ok moss fern bear rock wind rain snow leaf tree bird fish fox cat dog cow pig sun moon star
    sand wave lake hill road gate door wall roof bread milk salt corn rice soup red blue green gold
    gray one two ten map pen cup hat coat ship boat bell drum song""".split()  # noqa: SIM905
)
TOPICS = (
    "rivers",
    "bread",
    "the sea",
    "trains",
    "winter",
    "gardens",
    "clocks",
    "bees",
    "mountains",
    "libraries",
    "paper",
    "salt",
    "bridges",
    "owls",
    "maps",
    "kites",
)
SENTENCES = (
    "There is much to say about {topic}",
    "Many people think of {topic} when they are at home",
    "A child may learn about {topic} in school",
    "Nobody knows all that there is to know about {topic}",
    "It is good to read about {topic} on a quiet day",
    "The oldest stories tell of {topic} as well",
    "Some of my friends have written about {topic}",
    "In the end {topic} will always be with us",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A text on its way, and the instructions that it follows so far."""

    sentences: tuple[str, ...]
    before: str = ""
    after: str = ""
    joint: str = " "
    mark: str = ""
    case: str = ""
    is_quoted: bool = False
    instructions: tuple[Mapping[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """The reply."""
        body = self.joint.join(f"{self.mark}{sentence}." for sentence in self.sentences)
        text = f"{self.before}{body}{self.after}"
        text = {"upper": text.upper(), "lower": text.lower()}.get(self.case, text)
        return f'"{text}"' if self.is_quoted else text

    def told(self, name: str, **kwargs: Any) -> Draft:
        """The same with one more instruction."""
        spec = {"id": name, "kwargs": kwargs}
        return replace(self, instructions=(*self.instructions, spec))


Builder = Callable[[random.Random, Draft], Draft]


def draw(rng: random.Random, topic: str, count: int) -> Draft:
    """A text about `topic` and `count` instructions, most likely all followed."""
    picked = rng.sample(SENTENCES, rng.randint(3, 6))
    draft = Draft(sentences=tuple(sentence.format(topic=topic) for sentence in picked))
    # what counts words or sentences comes last, when the text is whole
    for build in sorted(rng.sample(BUILDERS, count), key=BUILDERS.index):
        draft = build(rng, draft)
    return draft


def _keywords(rng: random.Random, draft: Draft) -> Draft:
    words = rng.sample(WORDS, 2)
    added = (*draft.sentences, f"We saw {words[0]} and {words[1]}")
    return replace(draft, sentences=added).told("keywords:existence", keywords=words)


def _frequency(rng: random.Random, draft: Draft) -> Draft:
    word, times = rng.choice([word for word in WORDS if len(word) > 3]), rng.randint(2, 3)
    added = (*draft.sentences, "Say " + " and ".join([word] * times))
    return replace(draft, sentences=added).told(
        "keywords:frequency", keyword=word, frequency=times, relation="at least"
    )


def _forbidden(rng: random.Random, draft: Draft) -> Draft:
    return draft.told("keywords:forbidden_words", forbidden_words=[*rng.sample(WORDS, 2), "know"])


def _letters(rng: random.Random, draft: Draft) -> Draft:
    return draft.told(
        "keywords:letter_frequency",
        letter=rng.choice("aest"),
        let_frequency=rng.randint(6, 12),
        let_relation="at least",
    )


def _order(rng: random.Random, draft: Draft) -> Draft:
    first, then = rng.sample(WORDS, 2)
    added = (f"It begins with {first}", *draft.sentences, f"It ends with {then}")
    return replace(draft, sentences=added).told("sequence:order", phrases=[first, then])


def _placeholders(rng: random.Random, draft: Draft) -> Draft:
    count = rng.randint(1, 3)
    added = (*draft.sentences, " ".join(["Write to", *["[name]", "[place]", "[date]"][:count]]))
    return replace(draft, sentences=added).told(
        "detectable_content:number_placeholders", num_placeholders=count
    )


def _highlights(rng: random.Random, draft: Draft) -> Draft:
    word = rng.choice(WORDS)
    added = (*draft.sentences, f"Mind the *{word}*")
    return replace(draft, sentences=added).told(
        "detectable_format:number_highlighted_sections", num_highlights=1
    )


def _bullets(rng: random.Random, draft: Draft) -> Draft:  # noqa: ARG001
    return replace(draft, mark="* ", joint="\n").told(
        "detectable_format:number_bullet_lists", num_bullets=len(draft.sentences)
    )


def _title(rng: random.Random, draft: Draft) -> Draft:
    made = replace(draft, before=f"<<{rng.choice(WORDS)}>>\n{draft.before}")
    return made.told("detectable_format:title")


def _postscript(rng: random.Random, draft: Draft) -> Draft:
    marker = rng.choice(["P.S.", "P.P.S"])
    made = replace(draft, after=f"{draft.after}\n{marker} That is all.")
    return made.told("detectable_content:postscript", postscript_marker=marker)


def _ending(rng: random.Random, draft: Draft) -> Draft:
    phrase = f"So much for the {rng.choice(WORDS)}."
    return replace(draft, after=f"{draft.after} {phrase}").told(
        "startend:end_checker", end_phrase=phrase
    )


def _no_comma(rng: random.Random, draft: Draft) -> Draft:  # noqa: ARG001
    return draft.told("punctuation:no_comma")


def _case(rng: random.Random, draft: Draft) -> Draft:
    case, name = rng.choice([("upper", "english_capital"), ("lower", "english_lowercase")])
    return replace(draft, case=case).told(f"change_case:{name}")


def _quotation(rng: random.Random, draft: Draft) -> Draft:  # noqa: ARG001
    return replace(draft, is_quoted=True).told("startend:quotation")


def _words(rng: random.Random, draft: Draft) -> Draft:
    number = len(draft.text.split())
    if rng.random() < 0.5:
        return draft.told(
            "length_constraints:number_words", num_words=number + 20, relation="less than"
        )
    return draft.told(
        "length_constraints:number_words", num_words=max(number - 5, 4), relation="at least"
    )


def _sentences(rng: random.Random, draft: Draft) -> Draft:  # noqa: ARG001
    return draft.told(
        "length_constraints:number_sentences",
        num_sentences=len(draft.sentences),
        relation="at least",
    )


BUILDERS: tuple[Builder, ...] = (
    _keywords,
    _frequency,
    _order,
    _placeholders,
    _highlights,
    _bullets,
    _title,
    _postscript,
    _ending,
    _case,
    _quotation,
    _forbidden,
    _letters,
    _no_comma,
    _words,
    _sentences,
)
