"""Checks per second: Munro's verifier against Math-Verify called directly, groups of 128 answers.

Both grade the same replies to one problem, as a GRPO group would have them. Math-Verify runs as its
readme says, `verify(parse(gold), parse(reply))`, in this process on the main thread (it needs that
for its time-out). Munro runs `verify_group`, with its cache emptied before every repetition. The
two take turns; medians are printed; verdicts must be equal.

    python benchmarks/verifier.py [--repetitions 7] [--workers 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import math_verify

from munro.rewards.config import RewardsConfig
from munro.rewards.math import MathVerifier

GROUP_SIZE = 128
WANTED_RATIO = 10.0
WANTED_OF_DIFFERENT = 5.0


def groups(seed: int) -> dict[str, tuple[str, list[str]]]:
    """Scenario name to (reference, 128 replies). The first four are what a climb meets."""
    rng = random.Random(seed)

    def group(answers: Sequence[str], weights: Sequence[float]) -> list[str]:
        drawn = rng.choices(answers, weights, k=GROUP_SIZE)
        return [f"So the result is \\boxed{{{answer}}}" for answer in drawn]

    roots = [r"2\sqrt{3}", r"\sqrt{12}", r"\frac{6}{\sqrt{3}}", r"3\sqrt{2}", r"\sqrt{6}", "4"]
    polynomials = ["x^2-1", "(x-1)(x+1)", "x^2+1", "(x-1)^2", "1-x^2", "x^2-x", "2x-1"]
    wrong = [str(rng.randint(2, 999)) for _ in range(11)]
    return {
        "integers, half of them right": ("42", group(["42", *wrong], [11, *[1] * 11])),
        "fractions and decimals": (
            r"\frac{3}{4}",
            group(
                [r"\frac{3}{4}", "0.75", r"\frac{6}{8}", "0.8", r"\frac{4}{3}", "3"],
                range(6, 0, -1),
            ),
        ),
        "roots, a few spellings each": (r"2\sqrt{3}", group(roots, [6, 3, 2, 2, 1, 1])),
        "polynomials": ("x^2-1", group(polynomials, [4, 6, 3, 2, 1, 1, 1])),
        "128 different LaTeX answers": (
            r"2\sqrt{3}",
            [rf"So \boxed{{\frac{{{n}}}{{\sqrt{{{n + 5}}}}}}}" for n in range(1, GROUP_SIZE + 1)],
        ),
    }


def direct(gold: str, replies: Sequence[str]) -> list[bool]:
    """Math-Verify, called for each reply."""
    return [
        math_verify.verify(math_verify.parse(f"${gold}$"), math_verify.parse(reply))
        for reply in replies
    ]


def timed(call: Callable[[], list[bool]]) -> tuple[float, list[bool]]:
    """Seconds that a call took, and what it said."""
    start = time.perf_counter()
    verdicts = call()
    return time.perf_counter() - start, verdicts


def compare(
    verifier: MathVerifier, gold: str, replies: Sequence[str], repetitions: int
) -> tuple[float, float]:
    """Median seconds of (Munro, Math-Verify) for one group.

    Raises:
        SystemExit: they disagree on an answer.
    """

    def ours() -> list[bool]:
        verifier.forget()
        return [grade.solved for grade in verifier.verify_group(replies, gold)]

    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repetitions):
        our_s, our_verdicts = timed(ours)
        their_s, their_verdicts = timed(lambda: direct(gold, replies))
        if our_verdicts != their_verdicts:
            pairs = zip(replies, our_verdicts, their_verdicts, strict=True)
            sys.exit(f"verdicts differ: {[pair for pair in pairs if pair[1] != pair[2]][:5]}")
        seconds[0].append(our_s)
        seconds[1].append(their_s)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def main() -> None:
    """Print a table and the ratio over the groups that a climb meets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    logging.disable(logging.WARNING)

    rows = {}
    with MathVerifier(RewardsConfig(workers=options.workers)) as verifier:
        verifier.warm()
        print(f"{'group of 128':<34}{'Munro/s':>10}{'direct/s':>10}{'ratio':>8}")
        for name, (gold, replies) in groups(options.seed).items():
            compare(verifier, gold, replies, 1)  # both sides warm
            ours_s, theirs_s = compare(verifier, gold, replies, options.repetitions)
            rows[name] = (ours_s, theirs_s)
            rates = f"{GROUP_SIZE / ours_s:>10,.0f}{GROUP_SIZE / theirs_s:>10,.0f}"
            print(f"{name:<34}{rates}{theirs_s / ours_s:>8.1f}")
    usual = list(rows.values())[:-1]
    ratio = sum(theirs for _, theirs in usual) / sum(ours for ours, _ in usual)
    print(f"usual groups together: {ratio:.1f} times as many checks per second, equal verdicts")
    if options.json:
        figures = {
            name: {"munro_s": a, "direct_s": b, "ratio": b / a} for name, (a, b) in rows.items()
        }
        options.json.write_text(json.dumps({"ratio": ratio, "groups": figures}, indent=2))
    ours_s, theirs_s = list(rows.values())[-1]
    if ratio < WANTED_RATIO or theirs_s / ours_s < WANTED_OF_DIFFERENT:
        sys.exit(
            f"below the {WANTED_RATIO:g} times ({WANTED_OF_DIFFERENT:g} times where no two answers "
            "are alike) that it must reach"
        )


if __name__ == "__main__":
    main()
