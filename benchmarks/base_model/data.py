"""The data pipeline: what it finds of what was planted, its memory, its time against datatrove's.

    python benchmarks/base_model/data.py --debian --peer-python ~/datatrove/bin/python

Makes a corpus from what this machine carries (data_corpus.py), builds it with every stage,
and compares what went with what was planted. Memory is the sum over all processes, taken five times
a second. Then both sides deduplicate the same part of the corpus in turns. Ends with one line of
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from data_corpus import Plant, make

from munro.base_model.data.clean.compare import COMPARING
from munro.base_model.data.config import DataConfig
from munro.base_model.data.parts import documents_of
from munro.base_model.data.pipeline.funnel import SourceFunnel, table

HERE = Path(__file__).parent
BUILD = """
import json, sys
from munro.base_model.data.pipeline.build import build
from munro.base_model.data.config import DataConfig

if __name__ == "__main__":
    config = DataConfig.model_validate_json(sys.argv[1])
    found = build(config, on_progress=lambda line: print(line, file=sys.stderr))
    print(json.dumps([funnel.as_json() for funnel in found]))
"""
MEMORY_PERIODS = 10


class Memory:
    """What a process and its children hold, over time."""

    def __init__(self, pid: int) -> None:
        self._process, self.samples_mb, self._running = psutil.Process(pid), list[float](), True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while self._running:
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.samples_mb.append(sum(map(held_mb, family)))
            time.sleep(0.2)

    def stop(self) -> list[int]:
        """Peaks of equal periods of the run."""
        self._running = False
        self._thread.join()
        periods = np.array_split(np.array(self.samples_mb), MEMORY_PERIODS)
        return [int(period.max()) if period.size else 0 for period in periods]


def held_mb(process: psutil.Process) -> float:
    """Memory of its own: pages that are shared count once, and pages of memory maps not at all."""
    try:
        info = process.memory_info()
    except psutil.NoSuchProcess:  # it ended since it was listed, and holds nothing
        return 0.0
    return float(info.rss - info.shared) / 1e6


def build_config(corpus: Path, out: Path, workers: int) -> DataConfig:
    """Every stage that needs no HTML, documentation before code in the drop order."""
    comparing = ["exact", "fuzzy", "decontaminate"]
    return DataConfig.model_validate(
        {
            "out": str(out),
            "sources": [
                {
                    "name": "documentation",
                    "paths": [str(corpus / "documentation.jsonl")],
                    "stages": ["lines", "quality", *comparing],
                },
                {"name": "code", "paths": [str(corpus / "code.jsonl")], "stages": comparing},
            ],
            "decontamination": {"files": [str(corpus / "evaluation.jsonl")]},
            "tokenizer": {"vocab_size": 8192, "training_mb": 10},
            "workers": workers,
        }
    )


def built(config: DataConfig) -> tuple[list[SourceFunnel], float, list[int]]:
    """Build in a process of its own; the funnel, seconds, memory over time."""
    script = Path(config.out).parent / "build_side.py"
    script.write_text(BUILD)
    began = time.perf_counter()
    command = [sys.executable, str(script), config.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as side:
        memory = Memory(side.pid)
        printed, _ = side.communicate()
        peaks = memory.stop()
    if side.returncode:
        sys.exit(side.returncode)
    funnels = [SourceFunnel.of_json(one) for one in json.loads(printed)]
    return funnels, time.perf_counter() - began, peaks


def verdict_by_key(config: DataConfig) -> dict[str, str]:
    """For every document that was compared: "stays", or the stage that dropped it."""
    out = Path(config.out)
    found = {}
    for source in config.sources:
        (verdict,) = (out / "work" / "compared").glob(f"*/{source.name}.npy")
        verdicts, number = np.load(verdict), 0
        for file in sorted((out / "work" / source.name).glob("clean-*/*.parquet")):
            for document in documents_of(file):
                stage = verdicts[number]
                found[document.key] = COMPARING[stage - 1] if stage else "stays"
                number += 1
    return found


def judged(planted: Sequence[Plant], verdicts: dict[str, str]) -> dict[str, Any]:
    """Recall and precision on what was planted and reached the comparison.

    Of a copy, that means its original too: one that was filtered away has no duplicate left to
    find. "recall_of_all" counts those copies as well.
    """
    should_go = {
        "exact": ("exact", "fuzzy"),
        "near": ("exact", "fuzzy"),
        "holds": ("decontaminate",),
    }
    should_stay = {"apart": ("exact", "fuzzy"), "resembles": ("decontaminate",)}
    counts: dict[str, list[int]] = {}
    every = [0, 0]
    for plant in planted:
        verdict = verdicts.get(plant.key)
        # a document that another filter or comparison dropped says nothing of this one
        wanted = (should_go | should_stay)[plant.kind]
        if verdict is None or (verdict != "stays" and verdict not in wanted):
            continue
        if plant.kind in ("exact", "near"):
            every[0] += verdict in wanted
            every[1] += 1
        if plant.original and plant.original not in verdicts:
            continue
        tally = counts.setdefault(plant.kind, [0, 0])
        tally[0] += verdict in wanted
        tally[1] += 1
    duplicates = [counts.get(kind, [0, 0]) for kind in ("exact", "near")]
    right = sum(went for went, _ in duplicates)
    wrong, held, resembled = (
        counts.get(kind, [0, 0])[0] for kind in ("apart", "holds", "resembles")
    )
    return {
        "counts": counts,
        "duplicates": {
            "recall": right / max(sum(total for _, total in duplicates), 1),
            "precision": right / max(right + wrong, 1),
            "recall_of_all": every[0] / max(every[1], 1),
        },
        "evaluation": {
            "recall": held / max(counts.get("holds", [0, 0])[1], 1),
            "precision": held / max(held + resembled, 1),
        },
    }


def against(corpus: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns on the same part of the corpus: ratios of medians."""
    source = work / "same"
    size_mb = _sample(corpus, source, options.peer_mb)
    sides = {
        "munro": [sys.executable, str(HERE / "data_dedup.py")],
        "datatrove": [options.peer_python, str(HERE / "data_datatrove.py")],
        "datatrove, words by str.split": [
            options.peer_python,
            str(HERE / "data_datatrove.py"),
        ],
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    kept: dict[str, int] = {}
    for _ in range(options.rounds):
        for side, command in sides.items():
            out = work / "side"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            words = [] if side == "munro" else ["split" if "split" in side else "english"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            if side == "munro":
                environment["PYTHONPATH"] = str(HERE.parents[1] / "src")
            done = subprocess.run(
                [*command, str(source), str(out), str(options.workers), *words],
                capture_output=True,
                text=True,
                env=environment,
            )
            if done.returncode:
                sys.exit(f"{side} failed:\n{done.stderr[-2000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            seconds[side].append(result["seconds"])
            kept[side] = len(result["kept"])
    medians = {side: statistics.median(some) for side, some in seconds.items()}
    ours = medians.pop("munro")
    return {
        "size_mb": round(size_mb, 1),
        "seconds": seconds,
        "kept": kept,
        "munro_mb_per_s": size_mb / ours,
        "times_faster": {side: median / ours for side, median in medians.items()},
    }


def _sample(corpus: Path, target: Path, size_mb: float) -> float:
    """The start of both sources, in files of about one megabyte so that every worker has some."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    written = number = 0
    for name in ("documentation", "code"):
        share = 0
        with (corpus / f"{name}.jsonl").open("rb") as lines:
            out = (target / f"{number:04d}.jsonl").open("wb")
            for line in lines:
                if share >= size_mb * 5e5:
                    break
                out.write(line)
                share += len(line)
                if out.tell() > 1e6:
                    number += 1
                    out.close()
                    out = (target / f"{number:04d}.jsonl").open("wb")
            out.close()
        number += 1
        written += share
    return written / 1e6


def main() -> None:
    """Make, build, judge, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size-mb", type=float, default=1000)
    parser.add_argument("--folder", default="bench-data", help="Work folder; its build is redone.")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--debian", action="store_true", help="Also Debian's doc packages.")
    parser.add_argument("--peer-python", default="", help="Of an environment with datatrove.")
    parser.add_argument("--peer-mb", type=float, default=40, help="Part that both deduplicate.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    work = Path(options.folder).absolute()
    corpus = work / "corpus"
    planted = make(corpus, size_mb=options.size_mb, debian=options.debian)
    size_mb = sum(file.stat().st_size for file in corpus.glob("*.jsonl")) / 1e6
    print(f"{size_mb:,.0f} MB, {len(planted):,} documents planted")
    shutil.rmtree(work / "out", ignore_errors=True)
    config = build_config(corpus, work / "out", options.workers)
    funnels, seconds, peaks = built(config)
    print(table(funnels))
    result: dict[str, Any] = {
        "size_mb": round(size_mb, 1),
        "build_s": round(seconds, 1),
        "tokens": sum(funnel.num_tokens for funnel in funnels),
        "tokens_per_mb": tokens_per_mb(funnels),
        "memory_mb_over_time": peaks,
        "planted": judged(planted, verdict_by_key(config)),
    }
    report(result)
    if options.peer_python:
        result["dedup"] = against(corpus, work, options)
        report_peer(result)
    print(json.dumps(result))


def tokens_per_mb(funnels: Sequence[SourceFunnel]) -> float:
    """Of the text that was tokenised."""
    size = sum(funnel.levels[-1].size_bytes for funnel in funnels)
    return sum(funnel.num_tokens for funnel in funnels) / (size / 1e6)


def report(result: dict[str, Any]) -> None:
    """The figures as a person reads them."""
    print(f"\n{'planted':<12}{'went':>8}{'of':>8}")
    for kind, (went, total) in result["planted"]["counts"].items():
        print(f"{kind:<12}{went:>8,}{total:>8,}")
    for name in ("duplicates", "evaluation"):
        figures = result["planted"][name]
        print(f"{name}: recall {figures['recall']:.4f}, precision {figures['precision']:.4f}")
    of_all = result["planted"]["duplicates"]["recall_of_all"]
    print(f"duplicates, with copies whose original was filtered away: recall {of_all:.4f}")
    print(f"memory, MB, in tenths of the build: {result['memory_mb_over_time']}")
    tokens_per_s = result["tokens"] / result["build_s"]
    print(f"build: {result['build_s']:,.0f} s, {tokens_per_s:,.0f} tokens written a second")


def report_peer(result: dict[str, Any]) -> None:
    """The same for the comparison."""
    dedup = result["dedup"]
    rate = dedup["munro_mb_per_s"]
    print(
        f"deduplication of {dedup['size_mb']:,.0f} MB: {rate:.1f} MB/s, about "
        f"{rate * result['tokens_per_mb']:,.0f} tokens/s; kept {dedup['kept']}"
    )
    for side, ratio in dedup["times_faster"].items():
        print(f"  {ratio:.1f} times as fast as {side}")


if __name__ == "__main__":
    main()
