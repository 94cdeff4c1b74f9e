"""The stage `curate`: pairs into questions of a type, and every other pair with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from munro.questions.clean.filters import FILTERS, type_of
from munro.questions.config import CurateConfig
from munro.questions.stages import Outcome
from munro.questions.types import Dropped, Pair, Question
from munro.rewards.math.answers import clean, is_words, read

STAGE = "curate"


def curated(pairs: Iterable[Pair], config: CurateConfig, also: Sequence[str] = ()) -> Outcome:
    """Questions of the wanted types.

    Args:
        pairs: all of them.
        config: what is wanted.
        also: types that a later stage makes something of.
    """
    outcome = Outcome()
    for pair in pairs:
        reason, evidence = _reason(pair, config)
        if reason:
            outcome.dropped.append(dropped(STAGE, pair, reason, evidence))
            continue
        kind = type_of(pair.question, pair.answer, is_checkable=is_checkable(pair.answer))
        if kind not in (*config.types, *also):
            why = f"curate.types = {', '.join(config.types)}"
            outcome.dropped.append(dropped(STAGE, pair, f"of type {kind}", why))
            continue
        columns: dict[str, Any] = {name: getattr(pair, name) for name in Pair.__slots__}
        outcome.kept.append(Question(**columns, type=kind))
    return outcome


def is_checkable(answer: str) -> bool:
    """Whether the verifier of mathematics can read it, so that no judge is needed."""
    bare = clean(answer)
    return bool(bare) and not is_words(bare) and read(bare) is not None


def dropped(stage: str, pair: Pair | Question, reason: str, evidence: str) -> Dropped:
    """A pair that a stage leaves out."""
    return Dropped(
        stage=stage,
        reason=reason,
        evidence=evidence,
        source=pair.source,
        file=pair.file,
        page=pair.page,
        id=pair.id,
        question=pair.question,
        answer=pair.answer,
    )


def _reason(pair: Pair, config: CurateConfig) -> tuple[str, str]:
    for name, look in FILTERS.items():
        if shown := look(pair.question, pair.answer, config):
            return name, shown
    return "", ""
