"""A build: every source through every stage, into shards; killed anywhere and gone on with.

    sources ──► parts ──► read, clean (each part by itself) ──► compare (all together)
                                                                         |
    funnel ◄── shards ◄── tokenise (each part by itself) ◄── tokenizer ◄─┘

Everything up to the comparison is in `munro.base_model.data.pipeline.steps`; here are its order and
its end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from munro.base_model.data.clean.compare import Cleaned
from munro.base_model.data.config import DataConfig
from munro.base_model.data.errors import DataError
from munro.base_model.data.pipeline.funnel import SourceFunnel, levels_of
from munro.base_model.data.pipeline.steps import Build, OnProgress, cleaning, digest_of, funnel_of
from munro.base_model.data.shards import encoder
from munro.base_model.data.shards.files import MANIFEST, Shard, fingerprint, write_manifest
from munro.base_model.data.shards.tokenise import ShardJob, staying, write_part

FUNNEL = "funnel.json"
TOKENIZER = "tokenizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The tokenizer of the shards, as workers and manifests need it."""

    file: Path
    size: int
    end: int | None
    fingerprint: str


def build(config: DataConfig, *, on_progress: OnProgress | None = None) -> list[SourceFunnel]:
    """Leave shards, tokenizer and `funnel.json` in `config.out`; return the funnel.

    The same call after a kill goes on where it stopped; after everything is done it only reads.

    Raises:
        DataError: an input is wrong, or a worker died; says what to do.
    """
    with _sentences(config), Build(config, on_progress=on_progress) as steps:
        file = steps.out / FUNNEL
        key = _key(steps)
        if found := _finished(file, key):
            return found
        sources = steps.cleaned()
        verdict_of = steps.verdicts(sources)
        vocabulary = tokenizer_of(steps, sources, verdict_of)
        funnels = [_built(steps, cleaned, verdict_of, vocabulary) for cleaned in sources]
        report = {"key": key, "sources": [funnel.as_json() for funnel in funnels]}
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        draft.replace(file)
        steps.tidy()
        return funnels


@contextmanager
def _sentences(config: DataConfig) -> Iterator[None]:
    """What the operating system refuses, in one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or config.out
        raise DataError(
            f"{where}: {error.strerror or error}. Mend that (a full disk, a missing permission, a "
            "file that went away); then the same command goes on."
        ) from error


def _key(steps: Build) -> str:
    """Digest of all that decides what is written."""
    config = steps.config.model_dump(mode="json", exclude={"out", "workers", "keep_work"})
    return digest_of(config, [planned.key for planned in steps.planned], cleaning(steps.config))


def _finished(file: Path, key: str) -> list[SourceFunnel]:
    """The funnel of this very build, if it was done and its shards are there."""
    if not file.is_file():
        return []
    report = json.loads(file.read_text(encoding="utf-8"))
    found = [SourceFunnel.of_json(one) for one in report["sources"]]
    there = all((file.parent / one.source / MANIFEST).is_file() for one in found)
    return found if report["key"] == key and there else []


def _built(
    steps: Build, cleaned: Cleaned, verdict_of: dict[str, Path], vocabulary: Vocabulary
) -> SourceFunnel:
    verdict = verdict_of[cleaned.source.name]
    shards, learned = shards_of(steps, cleaned, verdict, vocabulary)
    counts, stages = funnel_of(cleaned, verdict, steps.read_folder(cleaned))
    return SourceFunnel(
        source=cleaned.source.name,
        levels=levels_of(counts, stages),
        num_documents=sum(shard.num_documents for shard in shards),
        num_tokens=sum(shard.num_tokens for shard in shards),
        num_learned=learned,
    )


def tokenizer_of(steps: Build, sources: Sequence[Cleaned], verdict: dict[str, Path]) -> Vocabulary:
    """Load or train the recipe's tokenizer and leave it in `out/tokenizer`."""
    config = steps.config.tokenizer
    folder = steps.out / TOKENIZER
    if config.path:
        files = sorted(Path(config.path).expanduser().glob("*.json"))
        state = [[str(file), file.stat().st_mtime_ns] for file in files]
    else:
        state = [[str(file)] for file in verdict.values()]
    key = digest_of(config.model_dump(mode="json"), state)
    done = folder / "built_as"
    if not (done.is_file() and done.read_text(encoding="utf-8") == key):
        draft = steps.out / f".{TOKENIZER}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        if config.path:
            tokenizer = encoder.load_tokenizer(config.path)
        else:
            steps.say(f"training a tokenizer of {config.vocab_size:,} tokens")
            texts = _sample(steps, sources, verdict, int(config.training_mb * 1e6))
            tokenizer = encoder.train(texts, vocab_size=config.vocab_size)
        tokenizer.save_pretrained(draft)
        (draft / "built_as").write_text(key, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    tokenizer = encoder.load_tokenizer(str(folder))
    encoder.check_file(tokenizer, folder / "tokenizer.json")
    return Vocabulary(
        file=folder / "tokenizer.json",
        size=len(tokenizer),
        end=tokenizer.eos_token_id,
        fingerprint=fingerprint(tokenizer),
    )


def shards_of(
    steps: Build, cleaned: Cleaned, verdict: Path, vocabulary: Vocabulary
) -> tuple[list[Shard], int]:
    """Write the shards of a source; returns them and how many tokens are to be learned."""
    folder = steps.out / cleaned.source.name
    layout = cleaned.source.layout
    key = digest_of(str(verdict), vocabulary.fingerprint, vocabulary.end, layout)
    done = folder / "built_as"
    if not (done.is_file() and done.read_text(encoding="utf-8") == key):
        if folder.exists() and not done.is_file():
            raise DataError(f"{folder} was not made by a build: rename it or the source.")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        done.write_text(key, encoding="utf-8")
    jobs = list(_jobs(cleaned, verdict, vocabulary, folder))
    shards = steps.each(write_part, jobs, f"{cleaned.source.name}: tokenising")
    write_manifest(
        folder,
        shards,
        source=cleaned.source.name,
        vocab_size=vocabulary.size,
        tokenizer=vocabulary.fingerprint,
    )
    return shards, sum(_learned(folder, shard) for shard in shards)


def _jobs(
    cleaned: Cleaned, verdict: Path, vocabulary: Vocabulary, folder: Path
) -> Iterator[ShardJob]:
    start = 0
    for file in cleaned.files:
        yield ShardJob(
            documents=file,
            verdict=verdict,
            start=start,
            tokenizer=vocabulary.file,
            fingerprint=vocabulary.fingerprint,
            vocab_size=vocabulary.size,
            end=vocabulary.end,
            by_repository=cleaned.source.layout == "repository",
            folder=folder,
            name=file.stem,
        )
        start += len(np.load(cleaned.feature(file, "size"), mmap_mode="r"))


def _learned(folder: Path, shard: Shard) -> int:
    if not shard.masked:
        return shard.num_tokens
    return int(np.fromfile(folder / f"{shard.name}.learned", np.uint8).sum())


def _sample(
    steps: Build, sources: Sequence[Cleaned], verdict: dict[str, Path], most_bytes: int
) -> Iterator[str]:
    """Text for the tokenizer: as much from the start of every part of every source."""
    none = Vocabulary(file=Path(), size=0, end=None, fingerprint="")
    jobs = [
        job
        for cleaned in sources
        for job in _jobs(cleaned, verdict[cleaned.source.name], none, steps.work)
    ]
    for job in jobs:
        left = most_bytes // max(len(jobs), 1)
        for document in staying(job):
            if left <= 0:
                break
            text = document.text[:left]
            left -= len(text)
            yield text
