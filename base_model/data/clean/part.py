"""One part of a source, from files to documents that are worth comparing, and their features.

    read ──► html or changes ──► lines ──► code ──► quality ──► features (digest, signatures, flags)

A source whose boilerplate lines are removed is read first and cleaned in a second pass, when the
counts of all its parts are known. Every function here is a job for a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from munro.base_model.data.clean import changes, code_files, exact, quality
from munro.base_model.data.clean.decontaminate import EvaluationIndex, build_index, contaminated
from munro.base_model.data.clean.evaluation_text import evaluation_texts
from munro.base_model.data.clean.lines import line_counts, merged, without_boilerplate
from munro.base_model.data.clean.minhash import band_keys, signatures, sketch
from munro.base_model.data.clean.template import skeletons
from munro.base_model.data.clean.words import ngrams_of, words_of
from munro.base_model.data.config import DataConfig, SourceConfig
from munro.base_model.data.documents import Counts, Document, utf8_length
from munro.base_model.data.parts import (
    DocumentWriter,
    batches,
    documents_of,
    save_array,
    save_done,
)
from munro.base_model.data.read import html
from munro.base_model.data.read.listing import Part
from munro.base_model.data.read.pieces import expanded
from munro.base_model.data.read.reading import read, records

READ_CHARACTERS = 1_000_000
"""Text whose lines are counted together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartJob:
    """What a worker is told about a part."""

    config: DataConfig
    source: SourceConfig
    part: Part
    read_folder: Path
    """Of documents as read; used where lines are counted."""
    clean_folder: Path
    """Of documents as cleaned, and of features."""
    common_lines: Path | None = None
    """Boilerplate of the source."""


def read_part(job: PartJob) -> None:
    """First pass: read a part, count its lines."""
    file = job.read_folder / f"{job.part.name}.parquet"
    if file.with_suffix(".json").is_file():
        return
    counts = Counts()
    lines = merged([])
    with DocumentWriter(file) as writer:
        for batch in batches(_gathered(job, counts), READ_CHARACTERS):
            writer.write(batch)
            counted = line_counts([document.text for document in batch], job.config.lines)
            lines = merged([lines, counted])
    save_array(file.with_suffix(".npy"), np.stack([lines[0], lines[1].astype(np.uint64)]))
    save_done(file.with_suffix(".json"), counts)


def clean_part(job: PartJob) -> None:
    """Second pass, or the only one: filter a part and compute what comparing needs."""
    file = job.clean_folder / f"{job.part.name}.parquet"
    if file.with_suffix(".json").is_file():
        return
    counts = Counts()
    if job.common_lines is None:
        documents: Iterable[Document] = _gathered(job, counts)
    else:
        documents = documents_of(job.read_folder / f"{job.part.name}.parquet")
    features: list[dict[str, Any]] = []
    with DocumentWriter(file) as writer:
        for batch in batches(documents):
            kept = _filtered(batch, job, counts)
            if kept:
                writer.write(kept)
                features.append(_features(kept, job))
    for name, joined in _joined_features(features).items():
        save_array(file.with_suffix(f".{name}.npy"), joined)
    save_done(file.with_suffix(".json"), counts)


def _gathered(job: PartJob, counts: Counts) -> Iterator[Document]:
    """Documents as they come out of reading, and of what takes the place of it."""
    config, source = job.config, job.source
    for piece in job.part.pieces:
        if piece.format == "changes":
            yield from _changes(piece, job, counts)
            continue
        is_html = "html" in source.stages_in_order and (
            source.format != "auto" or piece.format == "html"
        )
        for document in read(piece, source, config.limits, counts):
            counts.kept("read", document)
            if is_html:
                text, fault = html.extracted(document.text, seconds=config.limits.extraction_s)
                if fault:
                    counts.dropped[f"html/{fault}"] += 1
                    continue
                document = Document(key=document.key, text=text)
            if "html" in source.stages_in_order:
                counts.kept("html", document)
            yield document


def _changes(piece: Any, job: PartJob, counts: Counts) -> Iterator[Document]:
    limits = job.config.limits
    for key, record in records(piece, job.source, limits, counts):
        document, fault = changes.document_of(
            record if isinstance(record, dict) else {},
            key,
            job.config.changes,
            seconds=limits.extraction_s,
        )
        if document is None:
            counts.dropped[f"read/{fault}"] += 1
        else:
            counts.kept("read", document)
            yield document


def _filtered(batch: list[Document], job: PartJob, counts: Counts) -> list[Document]:
    """What passes the filters that look at one document at a time."""
    config, stages = job.config, job.source.stages_in_order
    if job.common_lines is not None:
        batch = without_boilerplate(batch, _common(job.common_lines), config.lines)
        counts.dropped["lines/nothing left"] += sum(not one.text.strip() for one in batch)
        batch = [document for document in batch if document.text.strip()]
        for document in batch:
            counts.kept("lines", document)
    roots = {piece.path: piece.root for piece in job.part.pieces}
    for stage in ("code", "quality"):
        if stage not in stages:
            continue
        kept = []
        for document in batch:
            if stage == "code":
                root = roots.get(document.key, "")
                fault = code_files.fault(document.key, root, document.text, config.code)
            else:
                fault = quality.fault(document.text, config.quality)
            if fault:
                counts.dropped[f"{stage}/{fault}"] += 1
            else:
                counts.kept(stage, document)
                kept.append(document)
        batch = kept
    return batch


def _features(batch: list[Document], job: PartJob) -> dict[str, Any]:
    """Arrays with one entry, or one column, for each document."""
    config, stages = job.config, job.source.stages_in_order
    digests = b"".join(map(exact.digest, batch))
    found: dict[str, Any] = {
        "digest": np.frombuffer(digests, "<u8").reshape(-1, 2),
        "size": np.array([utf8_length(document.text) for document in batch], np.int64),
        "contaminated": np.zeros(len(batch), np.bool_),
    }
    if not {"fuzzy", "template", "decontaminate"} & set(stages):
        return found
    words = words_of([f"{document.prefix}\n{document.text}" for document in batch])
    for stage in ("fuzzy", "template"):
        if stage in stages:
            compared = words if stage == "fuzzy" else skeletons(words, config.template)
            ngrams = ngrams_of(compared, config.fuzzy.ngram)
            signature = signatures(ngrams, config.fuzzy.num_hashes)
            found[f"{stage}_bands"] = band_keys(signature, config.fuzzy.bands)
            found[f"{stage}_sketch"] = sketch(signature)
            found[f"{stage}_counts"] = ngrams.counts
    if "decontaminate" in stages and config.decontamination.files:
        index = evaluation_index(config)
        found["contaminated"] = contaminated(words, index, config.decontamination)
    return found


def _joined_features(features: list[dict[str, Any]]) -> dict[str, Any]:
    if not features:
        return {"size": np.zeros(0, np.int64)}
    return {
        name: np.concatenate([one[name] for one in features], axis=int(name.endswith("_bands")))
        for name in features[0]
    }


@lru_cache(maxsize=4)
def _common(file: Path) -> Any:
    return np.load(file)


_INDEX: dict[str, EvaluationIndex] = {}


def evaluation_index(config: DataConfig) -> EvaluationIndex:
    """The index of the recipe's evaluation files, made once in each process."""
    state = [
        expanded(file).stat() for file in config.decontamination.files if expanded(file).exists()
    ]
    times = [(one.st_mtime_ns, one.st_size) for one in state]
    key = f"{config.decontamination.model_dump_json()} {times}"
    if key not in _INDEX:
        texts = evaluation_texts(config.decontamination, config.limits)
        _INDEX[key] = build_index(texts, config.decontamination)
    return _INDEX[key]
