"""Planted errors among stored answers, found by `munro questions score` with four real tiers.

    munro climb configs/sums.toml --checkpoint.keep 10
    python benchmarks/questions/noise.py runs/sums --work /tmp/noise

Questions are held-out sums of the climb; tiers are its base and its checkpoints at steps 10, 20 and
40. Of the stored answers a tenth is wrong: 7 in 10 of them arbitrary, 3 in 10 a carry forgotten.
The tiers are real and sample through the product's own engine; the judge is SIMULATED, a rule at an
address on loopback that knows the sum and says what is right with a stated probability. Everything
else is the command's own code. `--work` keeps attempts and figures (a kill costs 32 questions): a
further seed of errors and judge costs seconds.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from munro.envs.arithmetic import Arithmetic, solve  # noqa: E402
from munro.evaluation.statistics import wilson  # noqa: E402
from munro.questions.answers.config import ScoreConfig  # noqa: E402
from munro.questions.answers.score import score  # noqa: E402
from tests.rewards.judges import Body, Reply, ScriptedJudge, last_user, says  # noqa: E402

STEPS = (0, 10, 20, 40)
"""Of the climb; 0 is its base."""
WRONG, CARRIES = 0.1, 0.3
"""Share of wrong answers, and of them those with a forgotten carry."""
LOW, ATTEMPTS = 0.25, 8
KS, LOWS = (4, 8, 16), (0.0, 0.125, 0.25, 0.5)
PART = re.compile(r"\[BEGIN ([\w ]+?) \w+\]\n(.*?)\n\[END", re.S)
NORMAL = 1.96
"""Standard errors on either side that hold 95%."""
NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What became of one set of rows."""

    planted: int
    found: int
    """Planted errors that were dropped."""
    right: int
    lost: int
    """Right answers that were dropped."""
    hard: int
    hard_lost: int
    """Of right ones that the strongest tier rarely comes to."""

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            **{name: getattr(self, name) + getattr(other, name) for name in self.__slots__}
        )


def questions(count: int) -> list[tuple[str, int]]:
    """(question, its answer): held-out sums of two three-digit numbers."""
    tasks = Arithmetic(digits=3, min_digits=3, terms=2, operators="+").tasks("test")
    return [(str(task.prompt), solve(task.id)) for task in tasks[:count]]


def planted(asked: Sequence[tuple[str, int]], seed: int) -> list[int]:
    """Stored answers, a tenth of them wrong."""
    rng = random.Random(f"noise/{seed}")
    wrong = rng.sample(range(len(asked)), round(WRONG * len(asked)))
    usual = set(wrong[: round(CARRIES * len(wrong))])
    stored = [answer for _, answer in asked]
    for place in wrong:
        stored[place] = mistaken(*asked[place], rng, is_usual=place in usual)
    return stored


def mistaken(question: str, answer: int, rng: random.Random, *, is_usual: bool) -> int:
    """Another answer: a carry forgotten, where there is one, or an arbitrary sum."""
    one, other = (int(number) for number in NUMBERS.findall(question))
    carries = [at for at in (1, 2, 3) if one % 10**at + other % 10**at >= 10**at]
    if is_usual and carries:
        return answer - 10 ** rng.choice(carries)
    while (drawn := rng.randint(200, 1998)) == answer:
        pass
    return drawn


def judge(accuracy: float, seed: int, *, each_order: bool = False) -> Callable[[Body], Reply]:
    """Says which of two answers is right, with a probability; otherwise something wrong.

    Args:
        accuracy: of a verdict.
        seed: of its errors.
        each_order: whether it errs anew in each order; else the same in both.
    """

    def says_so(body: Body) -> Reply:
        parts = dict(PART.findall(last_user(body)))
        question, shown = parts["QUESTION"], (parts["ANSWER A"], parts["ANSWER B"])
        right = sum(int(number) for number in NUMBERS.findall(question))
        pair = shown if each_order else tuple(sorted(shown))
        rng = random.Random(f"judge/{seed}/{question}/{pair}")
        truth = next((one for one in sorted(shown) if one.strip() == str(right)), "neither")
        # a judge who errs takes the wrong one of the two; where both are wrong, either
        wrong = [one for one in sorted(shown) if one != truth]
        said = truth if rng.random() < accuracy else rng.choice(wrong)
        return says(right="AB"[shown.index(said)] if said in shown else "neither")

    return says_so


class Measurement:
    """The rows of all seeds, scored in one folder; figures are kept there too."""

    def __init__(self, run: Path, work: Path, count: int, engine: str) -> None:
        self._work, self._asked = work, questions(count)
        base = Path(json.loads((run / "run.json").read_text())["provenance"]["model"])
        self._folders = {
            step: run / "checkpoints" / f"step-{step:06}" if step else base for step in STEPS
        }
        self._engine = engine
        work.mkdir(parents=True, exist_ok=True)

    def tier(self, step: int) -> dict[str, Any]:
        """A tier's config."""
        serve = {"template": "plain", "engine": self._engine, "nucleus_candidates": 32}
        return {
            "name": f"step-{step}" if step else "base",
            "model": str(self._folders[step]),
            "prompt": "{question}",
            "final": "last_number",
            "max_tokens": 40,
            "serve": serve,
        }

    def figures(
        self, seed: int, accuracy: float | None, *, each_order: bool = False, **how: Any
    ) -> Figures:
        """What became of the rows of a seed: as it was measured, or measured now.

        Args:
            seed: of the errors, and of the judge.
            accuracy: of the judge; None drops whatever is in doubt.
            each_order: as `judge` has it.
            how: as `scored` has it.
        """
        held = self._work / "figures.json"
        known = json.loads(held.read_text()) if held.is_file() else {}
        name = json.dumps([len(self._asked), seed, accuracy, each_order, how], sort_keys=True)
        if name not in known:
            by = None if accuracy is None else judge(accuracy, seed, each_order=each_order)
            found = figures(*self.scored(seed, by, **how), at_once=accuracy is None)
            held.write_text(json.dumps(known | {name: asdict(found)}, indent=1))
            return found
        return Figures(**known[name])

    def scored(
        self,
        seed: int,
        by: Callable[[Body], Reply] | None,
        *,
        k: int = ATTEMPTS,
        low: float = LOW,
        steps: Sequence[int] = STEPS,
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows that are kept, and rows that are dropped, as the command leaves them."""
        stored = planted(self._asked, seed)
        file = self._work / "rows.jsonl"
        rows = zip(self._asked, stored, strict=True)
        file.write_text(
            "".join(
                json.dumps({"question": asked, "answer": str(answer), "truth": truth}) + "\n"
                for (asked, truth), answer in rows
            )
        )
        config: dict[str, Any] = {
            "tiers": [self.tier(step) for step in steps],
            "scoring": {"attempts": k, "low": low},
            "cache": str(self._work / "cache"),
        }
        out = self._work / f"out-{k}-{len(steps)}"

        def run() -> None:
            score(file, str(out), ScoreConfig.model_validate(config), on_progress=progress)

        if by is None:
            run()
        else:
            with ScriptedJudge(by) as server:
                config["judge"] = {"model": "rule", "base_url": server.url, "cache": ""}
                run()
        return _rows(out / "questions.jsonl"), _rows(out / "dropped.jsonl")


def progress(line: str) -> None:
    """To stderr, so that the tables can be kept by themselves."""
    print(line, file=sys.stderr, flush=True)


def figures(
    kept: Sequence[dict[str, Any]], dropped: Sequence[dict[str, Any]], *, at_once: bool = False
) -> Figures:
    """What became of rows.

    Args:
        kept: rows of questions.jsonl.
        dropped: of dropped.jsonl.
        at_once: count what is in doubt as dropped, as if nobody were asked.
    """
    if at_once:
        dropped = [*dropped, *({"row": row} for row in kept if "doubt" in row)]
        kept = [row for row in kept if "doubt" not in row]
    gone = [one["row"] for one in dropped]
    wrong = [is_wrong(row) for row in gone]
    hard_kept = sum(row["bracket"] == "hard" and not is_wrong(row) for row in kept)
    right_kept = sum(not is_wrong(row) for row in kept)
    lost = wrong.count(False)
    return Figures(
        planted=sum(map(is_wrong, kept)) + wrong.count(True),
        found=wrong.count(True),
        right=right_kept + lost,
        lost=lost,
        hard=hard_kept + lost,  # only what the strongest tier rarely comes to can be dropped
        hard_lost=lost,
    )


def is_wrong(row: dict[str, Any]) -> bool:
    """Whether its stored answer was planted."""
    return int(row["answer"]) != int(row["truth"])


def line(name: str, all_of: Sequence[Figures]) -> str:
    """Figures of some seeds, together, each with the interval of 95%."""
    total = all_of[0]
    for one in all_of[1:]:
        total = total + one
    left = total.planted - total.found
    kept = left + total.right - total.lost
    cells = (
        (total.found, total.planted),
        (total.lost, total.right),
        (left, kept),
        (total.hard - total.hard_lost, total.hard),
    )
    return f"{name:<28}" + "".join(_cell(part, whole) for part, whole in cells)


def _cell(part: int, whole: int) -> str:
    if not whole:
        return f"{'-':>24}"
    low, high = wilson(part / whole, whole, NORMAL)
    return f"{f'{part / whole:.3f} [{low:.3f}, {high:.3f}]':>24}"


HEAD = f"{'':<28}" + "".join(
    f"{name:>24}" for name in ("planted dropped", "right dropped", "noise after", "hard right kept")
)


def main() -> None:
    """Make the attempts, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="Folder of the climb.")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--engine", default="vllm")
    told = parser.parse_args()
    made = Measurement(told.run, told.work, told.questions, told.engine)
    seeds = range(told.seeds)

    def of(accuracy: float | None, **how: Any) -> list[Figures]:
        return [made.figures(seed, accuracy, **how) for seed in seeds]

    strongest = STEPS[-1:]  # on it alone depends what is in doubt, and what is hard
    print(f"{told.questions} sums, {ATTEMPTS} attempts, low = {LOW}; judge simulated")
    print(HEAD)
    main_ones = of(0.9, steps=strongest)
    for seed, one in zip(seeds, main_ones, strict=True):
        print(line(f"judge 0.9, seed {seed}", [one]))
    print(line("judge 0.9, all seeds", main_ones))
    print("\nwhat the judge buys")
    print(HEAD)
    print(line("whenever consensus differs", of(None, steps=strongest)))
    for accuracy in (0.7, 0.9, 1.0):
        print(line(f"judge {accuracy}", of(accuracy, steps=strongest)), flush=True)
    each = of(0.9, each_order=True, steps=strongest)
    print(line("judge 0.9, in each order", each), flush=True)
    print("\nfour tiers, seed 0")
    kept, dropped = made.scored(0, judge(0.9, 0))
    for step in STEPS:
        name = f"step-{step}" if step else "base"
        rates = [row["pass_rates"][name] for row in kept if not is_wrong(row)]
        print(f"{name}: mean pass rate on right rows that stay {sum(rates) / len(rates):.3f}")
    print("brackets:", dict(sorted(Counter(row["bracket"] for row in kept).items())))
    same = figures(kept, dropped) == main_ones[0]
    print(f"the same rows are dropped as with the strongest alone: {same}", flush=True)
    print("\nk and low, judge 0.9")
    print(HEAD)
    for k in KS:
        for low in LOWS:
            some = of(0.9, k=k, low=low, steps=strongest)
            print(line(f"k = {k}, low = {low}", some), flush=True)


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in file.read_text().splitlines()]


if __name__ == "__main__":
    main()
