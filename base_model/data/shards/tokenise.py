"""The documents of a part that stay, as token ids in a shard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from munro.base_model.data.documents import Document
from munro.base_model.data.parts import batches, documents_of
from munro.base_model.data.shards.files import Shard, write_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What a worker is told about a shard."""

    documents: Path
    """Parquet file of the part."""
    verdict: Path
    """`.npy` file of the source: 0 for the documents that stay."""
    start: int
    """Of the part, in it."""
    tokenizer: Path
    """`tokenizer.json`."""
    fingerprint: str
    """Of the tokenizer, which may be another one under the same path."""
    vocab_size: int
    end: int | None
    """Token after every document."""
    by_repository: bool
    folder: Path
    name: str
    """Of the shard."""


def write_part(job: ShardJob) -> Shard:
    """Write one shard, or return the one that is there."""
    done = job.folder / f"{job.name}.json"
    if done.is_file():
        return Shard(**json.loads(done.read_text(encoding="utf-8")))
    shard = write_shard(job.folder, job.name, _encoded(job), vocab_size=job.vocab_size)
    draft = done.with_suffix(".json.draft")
    draft.write_text(json.dumps(asdict(shard)), encoding="utf-8")
    draft.replace(done)
    return shard


def staying(job: ShardJob) -> Iterator[Document]:
    """The documents of the part that stay."""
    verdict = np.load(job.verdict, mmap_mode="r")
    for number, document in enumerate(documents_of(job.documents), job.start):
        if verdict[number] == 0:
            yield document


def _encoded(job: ShardJob) -> Iterator[tuple[Sequence[int], Sequence[bool] | None]]:
    tokenizer = _tokenizer(job.tokenizer, job.fingerprint)
    ending = [] if job.end is None else [job.end]
    documents: Iterable[Document] = staying(job)
    if job.by_repository:
        documents = _repositories(documents)
    for batch in batches(documents):
        texts = tokenizer.encode_batch_fast(
            [document.text for document in batch], add_special_tokens=False
        )
        for document, text in zip(batch, texts, strict=True):
            if not document.prefix:
                yield [*text.ids, *ending], None
                continue
            # the prefix is encoded by itself, so that no token is half learned
            before = tokenizer.encode(document.prefix, add_special_tokens=False).ids
            learned = [False] * len(before) + [True] * (len(text.ids) + len(ending))
            yield [*before, *text.ids, *ending], learned


def _repositories(documents: Iterable[Document]) -> Iterator[Document]:
    """All files of a repository as one document, each under its path, depth first."""
    for group, files in groupby(documents, key=lambda document: document.group):
        text = "\n".join(f"=== {file.key}\n{file.text}" for file in files)
        yield Document(key=group, text=text, group=group)


@lru_cache(maxsize=2)
def _tokenizer(file: Path, _fingerprint: str) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    # what looks like a control token in somebody's text is text
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
