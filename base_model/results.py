"""What runs of any trainer cost and came to: the lines that `munro gain` reads.

    {"name": "baseline", "rung": "L12", "flops": 1.9e18, "seconds": 410.0,
     "losses": {"code/stdlib": 1.32, "math/sums": 0.91, "general/prose": 2.75}}

One JSON object a line, a line a run. `name` says which idea was run, `rung` at which size (unset,
runs of one cost belong together), `flops` what the training took, `seconds` how long (optional).
`losses` are nats per token of held-out sets, named "category/set" or by a category alone; a line
with a single figure may say `"loss": 1.93` instead. Further keys are for whoever wrote them. A name
and a rung may come several times: other seeds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

Category = Literal["code", "stem", "math", "general", "multilingual"]

REPORT_WEIGHTS: Mapping[Category, float] = {
    "code": 0.5,
    "stem": 0.175,
    "math": 0.175,
    "general": 0.1,
    "multilingual": 0.05,
}
"""MAI-Thinking-1 report, section 2.3, Eq. 3."""

ONLY_LOSS = "loss"
WEIGHTED = "weighted"


class BadResults(ValueError):
    """Results that cannot be compared; says which line and why, in one sentence."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """One training.

    Example:
        TrainedRun(name="baseline", rung="L12", flops=1.9e18, seconds=None, losses={"loss": 1.93})
    """

    name: str
    rung: str
    flops: float
    seconds: float | None
    losses: Mapping[str, float]
    """Nats per token, by "category/set"."""


def read_results(file: Path) -> tuple[TrainedRun, ...]:
    """Every run of a JSONL file; empty lines are skipped.

    Raises:
        BadResults: the file cannot be read, a line is wrong, or a run lacks a set that others have.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise BadResults(f"cannot read {file}: {reason}.") from error
    runs: list[TrainedRun] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            runs.append(_run(json.loads(line)))
        except json.JSONDecodeError as error:
            raise BadResults(f"{file}, line {number} is no JSON: {error.msg}.") from error
        except BadResults as error:
            raise BadResults(f"{file}, line {number}: {error}") from None
        if missing := sorted(set(runs[0].losses) ^ set(runs[-1].losses)):
            raise BadResults(
                f"{file}, line {number}: the first line and this one do not both have a loss of "
                f"{missing[0]!r}; every run must be scored on the same sets."
            )
    if not runs:
        raise BadResults(f"{file} holds no run: write one JSON object a line, one for each run.")
    return tuple(runs)


def as_line(run: TrainedRun, **more: Any) -> str:
    """One line of a results file, its newline included; `more` are keys of the writer's own."""
    known = {"name": run.name, "rung": run.rung, "flops": run.flops, "seconds": run.seconds}
    return json.dumps({**known, "losses": dict(run.losses), **more}) + "\n"


def category_of(set_name: str) -> str:
    """ "code" of "code/stdlib" and of "code"."""
    return set_name.partition("/")[0]


def weights_for(
    categories: Sequence[str], given: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Shares of the categories in the target, adding up to 1.

    Without `given` they are the report's, scaled to the categories at hand; where one is none of
    the report's five, all weigh the same.

    Raises:
        BadResults: a weight is negative, or names no category at hand, or all are zero.
    """
    if given:
        if unknown := sorted(set(given) - set(categories)):
            raise BadResults(
                f"a weight is given for {unknown[0]!r}, but the categories are "
                f"{', '.join(categories)}."
            )
        weights = {category: float(given.get(category, 0)) for category in categories}
        if min(weights.values()) < 0 or not sum(weights.values()) > 0:
            raise BadResults(f"the weights {dict(given)} must be positive numbers.")
    elif set(categories) <= set(REPORT_WEIGHTS):
        weights = {str(one): weight for one, weight in REPORT_WEIGHTS.items() if one in categories}
    else:
        weights = dict.fromkeys(categories, 1.0)
    total = sum(weights.values())
    return {category: weight / total for category, weight in weights.items()}


def columns(
    runs: Iterable[TrainedRun],
    reference: Mapping[str, float],
    weights: Mapping[str, float] | None = None,
) -> dict[str, list[float]]:
    """What is compared: a loss of every run by category, and "weighted" where there are several.

    A category is the plain mean over its sets of the loss divided by the reference's, times the
    reference's own mean, so that it is in nats again; "weighted" is Eq. 3 over the ratios.

    Args:
        runs: the runs.
        reference: loss of the reference model by set.
        weights: of the categories, as `weights_for` takes them.
    """
    runs = list(runs)
    names = list(dict.fromkeys(category_of(name) for name in reference))
    sets = {one: [name for name in reference if category_of(name) == one] for one in names}
    ratios = {
        category: [fmean(run.losses[name] / reference[name] for name in members) for run in runs]
        for category, members in sets.items()
    }
    found = {
        category: [ratio * fmean(reference[name] for name in sets[category]) for ratio in each]
        for category, each in ratios.items()
    }
    if len(names) > 1:
        shares = weights_for(names, weights)
        found[WEIGHTED] = [
            sum(shares[category] * ratios[category][at] for category in names)
            for at in range(len(runs))
        ]
    return found


def _run(raw: object) -> TrainedRun:
    if not isinstance(raw, dict):
        raise BadResults("a line is one JSON object.")
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        raise BadResults('it has no "name": the idea that was run, such as "baseline".')
    flops = _positive(raw, "flops")
    seconds = None if raw.get("seconds") is None else _positive(raw, "seconds")
    losses = raw.get("losses", {ONLY_LOSS: raw[ONLY_LOSS]} if ONLY_LOSS in raw else None)
    if not isinstance(losses, dict) or not losses:
        raise BadResults('it has neither "loss" nor "losses": {"category/set": nats per token}.')
    return TrainedRun(
        name=name,
        rung=str(raw.get("rung") or f"{flops:.3g}"),
        flops=flops,
        seconds=seconds,
        losses={str(key): _positive(losses, key) for key in losses},
    )


def _positive(raw: Mapping[str, Any], key: str) -> float:
    value = raw.get(key)
    if value is None:
        raise BadResults(f'it has no "{key}".')
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:
        raise BadResults(f'"{key}" is {value!r}: give a number above 0.')
    return float(value)
