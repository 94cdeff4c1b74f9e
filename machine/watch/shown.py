"""One group and one attempt, as a page shows them: texts shortened to what a screen can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from munro.machine.report.rollouts import calls_in_words, conversation
from munro.machine.run import token_figures
from munro.machine.watch.curves import short
from munro.machine.watch.shelf import Shelf
from munro.machine.watch.tokens import Decode, pieces
from munro.rollout.branches import parents
from munro.rollout.store.rows import pairs

MOST_LETTERS = 200_000
"""Of one text."""
TOKENS_AT_ONCE = 4000

GROUP = (
    "attempt", "env", "task_id", "prompt", "solved", "reward_total", "advantage", "num_sampled",
    "ending", "pass_rate", "early_pass_rate", "num_unscored", "given_up", "oldest_version",
)  # fmt: skip
ATTEMPT = (
    "attempt", "messages", "reply", "reason", "grade_parts", "reward_task", "reward_language",
    "reward_length", "reward_repetition", "reward_truncation", "reward_total", "advantage",
    "ending", "num_sampled", "num_cut", "calls", "solved", "oldest_version",
)  # fmt: skip
TOKENS = (
    "attempt", "token_ids", "sampled", "behaviour_logp", "versions", "kept_starts", "forks",
    "advantage",
)  # fmt: skip

NO_ENTROPY = "The entropy at single tokens is not stored: see policy/entropy of the step."
NO_RATIO = (
    "A climb keeps no token's ratio and clip, only their sums (ratio/max, clip/*): "
    "munro replay {run} --step {step} --tokens computes them for this step."
)

Row = dict[str, Any]


class NotThere(Exception):
    """What a page asked for is not stored, or not any more."""

    is_sentence = True


def group(shelf: Shelf, step: int, index: int) -> Row:
    """What all attempts at a task share, and a line of each.

    Raises:
        NotThere: nothing is stored of it.
        StoreError: its file is damaged.
    """
    rows = shelf.group(step, index, GROUP)
    if not rows:
        raise NotThere(f"step {step} holds no group {index}: it may have been taken again since.")
    shared = ("env", "task_id", "prompt", "pass_rate", "early_pass_rate", "num_unscored")
    told = {name: rows[0][name] for name in (*shared, "given_up")}
    told["prompt"] = shortened(told["prompt"] or "")
    own = [name for name in GROUP if name not in told]
    told["attempts"] = [{name: row[name] for name in own} for row in rows]
    return _finite(told)


def attempt(shelf: Shelf, step: int, index: int, number: int) -> Row:
    """Everything of one attempt but its tokens.

    Raises:
        NotThere, StoreError: as `group`.
    """
    row = _one(shelf, step, index, number, ATTEMPT)
    try:
        row["calls"] = calls_in_words(json.loads(row["calls"] or "[]"))
        row["reply"] = conversation(json.loads(row.pop("messages"))) or row["reply"]
        parts = json.loads(row.pop("grade_parts"))
        row["parts"] = ", ".join(f"{name} {value:.4g}" for name, value in parts.items())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotThere(
            f"attempt {number} of group {index} at step {step} is stored in a form that this "
            "version does not read: another one wrote it."
        ) from error
    for name in ("reply", "reason", "parts", "calls"):
        row[name] = shortened(row[name])
    return _finite(row)


def tokens(
    run: Path, shelf: Shelf, step: int, index: int, number: int, first: int, decode: Decode | None
) -> Row:
    """Some tokens of an attempt, with every number that is stored of each.

    Args:
        run: its folder.
        shelf: the store.
        step, index, number: of the attempt.
        first: token to begin at.
        decode: of the run's tokenizer; tokens go by their numbers without it.

    Returns:
        `total`, `first`, and of each token its text (`texts`), the probability with which it was
        sampled (`probability`), how many tokens its nucleus had (`nucleus`), and the version of the
        weights that wrote it (`version`), where they were computed the learner's ratio (`ratio`)
        and the bound that holds it (`clip`); null where it was not sampled, or where that is not
        stored. `breaks`: tokens that do not follow the one before them. `lacks`: what is not
        stored, a sentence each.

    Raises:
        NotThere, StoreError: as `group`.
    """
    row = _one(shelf, step, index, number, TOKENS)
    ids, sampled = row["token_ids"], row["sampled"]
    last = min(len(ids), first + TOKENS_AT_ONCE)
    texts = [f"[{each}]" for each in ids[first:last]]
    if decode is not None:
        texts = pieces(ids[first:last], decode)
    widths = np.diff(np.array(row["kept_starts"] or [0] * (len(ids) + 1))).tolist()
    after = parents(len(ids), pairs(row["forks"]))
    shown = range(first, last)

    def own(values: Sequence[Any]) -> list[Any]:
        return [values[place] if sampled[place] else None for place in shown]

    ratio, clip = _moved(run, row, step, index, number)
    lacks = [NO_ENTROPY]
    if ratio is None and shelf.is_trained:
        lacks = [NO_RATIO.format(run=run, step=step), *lacks]
    return {
        "total": len(ids),
        "first": first,
        "texts": texts,
        "has_texts": decode is not None,
        "probability": own([round(math.exp(value), 5) for value in row["behaviour_logp"]]),
        "nucleus": own([width or None for width in widths]),
        "version": own(row["versions"]),
        "ratio": ratio and ratio[first:last],
        "clip": clip and clip[first:last],
        "lacks": lacks,
        "breaks": [place for place in shown if place and after[place] != place - 1],
    }


def _moved(
    run: Path, row: Row, step: int, index: int, number: int
) -> tuple[list[float | None] | None, list[str | None] | None]:
    """Ratio and clip of every token, where a replay has computed them."""
    at = np.flatnonzero(row["sampled"])
    figures = token_figures.read(run, step, index, number, len(at))
    if figures is None or row["advantage"] is None:
        return None, None
    behaviour = np.array(row["behaviour_logp"], np.float64)[at]
    ratios = np.exp(figures.logp - behaviour).tolist()
    ratio: list[float | None] = [None] * len(row["sampled"])
    clip: list[str | None] = [None] * len(row["sampled"])
    for place, value in zip(at.tolist(), ratios, strict=True):
        ratio[place] = short(value)
        clip[place] = figures.clipped(value, row["advantage"])
    return ratio, clip


def _one(shelf: Shelf, step: int, index: int, number: int, columns: Sequence[str]) -> Row:
    for row in shelf.group(step, index, columns):
        if row["attempt"] == number:
            return row
    raise NotThere(
        f"step {step} holds no attempt {number} of group {index}: it may have been taken again "
        "since."
    )


def shortened(text: str) -> str:
    """A text of more than a screen can hold without its middle."""
    missing = len(text) - MOST_LETTERS
    if missing <= 0:
        return text
    head, tail = text[: MOST_LETTERS // 2], text[-MOST_LETTERS // 2 :]
    return f"{head}\n[… {missing:,} characters left out …]\n{tail}"


def _finite(row: Row) -> Row:
    """Numbers that JSON has no word for become null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
