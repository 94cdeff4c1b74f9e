"""The steps of a build, each done once, whenever it is asked for.

    sources ──► parts ──► read, clean (each part by itself) ──► compare (all together)

What a step writes lies in a folder whose name is a digest of all it depends on: the recipe, the
files, the steps before. So a step that was done is found again, a part that was done is not done
again, and a changed recipe or a changed file redoes exactly what follows from it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from munro.base_model.data.clean.compare import COMPARING, Cleaned, verdicts
from munro.base_model.data.clean.lines import boilerplate
from munro.base_model.data.clean.part import PartJob, clean_part, evaluation_index, read_part
from munro.base_model.data.config import DataConfig, SourceConfig
from munro.base_model.data.documents import Counts
from munro.base_model.data.errors import DataError
from munro.base_model.data.parts import load_done, save_array
from munro.base_model.data.pool import Pool
from munro.base_model.data.read.listing import Part, parts, state_of
from munro.base_model.data.read.pieces import expanded

RECIPE_VERSION = 1
"""Raised whenever the code would write other shards for the same recipe and files."""
WORK = "work"
MARK = ".munro-data"
"""File that says that a build made this folder; locked while one runs."""

OnProgress = Callable[[str], None]
"""Told one line whenever a step of a source begins or ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A source and the parts it was cut into."""

    source: SourceConfig
    parts: tuple[Part, ...]
    key: str
    """Digest of everything its documents depend on."""

    @property
    def size_bytes(self) -> int:
        """On the disk."""
        return sum(piece.size_bytes for part in self.parts for piece in part.pieces)


def plan(config: DataConfig) -> list[Planned]:
    """What would be read, without reading it.

    Raises:
        DataError: a path is not there, a format is not known, or no source has any file.
    """
    planned = []
    for source in config.sources:
        found = parts(source, int(config.part_mb * 1e6))
        recipe = [RECIPE_VERSION, source.model_dump(mode="json"), state_of(found)]
        planned.append(Planned(source=source, parts=tuple(found), key=digest_of(*recipe)))
    if not any(one.parts for one in planned):
        names = ", ".join(one.source.name for one in planned)
        raise DataError(f"no source has a file to read ({names}): mend `paths` or `include`.")
    return planned


def _nothing(_line: str) -> None:
    """Where nobody wants to be told."""


def digest_of(*state: Any) -> str:
    """A short name for a state, for folders."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:12]


class Build:
    """What is known of a build while it runs; its methods are its steps.

    Example:
        with Build(config) as build:
            sources = build.cleaned()
            verdict_of = build.verdicts(sources)

    Raises (when entered):
        DataError: another process builds into the same folder, or it holds something else.
    """

    def __init__(self, config: DataConfig, *, on_progress: OnProgress | None = None) -> None:
        self.config = config
        self.out = Path(config.out).expanduser()
        self.work = self.out / WORK
        self.planned = plan(config)
        self.say: OnProgress = on_progress or _nothing
        self._used: set[Path] = set()
        self._read_folders: dict[str, Path] = {}
        self._pool = Pool(config.workers, worker_gb=config.limits.worker_gb)

    def __enter__(self) -> Build:
        self._claim()
        self._lock = (self.out / MARK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise DataError(
                f"another process is building into {self.out}: wait for it, or give this one "
                "another `out`."
            ) from None
        self._pool.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self._pool.__exit__(*failure)
        self._lock.close()

    def cleaned(self) -> list[Cleaned]:
        """Every source, filtered, with the features of its documents."""
        if self.config.decontamination.files:
            index = evaluation_index(self.config)  # a wrong file is found before hours of work
            if index.num_short:
                self.say(f"{index.num_short:,} evaluation texts are too short to be looked for")
        return [self._cleaned(planned) for planned in self.planned if planned.parts]

    def verdicts(self, sources: Sequence[Cleaned]) -> dict[str, Path]:
        """By source: the file that says of each of its documents whether it stays."""
        config = self.config
        stages = [cleaned.source.stages_in_order for cleaned in sources]
        names = [str(cleaned.files[0].parent) for cleaned in sources]
        folder = self.folder("compared", digest_of(names, stages, _comparing(config)))
        files = {one.source.name: folder / f"{one.source.name}.npy" for one in sources}
        if (folder / "done").is_file():
            return files
        self.say(f"comparing {len(sources)} sources")
        found = verdicts(sources, config, folder, self._pool)
        start = 0
        for cleaned in sources:
            size = sum(len(np.load(cleaned.feature(file, "size"))) for file in cleaned.files)
            save_array(files[cleaned.source.name], found[start : start + size])
            start += size
        (folder / "done").touch()
        return files

    def folder(self, *names: str) -> Path:
        """A folder of what lies between, kept as long as a build uses it."""
        folder = self.work.joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        self._used.add(folder)
        return folder

    def each(self, function: Callable[[Any], Any], jobs: Sequence[Any], what: str) -> list[Any]:
        """Run jobs in the workers and say how far they are."""
        results = []
        for result in self._pool.each(function, jobs):
            results.append(result)
            if len(results) in (1, len(jobs)) or len(results) * 10 % len(jobs) < 10:
                self.say(f"{what}: part {len(results)} of {len(jobs)}")
        return results

    def tidy(self) -> None:
        """Remove what no step of this build used, or everything that lies between."""
        if not self.config.keep_work:
            shutil.rmtree(self.work, ignore_errors=True)
            return
        for folder in sorted(self.work.glob("*/*")):
            if folder.is_dir() and folder not in self._used:
                shutil.rmtree(folder, ignore_errors=True)

    def read_folder(self, cleaned: Cleaned) -> Path | None:
        """Where the first pass of a source is, if it took two."""
        return self._read_folders.get(cleaned.source.name)

    def _claim(self) -> None:
        """Make the folder ours, unless something else lies where we would write and remove."""
        taken = [WORK, "tokenizer", *(source.name for source in self.config.sources)]
        theirs = [self.out / name for name in taken if (self.out / name).exists()]
        if theirs and not (self.out / MARK).is_file():
            raise DataError(
                f"{theirs[0]} is there already and was not made by a build: give this one an `out` "
                "of its own."
            )
        self.work.mkdir(parents=True, exist_ok=True)
        (self.out / MARK).touch()

    def _cleaned(self, planned: Planned) -> Cleaned:
        config, source = self.config, planned.source
        cuts = "lines" in source.stages_in_order
        read_key = digest_of(planned.key, _reading(config), config.lines.max_characters)
        read_folder = self.work
        if cuts:
            read_folder = self.folder(source.name, f"read-{read_key}")
            self._read_folders[source.name] = read_folder
        clean_key = digest_of(read_key, cleaning(config))
        clean_folder = self.folder(source.name, f"clean-{clean_key}")
        common = clean_folder / "common_lines.npy" if cuts else None
        jobs = [
            PartJob(
                config=config,
                source=source,
                part=part,
                read_folder=read_folder,
                clean_folder=clean_folder,
                common_lines=common,
            )
            for part in planned.parts
        ]
        files = tuple(clean_folder / f"{part.name}.parquet" for part in planned.parts)
        if not all(file.with_suffix(".json").is_file() for file in files):
            if common is not None:
                self.each(read_part, jobs, f"{source.name}: reading")
                self._common_lines(jobs, common)
            self.each(clean_part, jobs, f"{source.name}: cleaning")
        return Cleaned(source=source, files=files)

    def _common_lines(self, jobs: Sequence[PartJob], file: Path) -> None:
        if file.is_file():
            return
        figures = [load_done(job.read_folder / f"{job.part.name}.json")[0] for job in jobs]
        last = "html" if "html" in jobs[0].source.stages_in_order else "read"
        counted = [job.read_folder / f"{job.part.name}.npy" for job in jobs]
        num_documents = sum(counts.documents[last] for counts in figures)
        common = boilerplate(counted, num_documents=num_documents, config=self.config.lines)
        save_array(file, common)


def funnel_of(
    cleaned: Cleaned, verdict: Path, read_folder: Path | None
) -> tuple[Counts, list[str]]:
    """Counts of every stage of a source, and its stages in order."""
    counts = Counts()
    for file in cleaned.files:
        for folder in (read_folder, file.parent):
            if folder is not None:
                counts = counts.plus(load_done(folder / f"{file.stem}.json")[0])
    sizes = np.concatenate([np.load(cleaned.feature(file, "size")) for file in cleaned.files])
    found = np.load(verdict)
    stages = ["read", *cleaned.source.stages_in_order]
    for number, stage in enumerate(COMPARING, 1):
        if stage in stages:
            stays = (found == 0) | (found > number)
            counts.documents[stage] = int(stays.sum())
            counts.size_bytes[stage] = int(sizes[stays].sum())
            counts.dropped[f"{stage}/{REASONS[stage]}"] = int((found == number).sum())
    return counts, stages


REASONS = {
    "exact": "equal to another",
    "fuzzy": "nearly equal to another",
    "template": "of another's template",
    "decontaminate": "holds evaluation text",
}


def _reading(config: DataConfig) -> Any:
    return [config.limits.model_dump(mode="json"), config.changes.model_dump(mode="json")]


def cleaning(config: DataConfig) -> Any:
    """What decides how documents are cleaned: settings, and the state of evaluation files."""
    files = [expanded(file) for file in config.decontamination.files]
    state = [
        [str(f), f.stat().st_mtime_ns, f.stat().st_size] if f.exists() else str(f) for f in files
    ]
    parts_of = (
        config.lines,
        config.code,
        config.quality,
        config.template,
        config.decontamination,
        config.fuzzy.model_copy(update={"threshold": 1.0}),
    )
    return [[part.model_dump(mode="json") for part in parts_of], state]


def _comparing(config: DataConfig) -> Any:
    return [config.fuzzy.model_dump(mode="json")]
