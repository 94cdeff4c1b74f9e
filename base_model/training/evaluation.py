"""Negative log-likelihood on held-out text, while a model is trained and after.

    texts ──► pieces no longer than a row ──► packed rows ──► nats per token, bits per byte
                                                               by set, by category, one target

The target is the report's (MAI-Thinking-1 report, section 2.3, Eq. 3): a weighted mean over five
categories, each the plain mean over its sets of the NLL divided by a fixed reference model's.
How the report normalises is not stated; the ratio is ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from munro.base_model.data.shards.held_out import BadEvaluation, HeldOutSet
from munro.base_model.results import REPORT_WEIGHTS, Category
from munro.base_model.training.loss import summed_loss
from munro.base_model.training.rows import rows_on_device
from munro.base_model.training.sharding import Alone, World, give_back


@dataclass(frozen=True, slots=True, kw_only=True)
class SetScore:
    """How well one set is predicted.

    Example:
        SetScore(name="prose", category="general", nll=2.1, bits_per_byte=0.9, num_tokens=4096)
    """

    name: str
    category: Category
    nll: float
    """Nats per predicted token."""
    bits_per_byte: float
    """Comparable between tokenizers."""
    num_tokens: int
    """Predicted."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of every set, and what they come to."""

    scores: tuple[SetScore, ...]

    def by_category(self, reference: Mapping[str, float] | None = None) -> dict[Category, float]:
        """Plain mean over a category's sets of the NLL, divided by the reference's where given.

        Raises:
            BadEvaluation: the reference does not know a set.
        """
        found: dict[Category, list[float]] = {}
        for score in self.scores:
            if reference is not None and score.name not in reference:
                raise BadEvaluation(
                    f"the reference has no NLL of held-out set {score.name!r}; it knows "
                    f"{', '.join(sorted(reference)) or 'none'}."
                )
            norm = 1.0 if reference is None else reference[score.name]
            found.setdefault(score.category, []).append(score.nll / norm)
        return {
            category: fmean(found[category]) for category in REPORT_WEIGHTS if category in found
        }

    def target(self, reference: Mapping[str, float] | None = None) -> float:
        """Eq. 3 over the categories that have sets, their weights scaled to add up to 1."""
        means = self.by_category(reference)
        total = sum(REPORT_WEIGHTS[category] for category in means)
        return sum(REPORT_WEIGHTS[category] * mean for category, mean in means.items()) / total

    def metrics(self, reference: Mapping[str, float] | None = None) -> dict[str, float]:
        """Every figure by name, for a line of metrics."""
        found = {"evaluation/target": self.target(reference)}
        for category, mean in self.by_category(reference).items():
            found[f"evaluation/{category}"] = mean
        for score in self.scores:
            place = f"evaluation/{score.category}/{score.name}"
            found[f"{place}/nll"] = score.nll
            found[f"{place}/bits_per_byte"] = score.bits_per_byte
        return found

    def to_json(self) -> str:
        """As `read_reference` reads it."""
        return json.dumps([asdict(score) for score in self.scores], indent=2) + "\n"


def evaluate(
    model: Any,
    held_out: Sequence[HeldOutSet],
    *,
    micro_rows: int = 8,
    world: World | None = None,
    autocast: bool = False,
) -> Evaluation:
    """Score every set. Changes neither weights nor random state; the same on every rank.

    Args:
        model: a causal LM, sharded over `world` or not.
        held_out: what to score; every rank gives the same.
        micro_rows: rows of one forward pass.
        world: the ranks that share the work, one pass each in turn.
        autocast: compute products in bfloat16.
    """
    ranks = world or Alone()
    training = model.training
    model.eval()
    try:
        scores = tuple(_score(model, one, micro_rows, ranks, autocast) for one in held_out)
    finally:
        give_back(model)
        model.train(training)
    return Evaluation(scores)


def read_reference(file: Path) -> dict[str, float]:
    """NLL by set of the reference model, from the evaluation.json that a run wrote.

    Raises:
        BadEvaluation: the file is not there, or is something else.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        reference = {str(row["name"]): float(row["nll"]) for row in rows}
    except OSError as error:
        raise BadEvaluation(f"cannot read the reference {file}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadEvaluation(
            f"{file} is no reference: give the evaluation.json that a training run wrote."
        ) from error
    bad = [name for name, nll in reference.items() if not nll > 0 or math.isinf(nll)]
    if bad:
        raise BadEvaluation(f"{file}: the NLL of {bad[0]!r} is {reference[bad[0]]}.")
    return reference


@torch.no_grad()
def _score(
    model: Any, held_out: HeldOutSet, micro_rows: int, world: World, autocast: bool
) -> SetScore:
    batches = list(held_out.rows.split(micro_rows))
    nll, num_tokens = 0.0, 0
    device = next(model.parameters()).device
    # as many passes on every rank: with sharded weights each is a collective
    for turn in range(-(-len(batches) // world.data_size)):
        mine = turn * world.data_size + world.data_rank
        rows = rows_on_device(batches[min(mine, len(batches) - 1)], device, world.context)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = summed_loss(model, rows, apart=True)
        if mine < len(batches):
            nll += float(loss.nll)
            num_tokens += loss.num_targets
    sums = world.summed({"nll": nll, "num_tokens": num_tokens})
    return SetScore(
        name=held_out.name,
        category=held_out.category,
        nll=sums["nll"] / sums["num_tokens"],
        bits_per_byte=sums["nll"] / (held_out.num_bytes * math.log(2)),
        num_tokens=int(sums["num_tokens"]),
    )
