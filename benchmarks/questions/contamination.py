"""Evaluation questions in a crowd: what is found, what is found wrongly, seconds and memory.

    python benchmarks/questions/contamination.py                          # recall and false alarms
    python benchmarks/questions/contamination.py --crowd 1000000          # and seconds and memory

Half of the evaluation set is made of sentences, half is of five generators of reasoning-gym; the
100,000 disjoint questions are made of other draws and of five other generators. Planted: copies
with other case and white space, a fifth of the words changed, other numbers, questions under eight
words. The crowd (1,000,000 against 50,000) goes through the stage in one process on one core, in
pieces that are remembered in `--folder`, so that `--pieces 2` does two more of them and stops; in
one go, memory is that of a stage that holds all of them.
Seconds are of CPU, which hold beside other work; the index's are counted once. Ends with one line
of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from munro.questions.clean.contamination import EvaluationIndex, without_evaluation  # noqa: E402
from munro.questions.config import ContaminationConfig  # noqa: E402
from munro.questions.stages import Outcome  # noqa: E402
from tests.questions.figures.crowd import (  # noqa: E402
    GYM_LEFT,
    GYM_RIGHT,
    made,
    of_gym,
    renumbered,
    reworded,
)
from tests.questions.questions import question_of  # noqa: E402

PLAIN = ContaminationConfig()
PIECE = 100_000
EVALUATED, CROWD = 1, 2
"""Seeds."""


def main() -> None:
    """Print recall by kind, false alarms, and what the crowd took."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--evaluation", type=int, default=4000)
    options.add_argument("--disjoint", type=int, default=100_000)
    options.add_argument("--crowd", type=int, default=0)
    options.add_argument("--against", type=int, default=50_000, help="of the crowd")
    options.add_argument("--folder", type=Path, default=Path("runs/questions_crowd"))
    options.add_argument("--pieces", type=int, default=10**6, help="to do now")
    given = options.parse_args()
    said: dict[str, Any] = {"benchmark": "questions_contamination"}
    if given.disjoint:
        said |= recall(given.evaluation) | false_alarms(given.evaluation, given.disjoint)
    if given.crowd:
        said |= crowd(given.crowd, given.against, given.folder, given.pieces)
    print(json.dumps(said))


def evaluation(count: int) -> list[str]:
    """Half made, half of reasoning-gym; long ones."""
    texts = [made(number, EVALUATED) for number in range(count // 2)]
    texts += of_gym(GYM_LEFT, count - len(texts), EVALUATED)
    return [text for text in texts if len(text.split()) >= PLAIN.min_words]


def index_of(texts: Sequence[str]) -> EvaluationIndex:
    """The index of these."""
    return EvaluationIndex(((f"e:{at}", text) for at, text in enumerate(texts)), PLAIN)


def recall(count: int) -> dict[str, Any]:
    """Copies, changed words, other numbers, short questions."""
    texts = evaluation(count)
    rng = random.Random(0)
    short = [f"What is {rng.randint(10, 99)} times {rng.randint(100, 999)}?" for _ in range(1000)]
    near_short = [renumbered(text, rng) for text in short]
    index = index_of([*texts, *short])
    spaced = [text.upper().replace(" ", "  ") for text in texts]
    found = {
        "copies": _counted(index, spaced),
        "a fifth of the words": _counted(index, [reworded(text, rng) for text in texts]),
        "other numbers": _counted(index, [renumbered(text, rng) for text in texts]),
        "under 8 words, copies": _counted(index, short),
        "under 8 words, other numbers": _counted(
            index, [one for one in near_short if one not in set(short)]
        ),
    }
    for name, counts in found.items():
        print(f"{name}: {dict(counts)}")
    return {name: dict(counts) for name, counts in found.items()}


def _counted(index: EvaluationIndex, texts: Sequence[str]) -> Counter[str]:
    return Counter(reason or "not found" for reason, _ in index.found(texts))


def false_alarms(count: int, disjoint: int) -> dict[str, Any]:
    """Disjoint questions that are taken for evaluation questions."""
    index = index_of(evaluation(count))
    texts = [made(number, CROWD) for number in range(disjoint // 2)]
    texts += of_gym(GYM_RIGHT, disjoint - len(texts), CROWD)
    counts: Counter[str] = Counter()
    for at in range(0, len(texts), 2048):
        counts.update(_counted(index, texts[at : at + 2048]))
    wrong = len(texts) - counts["not found"]
    print(f"disjoint: {wrong} of {len(texts):,} taken for evaluation questions ({dict(counts)})")
    return {"disjoint": len(texts), "false": wrong}


def crowd(count: int, against: int, folder: Path, pieces: int) -> dict[str, Any]:
    """Seconds and memory of the stage, piece by piece."""
    folder.mkdir(parents=True, exist_ok=True)
    evaluated = folder / f"evaluation-{against}.jsonl"
    if not evaluated.exists():
        rows = (json.dumps({"question": made(number, EVALUATED)}) for number in range(against))
        evaluated.write_text("\n".join(rows) + "\n")
    began = time.process_time()
    without_evaluation(iter(()), [evaluated], PLAIN)
    alone = time.process_time() - began
    held: list[Outcome] = []
    for piece in range(-(-count // PIECE)):
        kept = folder / f"{against}-{piece:03}.json"
        if kept.exists() or pieces <= 0:
            continue
        pieces -= 1
        found, outcome = _piece(piece, min(PIECE, count - piece * PIECE), evaluated)
        held.append(outcome)  # as one stage would hold all of them
        kept.write_text(json.dumps(found | {"held": len(held) * PIECE}))
    done = [json.loads(one.read_text()) for one in sorted(folder.glob(f"{against}-*.json"))]
    size = sum(one["count"] for one in done)
    seconds = alone + sum(one["cpu_s"] - alone for one in done)
    most = max(one["rss_mb"] for one in done)
    print(
        f"crowd: {size:,} of {count:,} against {against:,}: {seconds:.0f} s of CPU on one core "
        f"({alone:.0f} of them the index), {most:,} MB at most, found "
        f"{sum(one['dropped'] for one in done):,}"
    )
    return {"crowd": size, "against": against, "cpu_s": seconds, "index_s": alone, "rss_mb": most}


def _piece(piece: int, count: int, evaluated: Path) -> tuple[dict[str, Any], Outcome]:
    asked = [made(piece * PIECE + at, CROWD) for at in range(count)]

    def questions() -> Iterator[Any]:
        for at, text in enumerate(asked):
            yield question_of(f"q{at}", text)

    began, walked = time.process_time(), time.monotonic()
    outcome = without_evaluation(questions(), [evaluated], PLAIN)
    found = {
        "count": count,
        "cpu_s": time.process_time() - began,
        "wall_s": time.monotonic() - walked,
        "dropped": len(outcome.dropped),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(f"piece {piece}: {found}", flush=True)
    return found, outcome


if __name__ == "__main__":
    main()
