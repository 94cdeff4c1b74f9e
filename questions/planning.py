"""What a build would do, and what it lacks: told before hours go into it. Writes nothing."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from munro.questions.answers.config import ScoreConfig
from munro.questions.answers.score import rows_to_score
from munro.questions.clean import contamination
from munro.questions.config import QuestionsConfig, ScansConfig
from munro.questions.errors import QuestionsError
from munro.questions.parse import parsing
from munro.questions.parse.scan import reader_of
from munro.questions.stages import MARK
from munro.rewards.judge.access import Access

PATIENCE_S = 2.0
"""Wall seconds that an address may take to be connected to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A build, for a person."""

    does: tuple[str, ...]
    """A line a stage."""
    lacks: tuple[str, ...]
    """What is not there, a sentence each; nothing where it can begin."""


def planned(config: QuestionsConfig) -> Plan:
    """What `build` would do with this recipe, and what would stop it."""
    lacks: list[str] = []
    does = [_out(config), *_documents(config, lacks), *_stages(config)]
    lacks += _scans_lack(config.scans)
    try:
        contamination.files_of(config.contamination, Path(config.out).expanduser())
    except QuestionsError as error:
        lacks.append(str(error))
    for whose, model, url, key in _models(config):
        lacks += _model_lacks(whose, model, url, key)
    for whose, judge in (("reader", config.models.reader), ("judge", config.models.judge)):
        try:
            if judge is not None and not judge.base_url:
                Access(judge, whose).close()
        except ValueError as error:
            lacks.append(f"models.{whose}: {error}")
    return Plan(does=tuple(does), lacks=tuple(dict.fromkeys(lacks)))


def scoring_planned(
    file: Path, out: Path, config: ScoreConfig, *, question: str, answer: str
) -> Plan:
    """What `score` would do with this file, and what would stop it.

    Raises:
        QuestionsError: the file cannot be read, or a row has no question or answer.
    """
    rows = rows_to_score(file, question, answer)
    asked, each = len(rows.asked), config.scoring.attempts
    left = len(rows.rows) - asked
    begun = ", begun: it goes on there" if (out / MARK).exists() else ""
    judge = config.judge.model if config.judge else "nobody"
    does = (
        f"out        {out}{begun}",
        f"questions  {asked:,}" + (f"; {left:,} proofs and words stay unrated" if left else ""),
        *(
            f"tier       {tier.name}: {each} attempts at each, {asked * each:,} in all"
            for tier in config.tiers
        ),
        f"doubts     judged by {judge}",
    )
    lacks = [
        lack
        for tier in config.tiers
        for lack in _model_lacks(f"tier {tier.name}", tier.model, tier.base_url, tier.api_key_env)
    ]
    if (own := config.judge) is not None:
        lacks += _model_lacks("judge", own.model, own.base_url, own.api_key_env)
    return Plan(does=does, lacks=tuple(dict.fromkeys(lacks)))


def _out(config: QuestionsConfig) -> str:
    out = Path(config.out).expanduser()
    return f"out        {out}{', begun: it goes on there' if (out / MARK).exists() else ''}"


def _documents(config: QuestionsConfig, lacks: list[str]) -> Iterator[str]:
    for source in config.sources:
        try:
            found = parsing.listed(source)
        except QuestionsError as error:
            lacks.append(str(error))
            continue
        forms = Counter(form or "of no format" for _, form in found)
        told = ", ".join(f"{count:,} {form}" for form, count in forms.items())
        yield f"documents  {source.name}: {told}"


def _stages(config: QuestionsConfig) -> Iterator[str]:
    scans, reader, curate = config.scans, config.models.reader, config.curate
    by = f"rules; what they leave open by {reader.model}" if reader else "rules alone"
    seer = f", {scans.address.model}" if scans.address and scans.reader == "address" else ""
    yield (
        f"ocr        pages that are pictures by {scans.reader}{seer}"
        if scans.reader
        else "ocr        pages that are pictures are left out: no scans.reader"
    )
    yield f"mark, pair {by}"
    yield f"curate     {', '.join(curate.types)}"
    if config.converts:
        yield f"convert    other choices and proofs, {config.convert.times} times each"
    files = config.contamination.files
    yield f"against    {', '.join(files) if files else 'no evaluation set'}"
    kept = ", ".join(config.topics.keep) or "all topics"
    yield f"topics     by {config.topics.by}: {kept}"
    if config.score is not None:
        names = ", ".join(tier.name for tier in config.tiers)
        judge = config.models.judge.model if config.models.judge else "nobody"
        yield (
            f"score      {config.scoring.attempts} attempts by each of {names}; doubts judged by "
            f"{judge}"
        )


def _scans_lack(config: ScansConfig) -> list[str]:
    try:
        reader = reader_of(config)
        lacking = reader.lacking() if reader else ""
    except QuestionsError as error:
        lacking = str(error)
    return [lacking] if lacking else []


def _models(config: QuestionsConfig) -> Iterator[tuple[str, str, str, str]]:
    """Key, model, address and variable of each that is asked somewhere."""
    for whose, judge in (("reader", config.models.reader), ("judge", config.models.judge)):
        if judge is not None and judge.base_url:
            yield f"models.{whose}", judge.model, judge.base_url, judge.api_key_env
    if config.scans.reader == "address" and (seer := config.scans.address) is not None:
        yield "scans.address", seer.model, seer.base_url, seer.api_key_env
    if (embedder := config.models.embedder) is not None:
        yield "models.embedder", embedder.model, embedder.base_url, embedder.api_key_env
    for tier in config.tiers:
        yield f"tier {tier.name}", tier.model, tier.base_url, tier.api_key_env


def _model_lacks(whose: str, model: str, url: str, key: str) -> list[str]:
    found = []
    if key and not os.environ.get(key):
        found.append(
            f"{whose}: api_key_env names {key!r}, but this environment variable is empty: set it "
            "to the key."
        )
    if not url:
        if not Path(model).expanduser().is_dir():
            found.append(f"{whose}: there is no checkpoint {model}, and no base_url.")
        return found
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), PATIENCE_S).close()
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        found.append(f"{whose}: nobody answers at {url} ({why}): start {model} there.")
    return found
