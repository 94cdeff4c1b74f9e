"""What a preference model learns from generated comparisons, and what rotation does to its bias.

A small Llama is trained from nothing, once for each rule, by the code of `munro preference train`,
and measured on contexts it has not seen: share of pairs in the right order, and by how much a place
in the list changes the mean score of the same candidates, read in one order and rotated.

    shorter      of two candidates the longer is worse
    as-asked     the context says whether short or long is wanted
    first-listed as "shorter", but the best is listed first in 8 of 10 comparisons and the order is
                 never changed in training: data with a taste for a place

    python benchmarks/preference.py [--rule shorter] [--steps 400] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import ModelConfig
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.small.quickstart import new_model
from munro.base_model.training.pretrain import StepMetrics
from munro.distill.config import PreferenceConfig
from munro.distill.preference import Trained, train_preference
from munro.rewards.preference.comparisons import Comparison

RULES = ("shorter", "as-asked", "first-listed")
WORDS = ("river", "stone", "heather", "loch", "ridge", "summit", "cloud", "path", "rain", "deer")
SCORES = (5, 3, 1)
"""Of the best, the middle and the worst of three."""
LENGTHS = (1, 3, 5, 7, 9)
"""Words of a candidate; those of one comparison differ."""
LISTED_FIRST = 0.8
WANTED_ACCURACY, WANTED_BIAS = 0.9, 0.02


def comparisons(rule: str, count: int, *, seed: int) -> list[Comparison]:
    """Three candidates of random words for each of `count` contexts, scored by the rule."""
    rng = random.Random(f"{rule}:{seed}")
    made = []
    for number in range(count):
        wants_short = rule != "as-asked" or rng.random() < 0.5
        wish = "in short" if wants_short else "at length"
        lengths = rng.sample(LENGTHS, len(SCORES))
        best_first = sorted(lengths, reverse=not wants_short)
        if rule == "first-listed" and rng.random() < LISTED_FIRST:
            best, *others = best_first
            rng.shuffle(others)
            lengths = [best, *others]
        made.append(
            Comparison(
                context=f"{number}: {rng.choice(WORDS)}, {wish}.",
                candidates=tuple(" ".join(rng.choices(WORDS, k=length)) for length in lengths),
                scores=tuple(SCORES[best_first.index(length)] for length in lengths),
            )
        )
    return made


def write_base(folder: Path) -> Path:
    """An untrained Llama of 0.15M parameters whose tokens are the words above."""
    texts = [" ".join((*WORDS, "in short.", "at length."))] * 50
    tokenizer = train_tokenizer(texts, vocab_size=400, max_context=128)
    torch.manual_seed(0)
    shape = ModelConfig(
        architecture="llama",
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        num_heads=2,
        max_context=128,
    )
    Checkpoint.write(folder, model=new_model(shape, tokenizer), tokenizer=tokenizer)
    return folder


def config(rule: str, *, steps: int, seed: int) -> PreferenceConfig:
    """Of the training, for a model that begins from nothing."""
    return PreferenceConfig.model_validate(
        {
            "num_steps": steps,
            "batch_rows": 16,
            "optimizer": {"learning_rate": 3e-3, "betas": (0.9, 0.95)},
            "schedule": {"warmup_steps": 20},
            "permute": rule != "first-listed",
            # words drawn at random answer every context alike: there is no foreign candidate
            "foreign_share": 0.0,
            "neutral_share": 0.0,
            "bias_comparisons": 200,
            "log_every": 50,
            "seed": seed,
        }
    )


def train(rule: str, folder: Path, *, steps: int, seed: int = 0, count: int = 2000) -> Trained:
    """Train on a rule in `folder` and measure."""

    def show(metrics: StepMetrics) -> None:
        print(
            f"{rule}: step {metrics.step} of {steps}, loss {metrics.loss:.3f}, "
            f"{metrics.seconds_left:.0f} s left",
            file=sys.stderr,
        )

    return train_preference(
        comparisons(rule, count, seed=seed),
        onto=write_base(folder / "base"),
        out=folder / rule,
        config=config(rule, steps=steps, seed=seed),
        source=f"generated: {rule}",
        on_metrics=show,
    )


def rows(found: dict[str, Trained]) -> list[str]:
    """A table: rule, accuracy and bias in one order and rotated."""
    lines = [
        f"{'rule':<14}{'pairwise accuracy':^24}{'position bias':^24}{'spread of a candidate':^24}",
        f"{'':<14}" + f"{'one order':>11}{'rotated':>11}  " * 3,
    ]
    for rule, trained in found.items():
        one, rotated = trained.figures.unrotated, trained.figures.rotated
        pairs = (
            (one.pairwise_accuracy, rotated.pairwise_accuracy),
            (one.position_bias, rotated.position_bias),
            (one.spread, rotated.spread),
        )
        lines.append(f"{rule:<14}" + "".join(f"{a:>11.3f}{b:>11.3f}  " for a, b in pairs))
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and fail where "shorter" or "as-asked" misses what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--rule", choices=RULES, action="append", help="one of them; all by default"
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args(arguments)
    found: dict[str, Trained] = {}
    seconds: dict[str, float] = {}
    for rule in options.rule or RULES:
        with tempfile.TemporaryDirectory(prefix="munro-preference-") as folder:
            start = time.perf_counter()
            found[rule] = train(rule, Path(folder), steps=options.steps, seed=options.seed)
            seconds[rule] = round(time.perf_counter() - start, 1)
    print("\n".join(rows(found)))
    results: dict[str, Any] = {
        rule: {**asdict(trained.figures), "seconds": seconds[rule]}
        for rule, trained in found.items()
    }
    print(json.dumps(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    for rule, trained in found.items():
        rotated = trained.figures.rotated
        if rotated.position_bias > WANTED_BIAS:
            sys.exit(f"{rule}: position bias {rotated.position_bias:.3f}, wanted {WANTED_BIAS}")
        if rule != "first-listed" and rotated.pairwise_accuracy < WANTED_ACCURACY:
            sys.exit(f"{rule}: accuracy {rotated.pairwise_accuracy:.3f}, wanted {WANTED_ACCURACY}")


if __name__ == "__main__":
    main()
