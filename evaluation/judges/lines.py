"""What a test of a judge found, as lines for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from munro.evaluation.judges.asking import Cost
from munro.evaluation.judges.figures import JudgeFigures
from munro.evaluation.judges.pairs import Places, table_of
from munro.evaluation.judges.people import LabelsReport, PairsReport
from munro.evaluation.judges.stretched import Stretch, is_biased
from munro.evaluation.statistics import Estimate

MOST_REASONS = 3
MOST_RATERS = 20
WIDTH = 34
NO_BIAS = "no bias can be told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a million tokens cost, in any currency.

    Example:
        Prices(tokens_in=0.15, tokens_out=0.6)
    """

    tokens_in: float = 0.0
    tokens_out: float = 0.0


def of_labels(report: LabelsReport, prices: Prices) -> str:
    """A judge beside people's labels."""
    return "\n".join(
        [
            *_agreement(report.figures),
            *_verdicts(report.figures),
            *_flips(report.flips, report.asked_twice),
            *of_stretch(report.stretch),
            *_failures(report.failures, report.figures.responses),
            *_cost(report.cost, prices),
            "",
            judgement(report.figures),
        ]
    )


def of_pairs(report: PairsReport, prices: Prices) -> str:
    """A judge, or a preference model, beside people's preferences."""
    ties = [f"{report.num_ties} ties of people's are left out"] if report.num_ties else []
    return "\n".join(
        [
            *table_of(report.figures),
            *ties,
            *of_places(report.places),
            *_flips(report.flips, report.asked_twice),
            *_failures(report.failures, report.cost.asked),
            *_cost(report.cost, prices),
        ]
    )


def of_places(places: Places | None) -> list[str]:
    """What a place buys."""
    if places is None:
        return []
    told = "a bias" if places.is_biased else NO_BIAS
    return [
        _line("choices that fell on the first", f"{places.first}  {told}: 0.5 is none"),
        _line("same choice in both orders", f"{places.same}"),
    ]


def of_stretch(stretch: Stretch | None) -> list[str]:
    """What a place in a transcript, and its length, buy."""
    if stretch is None:
        return []

    def told(estimate: Estimate) -> str:
        return f"{estimate}  {'a bias' if is_biased(estimate) else NO_BIAS}: 0.5 is none"

    return [
        _line(f"higher with work early ({stretch.transcripts})", told(stretch.early)),
        _line("higher among harmless turns", told(stretch.longer)),
        _line("the same early and late", f"{stretch.same}"),
    ]


def judgement(figures: JudgeFigures) -> str:
    """Whether the judge is better than chance, as far as can be told."""
    if figures.kappa is None:
        return f"It cannot be called better than chance: {figures.why_none}"
    interval = f"[{figures.kappa.low:.3f}, {figures.kappa.high:.3f}]"
    if figures.is_better_than_chance:
        return f"Better than chance: kappa with people lies within {interval}, above 0."
    if figures.is_worse_than_chance:
        return f"Worse than chance: kappa with people lies within {interval}, below 0."
    return (
        f"It cannot be called better than chance: kappa with people lies within {interval}, "
        "which holds 0."
    )


def _agreement(figures: JudgeFigures) -> Iterator[str]:
    people = len(figures.raters)
    yield _line("beyond chance (kappa)", _told(figures.kappa))
    yield _line(f"agreement (alpha, {figures.level})", "")
    yield _line("  the judge with people", f"{_told(figures.alpha)}  ({figures.judged} responses)")
    if people > 1:
        yield _line("  people among themselves", _told(figures.people))
        yield _line("", f"{'with the other people':<26}with the judge")
        for name, (own, with_judge) in list(figures.raters.items())[:MOST_RATERS]:
            yield _line(f"  rater {name}", f"{_told(own):<26}{_told(with_judge)}")
        if people > MOST_RATERS:
            yield f"  and {people - MOST_RATERS} raters more"
    else:
        yield _line("  people among themselves", "one rater: nothing to compare with")


def _verdicts(figures: JudgeFigures) -> Iterator[str]:
    if figures.accuracy is None:
        return
    always = f"{figures.commonest:.3f} by always saying the commonest"
    yield _line("accuracy", f"{figures.accuracy}  ({always})")
    yield _line("recall", _told(figures.recall))
    yield _line("precision", _told(figures.precision))
    yield _line("people say 1 of", f"{figures.positive:.3f}")
    if figures.split:
        yield _line("people are split on", f"{figures.split} responses, which count nowhere")


def _flips(flips: Estimate | None, asked_twice: int) -> Iterator[str]:
    if flips is not None:
        yield _line(f"otherwise when asked again ({asked_twice})", f"{flips}")


def _failures(failures: Counter[str], total: int) -> Iterator[str]:
    if not failures:
        return
    yield _line("no verdict", f"{sum(failures.values())} of {total}, which count nowhere")
    for reason, count in failures.most_common(MOST_REASONS):
        yield f"  {count} x {reason}"


def _cost(cost: Cost, prices: Prices) -> Iterator[str]:
    if cost.remembered and not cost.requests:
        yield _line("cost of a thousand", "not measured: every answer was remembered")
        return
    if not cost.requests:
        return
    share = cost.requests / (cost.requests + cost.remembered)
    requests, tokens_in, tokens_out = (
        cost.per_thousand(value / share)
        for value in (cost.requests, cost.tokens_in, cost.tokens_out)
    )
    told = f"{requests:,.0f} requests, {tokens_in:,.0f} tokens in, {tokens_out:,.0f} out"
    if prices.tokens_in or prices.tokens_out:
        paid = (tokens_in * prices.tokens_in + tokens_out * prices.tokens_out) / 1e6
        told += f": {paid:,.2f} at these prices"
    yield _line("cost of a thousand", told)


def _told(estimate: Estimate | None) -> str:
    return "nothing can be said" if estimate is None else str(estimate)


def _line(name: str, value: str) -> str:
    return f"{name:<{WIDTH}} {value}".rstrip()
