"""Fuzzy deduplication by datatrove; runs in an environment of its own.

    python data_datatrove.py INPUT OUTPUT WORKERS WORDS

INPUT holds .jsonl files, one a task. WORDS is "english" for the word tokenizer that datatrove takes
for English, or "split" for `str.split` in its place, which is the cheapest there is. Prints JSON:
seconds, and the texts' ids that were kept, from the four steps that its own example has.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


class Split:
    """The cheapest words there are."""

    def word_tokenize(self, text):
        return text.split()


def main() -> None:
    source, out, workers, words = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    tasks = len(list(Path(source).glob("*.jsonl")))
    config = MinhashConfig(n_grams=5)
    began = time.perf_counter()

    def run(steps, number, count):
        LocalPipelineExecutor(
            pipeline=steps,
            tasks=count,
            workers=min(workers, count),
            logging_dir=str(out / "logs" / str(number)),
        ).run()

    reader = JsonlReader(source, glob_pattern="*.jsonl")
    signature = MinhashDedupSignature(str(out / "signatures"), config=config)
    if words == "split":
        signature.word_tokenizer = Split()
    run([reader, signature], 1, tasks)
    buckets = MinhashDedupBuckets(str(out / "signatures"), str(out / "buckets"), config=config)
    run([buckets], 2, config.num_buckets)
    cluster = MinhashDedupCluster(str(out / "buckets"), str(out / "remove"), config=config)
    run([cluster], 3, 1)
    kept = JsonlWriter(str(out / "kept"), compression=None)
    run([reader, MinhashDedupFilter(str(out / "remove")), kept], 4, tasks)
    seconds = time.perf_counter() - began
    ids = []
    for file in sorted((out / "kept").glob("*.jsonl")):
        with file.open() as lines:
            ids += [json.loads(line)["id"] for line in lines]
    print(json.dumps({"seconds": seconds, "kept": ids}))


if __name__ == "__main__":
    main()
