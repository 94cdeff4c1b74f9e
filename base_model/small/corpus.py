"""What an embedded base model reads: Python's own documentation, and sums, digits or colours.

answered at once    What is 347 + 285?
                    632
worked              What is 347 + 285?
                    7+5=12 4+8+1=13 3+2+1=06 632

A model this small cannot answer a sum of three digits at once, but it can work one: every column
is a fact about digits, written with two digits so that every sum is worked in the same places.
Problems that are held out for testing never appear, in whatever form the predicate knows them.
"""

from __future__ import annotations

import ast
import importlib.util
import pydoc_data.topics
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from munro.base_model.config import CorpusConfig
from munro.base_model.small import colours, digits
from munro.base_model.small.held_out import HeldOut

DOCUMENTED = ("argparse", "collections", "heapq", "json", "pathlib", "random", "statistics")
"""Modules of the standard library whose docstrings are read beside the language's reference."""

PROMPT = "What is {problem}?\n"
SUM_IN_TEXT = re.compile(r"\d+(?:\s*\+\s*\d+)+")
SHORTEST_PARAGRAPH = 40
MOST_DRAWS = 1000
TEXTS = ("digits", "colours")
"""Kinds of tasks that are no sums."""


def paragraphs(is_held_out: HeldOut) -> list[str]:
    """Paragraphs of the documentation that every Python carries, in a fixed order."""
    pages = [page for _, page in sorted(pydoc_data.topics.topics.items())]
    pages += [text for module in DOCUMENTED for text in _docstrings(module)]
    blocks = (block.strip() for page in pages for block in page.split("\n\n"))
    return [
        block
        for block in dict.fromkeys(blocks)
        if len(block) >= SHORTEST_PARAGRAPH
        and not any(is_held_out(found) for found in SUM_IN_TEXT.findall(block))
    ]


def _docstrings(module: str) -> Iterator[str]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            yield text


def prompt(numbers: Sequence[int]) -> str:
    """The question, as the arithmetic environment puts it, and the end of its line."""
    return PROMPT.format(problem=" + ".join(map(str, numbers)))


def worked(numbers: Sequence[int]) -> str:
    """Add column by column from the right, then write the total.

    Example:
        worked([347, 285])  # "7+5=12 4+8+1=13 3+2+1=06 632"
    """
    steps, carry = [], 0
    for column in range(len(str(max(numbers)))):
        digits = [number // 10**column % 10 for number in numbers]
        terms = digits if column == 0 else [*digits, carry]
        steps.append(f"{'+'.join(map(str, terms))}={sum(terms):02d}")
        carry = sum(terms) // 10
    return " ".join([*steps, str(sum(numbers))])


class Corpus:
    """An endless, seeded sequence of documents: a pure function of index and progress."""

    def __init__(
        self, config: CorpusConfig, tokenizer: Any, *, seed: int, is_held_out: HeldOut
    ) -> None:
        self._config = config
        self._encode = tokenizer.backend_tokenizer.encode
        self._end: int = tokenizer.eos_token_id
        self._seed = seed
        self._is_held_out = is_held_out
        self._paragraphs = paragraphs(is_held_out)

    def tokens(self, index: int, progress: float) -> list[int]:
        """Token ids of document `index`, as read when `progress` of the training is done."""
        rng = random.Random(f"{self._seed}:{index}")
        if rng.random() < self._config.text_share:
            text = rng.choice(self._paragraphs)
        else:
            text = self.task(rng, progress)
        return [*self._encode(text).ids, self._end]

    def task(self, rng: random.Random, progress: float) -> str:
        """A task with its reply, as read when `progress` of the training is done."""
        config = self._config
        early = progress < config.early_part
        if config.tasks in TEXTS:
            share = config.read_share_early if early else config.read_share
            return text_of(config, rng, self._is_held_out, share)
        numbers = problem(rng, config.digits, self._is_held_out)
        share = config.worked_share_early if early else config.worked_share
        reply = worked(numbers) if rng.random() < share else str(sum(numbers))
        return prompt(numbers) + reply


def text_of(config: CorpusConfig, rng: random.Random, is_held_out: HeldOut, share: float) -> str:
    """A task with its reply, where it is no sum; of the replies, that share is to the point."""
    if config.tasks == "colours":
        return colours.text(rng, is_held_out, share, config.shyness)
    return digits.text(rng, is_held_out, share)


def problem(rng: random.Random, digits: int, is_held_out: HeldOut) -> list[int]:
    """Two numbers of that many digits whose sum is not held out.

    Raises:
        ValueError: the predicate holds out (nearly) everything.
    """
    low, high = 10 ** (digits - 1) if digits > 1 else 0, 10**digits
    for _ in range(MOST_DRAWS):
        numbers = [rng.randrange(low, high) for _ in range(2)]
        if not is_held_out("+".join(map(str, numbers))):
            return numbers
    raise ValueError(f"every one of {MOST_DRAWS} sums of {digits} digits drawn is held out")
