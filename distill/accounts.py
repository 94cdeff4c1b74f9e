"""What was selected, dropped and weighed, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator

from munro.distill.prepare import Account, Taken


def table(account: Account) -> str:
    """Runs, with their shares of samples and tokens, and what each filter took of each.

    Example:
        run                steps     traces  samples    tokens  prompts   weight
        stem            250-500      1,000    56.0%     89.1%      840     0.56
    """
    return "\n".join(_lines(account))


def _lines(account: Account) -> Iterator[str]:
    width = max(len("together"), *(len(run.name) for run in account.runs))
    head = (("steps", 13), ("traces", 10), ("samples", 9), ("tokens", 9), ("prompts", 10))
    yield f"{'run':<{width}}" + "".join(f"{name:>{size}}" for name, size in head) + "    weight"
    for run in account.runs:
        yield _row(run, account, width)
    if len(account.runs) > 1:
        yield f"{'together':<{width}}{'':>13}{account.traces:>10,}{'100.0%':>9}{'100.0%':>9}"
    for run in account.runs:
        yield ""
        yield (
            f"{run.name}: {run.stored:,} traces in {run.num_steps} steps, {run.passed:,} with a "
            f"wanted outcome, {run.read:,} read, {run.traces:,} taken ({run.tokens:,} tokens)"
        )
        for name, count in sorted(run.dropped.items(), key=lambda item: -item[1]):
            yield f"  {name} dropped {count:,}, for example"
            yield from (f"    {example}" for example in run.examples[name])
    yield from account.cut


def _row(run: Taken, account: Account, width: int) -> str:
    total = sum(one.weight for one in account.runs)
    steps = f"{run.first_step}-{run.last_step}"
    samples, tokens = run.traces / account.traces, run.tokens / account.tokens
    return (
        f"{run.name:<{width}}{steps:>13}{run.traces:>10,}{samples:>9.1%}{tokens:>9.1%}"
        f"{run.prompts:>10,}{run.weight / total:>10.2f}"
    )
