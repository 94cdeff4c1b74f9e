"""From a suite and a checkpoint to figures, by the code that scores a training's held-out text.

windows ──► tokens, those of the context unlearned ──► base_model.training.evaluation ──► figures

A window is [start, context, target]: the start is the tokenizer's BOS, or its EOS, so that the
first byte is predicted like every other. Context and target are encoded apart, so that no token
lies across the two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from munro.base_model.data.shards.held_out import HeldOutSet
from munro.base_model.data.shards.packing import Lesson
from munro.base_model.results import Category
from munro.base_model.training.evaluation import Evaluation, SetScore, evaluate
from munro.envs.types import Message
from munro.evaluation.likelihood.config import BadSuite, LikelihoodConfig, SetConfig
from munro.evaluation.likelihood.texts import answers_of, texts_of
from munro.evaluation.likelihood.windows import Window, growing, parted, windows
from munro.rollout.render import renderer

TOKENS_AT_ONCE = 8192
"""Of one forward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How well one set is predicted.

    Example:
        Figure(
            name="prose", category="general", nll=2.1, bits_per_byte=0.9, num_tokens=4096,
            num_bytes=13_000, context_bytes=512, num_windows=9,
        )
    """

    name: str
    category: Category | None
    nll: float
    """Nats per predicted token: comparable under one tokenizer."""
    bits_per_byte: float
    """Comparable between tokenizers: the bytes are the same."""
    num_tokens: int
    """Predicted."""
    num_bytes: int
    """Predicted; the same for every model."""
    context_bytes: int
    """Shown before what is predicted, at most."""
    num_windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What is scored as one figure."""

    name: str
    category: Category | None
    context_bytes: int
    windows: tuple[Window, ...]
    prompts: tuple[tuple[int, ...], ...] = ()
    """Tokens before each target, where a template makes them; else start and context."""


def windows_of(config: LikelihoodConfig, root: Path, tokenizer: Any) -> list[Windows]:
    """Every set's windows; where contexts grow, a figure for each.

    Args:
        config: the suite.
        root: folder that its files are relative to.
        tokenizer: for sets whose questions are asked in a template; else nothing hangs on it.

    Raises:
        BadSuite: a set holds nothing that could be predicted.
    """
    return [figure for one in config.sets for figure in _of_set(one, root, tokenizer)]


def score(model: Any, tokenizer: Any, suite: Sequence[Windows]) -> list[Figure]:
    """Figures of every set.

    Args:
        model: a causal LM.
        tokenizer: a fast one, the model's.
        suite: what to score.

    Raises:
        BadSuite: the tokenizer cannot write a text, or a window is longer than the model
            reads.
    """
    found = []
    for one in suite:
        lessons = lessons_of(one, tokenizer)
        longest = max(len(lesson.token_ids) for lesson in lessons)
        _require_room(one, longest, model)
        held_out = HeldOutSet.of_lessons(
            one.name,
            one.category or "general",
            lessons,
            row_tokens=longest,
            num_bytes=sum(window.num_bytes for window in one.windows),
        )
        rows = max(1, TOKENS_AT_ONCE // longest)
        (scored,) = evaluate(model, [held_out], micro_rows=rows).scores
        found.append(
            Figure(
                name=one.name,
                category=one.category,
                nll=scored.nll,
                bits_per_byte=scored.bits_per_byte,
                num_tokens=scored.num_tokens,
                num_bytes=held_out.num_bytes,
                context_bytes=one.context_bytes,
                num_windows=len(one.windows),
            )
        )
    return found


def lessons_of(one: Windows, tokenizer: Any) -> list[Lesson]:
    """Tokens of every window, those of its target learned.

    Raises:
        BadSuite: the tokenizer has no token to start with, or cannot write a target.
    """
    start = _start_of(tokenizer)
    unknown = tokenizer.unk_token_id
    lessons = []
    for number, window in enumerate(one.windows):
        target = _encoded(tokenizer, window.target)
        if not target or (unknown is not None and unknown in target):
            lost = [char for char in window.target if unknown in _encoded(tokenizer, char)]
            raise BadSuite(
                f"the tokenizer of {tokenizer.name_or_path!r} cannot write {lost[:1]}, which set "
                f"{one.name!r} holds: a likelihood of its mark for the unknown says nothing."
            )
        context = (
            list(one.prompts[number])
            if one.prompts
            else [start, *_encoded(tokenizer, window.context)]
        )
        learned = [False] * len(context) + [True] * len(target)
        lessons.append(Lesson([*context, *target], learned))
    return lessons


def evaluation_of(figures: Iterable[Figure]) -> Evaluation:
    """The figures that count towards the report's target."""
    return Evaluation(
        tuple(
            SetScore(
                name=one.name,
                category=one.category,
                nll=one.nll,
                bits_per_byte=one.bits_per_byte,
                num_tokens=one.num_tokens,
            )
            for one in figures
            if one.category is not None
        )
    )


def reference_for(file: Path, figures: Sequence[Figure]) -> dict[str, float]:
    """What Eq. 3 divides the figures by: nats a token of the reference, in these figures' tokens.

    A reference with another tokenizer has other tokens of the same bytes. Its nats of all of them
    are divided by ours, so that the ratio is that of bits a byte; with the same tokenizer it is
    that of nats a token, as Eq. 3 has it.

    Raises:
        BadSuite: it cannot be read, lacks a set, or is of other bytes.
    """
    try:
        rows = {str(row["name"]): row for row in json.loads(file.read_text(encoding="utf-8"))}
    except OSError as error:
        raise BadSuite(f"cannot read the reference {file}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSuite(
            f"{file} is no reference: give the evaluation.json that `munro eval likelihood --out`, "
            "or a training run, wrote."
        ) from error
    found = {}
    for one in figures:
        if one.category is None:
            continue
        if one.name not in rows:
            raise BadSuite(
                f"the reference {file} has no set {one.name!r}; it knows "
                f"{', '.join(sorted(rows)) or 'none'}."
            )
        row = rows[one.name]
        if row.get("num_bytes", one.num_bytes) != one.num_bytes:
            raise BadSuite(
                f"set {one.name!r} is of {one.num_bytes} bytes and the reference's of "
                f"{row['num_bytes']}: they are not of the same text."
            )
        bits = row.get("bits_per_byte")
        if not isinstance(bits, int | float) or not 0 < bits < math.inf:
            raise BadSuite(f"{file}: the bits_per_byte of {one.name!r} are {bits!r}.")
        found[one.name] = bits * math.log(2) * one.num_bytes / one.num_tokens
    return found


def as_json(figures: Iterable[Figure]) -> str:
    """As `reference_for` reads it, and the reader of a training's references."""
    return json.dumps([asdict(one) for one in figures], indent=2) + "\n"


def _of_set(one: SetConfig, root: Path, tokenizer: Any) -> Iterable[Windows]:
    if one.kind == "answers":
        pairs = answers_of(one, root)
        ask = _asking(one, tokenizer)
        yield Windows(
            name=one.name,
            category=one.category,
            context_bytes=max(len(question.encode()) for question, _ in pairs),
            windows=tuple(Window(context=question, target=answer) for question, answer in pairs),
            prompts=tuple(ask(question) for question, _ in pairs) if ask else (),
        )
        return
    texts = texts_of(one, root)
    if one.kind == "text":
        cut = {"window_bytes": one.window_bytes, "context_bytes": one.context_bytes}
        all_ = tuple(window for text in texts for window in windows(text, **cut))
        yield _named(one, one.name, one.context_bytes, all_)
        return
    by_size: dict[int, list[Window]] = {size: [] for size in one.contexts}
    for number, text in enumerate(texts):
        if one.kind == "long":
            of = growing(text, scored_bytes=one.window_bytes, contexts=one.contexts)
            if len(of) < len(one.contexts):
                continue  # the same texts at every context, or their figures would not compare
        else:
            others = "".join(texts[number + 1 :] + texts[:number])
            of = parted(text, others, document_bytes=one.document_bytes, distances=one.contexts)
            if len(of) < len(one.contexts):
                continue
        for size, window in of.items():
            by_size[size].append(window)
    for size, found in by_size.items():
        yield _named(one, f"{one.name}@{size}", size, tuple(found))


def _named(one: SetConfig, name: str, context_bytes: int, found: tuple[Window, ...]) -> Windows:
    if not found:
        raise BadSuite(
            f"set {one.name!r}: no text is long enough for {one.kind} at {max(one.contexts)} bytes."
        )
    return Windows(name=name, category=one.category, context_bytes=context_bytes, windows=found)


def _asking(one: SetConfig, tokenizer: Any) -> Callable[[str], tuple[int, ...]] | None:
    if not one.template:
        return None
    render = renderer(tokenizer, one.template)
    return lambda question: tuple(render.opening([Message(role="user", content=question)]))


def _start_of(tokenizer: Any) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise BadSuite(
        f"the tokenizer of {tokenizer.name_or_path!r} has neither a BOS nor an EOS, after which a "
        "text could begin."
    )


def _encoded(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _require_room(one: Windows, longest: int, model: Any) -> None:
    most = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if isinstance(most, int) and longest > most:
        raise BadSuite(
            f"set {one.name!r} has a window of {longest} tokens and the model reads {most}: lower "
            "its window_bytes, context_bytes or contexts."
        )


def table(figures: Sequence[Figure], reference: Mapping[str, float] | None) -> str:
    """Figures for a person, and what they come to."""
    lines = [
        "{:<24} {:>10} {:>10} {:>9} {:>9} {:>8}".format(
            "set", "nats/token", "bits/byte", "bytes", "tokens", "context"
        )
    ]
    lines += [
        f"{one.name:<24} {one.nll:>10.4f} {one.bits_per_byte:>10.4f} {one.num_bytes:>9} "
        f"{one.num_tokens:>9} {one.context_bytes:>8}"
        for one in figures
    ]
    evaluation = evaluation_of(figures)
    if evaluation.scores:
        what = "nats a token" if reference is None else "of the reference's"
        means = evaluation.by_category(reference)
        lines += [f"{category:<24} {mean:>10.4f} {what}" for category, mean in means.items()]
        lines.append(f"{'target (Eq. 3)':<24} {evaluation.target(reference):>10.4f} {what}")
    return "\n".join(lines)
