"""Fuzzy deduplication by Munro, for the comparison in data.py: the same in, the same out.

    python data_dedup.py INPUT OUTPUT WORKERS

Reads the .jsonl files of INPUT, writes the documents that stay as JSONL into OUTPUT. Prints
JSON: seconds, and the ids of what was kept.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from munro.base_model.data.config import DataConfig
from munro.base_model.data.parts import documents_of
from munro.base_model.data.pipeline.steps import Build


def main() -> None:
    source, out, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    config = DataConfig.model_validate(
        {
            "out": str(out / "build"),
            "sources": [{"name": "all", "paths": [source], "stages": ["fuzzy"]}],
            "workers": workers,
            "part_mb": 4,
        }
    )
    began = time.perf_counter()
    ids = []
    with Build(config) as steps, (out / "kept.jsonl").open("w") as kept:
        (cleaned,) = steps.cleaned()
        verdict = np.load(steps.verdicts([cleaned])["all"])
        number = 0
        for file in cleaned.files:
            for document in documents_of(file):
                if verdict[number] == 0:
                    ids.append(document.key)
                    kept.write(json.dumps({"id": document.key, "text": document.text}) + "\n")
                number += 1
    print(json.dumps({"seconds": time.perf_counter() - began, "kept": ids}))


if __name__ == "__main__":
    main()
