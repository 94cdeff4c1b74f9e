"""The planner's formulas against what others published: every row, predicted, published, error.

    python -m benchmarks.scale.published docs/scale/published.md

Nothing here is fitted but what a table says is: one share of the links on one transfer, one factor
on the first row of each table of steps. Rows that miss stay.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median

from munro.machine.assumptions.config import kinds
from munro.machine.planning.cost import BUCKET, BUCKET_S, moved
from munro.machine.planning.job import Lengths
from munro.machine.planning.sharing import Group, Server

GB, TB = 1e9, 1e12
TABLE = kinds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A published weight update."""

    what: str
    kind: str
    total: float
    """Bytes of the model, as they travel."""
    sources: int
    """GPUs that it leaves."""
    into: int
    """GPUs of a server."""
    whole: bool = False
    """Every GPU receives the whole model and takes its part, as in a broadcast."""
    one_node: bool = False
    seconds: tuple[float, float]
    """Published, least and most."""
    source: str

    @property
    def link(self) -> float:
        """Bytes a second into a GPU. What all GPUs of a node receive comes in by all its NICs."""
        row = TABLE[self.kind]
        if self.one_node:
            return row["nvlink_gb_s"] * GB
        if self.whole:
            return min(row["nvlink_gb_s"], row["nic_gb_s"] * min(row["domain"], 8)) * GB
        return row["nic_gb_s"] * GB

    def reckoned(self, share: float) -> tuple[float, float]:
        """Least possible by any means, and expected with this share of the links."""
        how = {"link": self.link, "memory_rate": TABLE[self.kind]["memory_tb_s"] * TB}
        least = moved(self.total, sources=max(self.sources, self.into), into=self.into, servers=1,
                      share=1.0, **how)  # fmt: skip
        into = 1 if self.whole else self.into
        return least.bound_s, moved(
            self.total, sources=self.sources, into=into, servers=1, share=share, **how
        ).estimate_s


ENGINE = "checkpoint-engine README"
NEMO = "NeMo-RL #2971"
VERL = "verl #7060"
TRANSFERS = (
    Moved(what="DeepSeek-V3, 256 to TP32", kind="H100", total=1.342 * TB, sources=256, into=32,
          seconds=(2.39, 2.83), source=NEMO),
    Moved(what="DeepSeek-V3, 256 to TP32", kind="GB200", total=1.342 * TB, sources=256, into=32,
          seconds=(1.93, 2.59), source=NEMO),
    Moved(what="Qwen3-30B, EP4 TP2 to TP4", kind="H100", total=61 * GB, sources=16, into=4,
          seconds=(1.13, 1.53), source=NEMO),
    Moved(what="Qwen3-30B, EP8 PP2 to TP2", kind="H100", total=61 * GB, sources=16, into=2,
          seconds=(1.21, 1.52), source=NEMO),
    Moved(what="Qwen3-30B, EP8 PP2 to TP8", kind="H100", total=61 * GB, sources=16, into=8,
          seconds=(0.74, 1.00), source=NEMO),
    Moved(what="Qwen3-235B, 8 to DP8 EP8", kind="H100", total=472 * GB, sources=8, into=8,
          seconds=(3.3, 3.3), source="vLLM #43375"),
    Moved(what="Qwen3-235B, 8 to TP8", kind="H100", total=472 * GB, sources=8, into=8,
          seconds=(6.1, 6.1), source="vLLM #43375"),
    Moved(what="Kimi-K2, 256 BF16 to 128 FP8", kind="H100", total=1.03 * TB, sources=256, into=128,
          seconds=(1.3, 1.3), source="Perplexity"),
    Moved(what="GLM-4.5-Air, broadcast", kind="H800", total=212 * GB, sources=8, into=8,
          whole=True, one_node=True, seconds=(3.47, 3.47), source=ENGINE),
    Moved(what="Qwen3-235B, broadcast", kind="H800", total=470 * GB, sources=8, into=8,
          whole=True, one_node=True, seconds=(6.22, 6.22), source=ENGINE),
    Moved(what="DeepSeek-V3.1 FP8, 16, broadcast", kind="H20", total=671 * GB, sources=16, into=16,
          whole=True, seconds=(10.19, 10.19), source=ENGINE),
    Moved(what="Kimi-K2 FP8, 16, broadcast", kind="H20", total=1.03 * TB, sources=16, into=16,
          whole=True, seconds=(14.36, 14.36), source=ENGINE),
    Moved(what="DeepSeek-V3.1 FP8, 256, broadcast", kind="H20", total=671 * GB, sources=256,
          into=16, whole=True, seconds=(11.33, 11.33), source=ENGINE),
    Moved(what="Kimi-K2 FP8, 256, broadcast", kind="H20", total=1.03 * TB, sources=256, into=16,
          whole=True, seconds=(16.04, 16.04), source=ENGINE),
    Moved(what="Qwen3-30B, 4 x 8", kind="H100", total=61 * GB, sources=1, into=1,
          seconds=(7.0, 7.0), source="verl README"),
    Moved(what="32B dense, by rank 0", kind="H100", total=65 * GB, sources=1, into=1,
          seconds=(14.2, 14.2), source=VERL),
    Moved(what="72B dense, by rank 0", kind="H100", total=145 * GB, sources=1, into=1,
          seconds=(28.5, 28.5), source=VERL),
    Moved(what="30B-A3B, by rank 0", kind="H100", total=61 * GB, sources=1, into=1,
          seconds=(32.0, 32.0), source=VERL),
)  # fmt: skip
"""The first is what the share of the links is fitted on. Numbers of GPUs are those of the source;
where it names none, by rank 0, one NIC is taken."""


def fitted_share() -> float:
    """Of the links, so that the first row comes out in the middle of what was published."""
    row = TRANSFERS[0]
    bound, least = row.reckoned(1.0)[0], sum(row.seconds) / 2
    buckets = -(-int(row.total / row.into) // BUCKET)
    return bound / (least - buckets * BUCKET_S)


def transfers() -> Iterator[str]:
    """Section 1.2's rows that say what went where."""
    share = fitted_share()
    yield f"One share of the links, {share:.2f}, fitted on the first row alone.\n"
    yield "| what | hardware | at least, s | predicted, s | published, s | factor | source |"
    yield "|---|---|---|---|---|---|---|"
    factors = []
    for row in TRANSFERS:
        least, expected = row.reckoned(share)
        low, high = row.seconds
        middle = (low + high) / 2
        factors.append(max(expected / middle, middle / expected))
        said = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        mark = "" if factors[-1] <= 2 else " **miss**"
        yield (
            f"| {row.what} | {row.kind} | {least:.2f} | {expected:.1f} | {said} | "
            f"{factors[-1]:.2f}{mark} | {row.source} |"
        )
    others = factors[1:]
    within = sum(factor <= 2 for factor in others)
    yield f"\nWithin a factor of 2: {within} of {len(others)} rows that were not fitted on."


# --- steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A published table of steps of one model and batch."""

    model: str
    kind: str
    parameters: float
    active: float
    cached: float
    """Bytes of keys and values, a token."""
    sequences: int
    lengths: Lengths
    server: int
    """GPUs of a server."""
    trained: float = 1.0
    """Forward passes beside training's own three, a share of them: old log-probabilities."""
    rows: tuple[tuple[str, int, int, float], ...]
    """What, GPUs that sample, GPUs that train, seconds published. Where the two are one number,
    they are the same GPUs in turn."""
    source: str

    def sampled_s(self, gpus: int) -> float:
        """From the first token to the last of the longest, on so many GPUs."""
        row = TABLE[self.kind]
        servers = max(1, gpus // self.server)
        number = max(1, round(self.sequences / servers))
        rate = 0.5 * row["memory_tb_s"] * TB * self.server
        mean = self.lengths.moment(2) / self.lengths.moment(1) / 2
        touched = min(1.0, self.active / self.parameters * number) * self.parameters
        server = Server(number, 2 * touched / rate, self.cached * mean / rate)
        for place in range(number):
            at = NormalDist().inv_cdf((place + 0.5) / number)
            length = min(
                self.lengths.cap, 2.718281828 ** (self.lengths.mu + self.lengths.spread * at)
            )
            server.begin(length, place, Group())
        while server.heap:
            server.settle(server.next_end())
            server.end()
        return server.at

    def trained_s(self, gpus: int) -> float:
        """Training, and the pass before it, on so many GPUs at a fifth of the peak."""
        flops = (6 + 2 * self.trained) * self.active * self.sequences * self.lengths.moment(1)
        return flops / (0.2 * TABLE[self.kind]["tflops"] * 1e12 * gpus)

    def reckoned(self, sampling: int, training: int) -> float:
        """Of one step: in turn on the same GPUs, or side by side on different ones."""
        both = self.sampled_s(sampling), self.trained_s(training)
        return sum(both) if sampling == training else max(both)


NEMO_STEPS = "NeMo-RL v0.6; lengths of its v0.4 table"
STEPS = (
    Steps(model="DeepSeek-V3", kind="H100", parameters=671e9, active=37e9, cached=61 * 576 * 2,
          sequences=512, lengths=Lengths(mean=745, spread=0.5, cap=1536), server=32,
          rows=(("256, in turn", 256, 256, 134.0), ("512, in turn", 512, 512, 111.0),
                ("512, one step off", 256, 257, 64.1)), source=NEMO_STEPS),
    Steps(model="Qwen3-235B", kind="H100", parameters=235e9, active=22e9,
          cached=94 * 2 * 4 * 128 * 2, sequences=512,
          lengths=Lengths(mean=6300, spread=0.5, cap=8192), server=16,
          rows=(("128, in turn", 128, 128, 395.0), ("256, in turn", 256, 256, 312.0),
                ("256, one step off", 128, 129, 231.0)), source=NEMO_STEPS),
    Steps(model="Qwen3-30B", kind="H100", parameters=30.5e9, active=3.3e9,
          cached=48 * 2 * 4 * 128 * 2, sequences=2048,
          lengths=Lengths(mean=3400, spread=0.5, cap=4096), server=4,
          rows=(("32, in turn", 32, 32, 192.0), ("32, one step off", 16, 17, 152.0),
                ("192, eight steps off", 96, 97, 34.5)), source=NEMO_STEPS),
    Steps(model="Qwen2.5-Math-7B, colocated", kind="H20", parameters=7.6e9, active=7.6e9,
          cached=28 * 2 * 4 * 128 * 2, sequences=8192,
          lengths=Lengths(mean=5250, spread=0.8, cap=28_672), server=1,
          rows=(("32, in turn", 32, 32, 790.1), ("64, in turn", 64, 64, 365.28),
                ("128, in turn", 128, 128, 356.3)), source="verl fully_async docs"),
    Steps(model="Qwen2.5-Math-7B, side by side", kind="H20", parameters=7.6e9, active=7.6e9,
          cached=28 * 2 * 4 * 128 * 2, sequences=8192, trained=0.0,
          lengths=Lengths(mean=5250, spread=0.8, cap=28_672), server=1,
          rows=(("16 : 16", 16, 17, 294.77), ("32 : 32", 32, 33, 189.26),
                ("64 : 64", 64, 65, 150.63)), source="verl fully_async docs"),
)  # fmt: skip


def steps() -> Iterator[str]:
    """Tables of steps; the first row of each is what its one factor is fitted on."""
    yield "| model | GPUs | predicted, s | published, s | error | source |"
    yield "|---|---|---|---|---|---|"
    errors, told = [], {}
    for table in STEPS:
        _, sampling, training, first = table.rows[0]
        factor = first / table.reckoned(sampling, training)
        for place, (what, sampling, training, seconds) in enumerate(table.rows):
            found = factor * table.reckoned(sampling, training)
            told[table.model, place] = found, seconds
            error = found / seconds - 1
            errors += [abs(error)] if place else []
            said = f"{error:+.0%}" if place else f"fitted, times {factor:.2f}"
            given = f"{seconds:g} | {said} | {table.source} |"
            yield f"| {table.model} | {what} | {found:.0f} | {given}"
    yield f"\nMedian error of the {len(errors)} rows not fitted on: {median(errors):.0%}.\n"
    yield "| side by side over colocated, Qwen2.5-Math-7B | predicted | published | error |"
    yield "|---|---|---|---|"
    for place, gpus in enumerate((32, 64, 128)):
        turn, side = (
            told[f"Qwen2.5-Math-7B, {how}", place] for how in ("colocated", "side by side")
        )
        found, seen = turn[0] / side[0], turn[1] / side[1]
        said = f"{found / seen - 1:+.0%}" if place else "fitted"
        yield f"| {gpus} GPUs, by steps | {found:.2f} | {seen:.2f} | {said} |"


# --- failures


FAILURES = (
    ("Llama 3, 54 days", 16_384, 54 * 24 / 419, "Llama 3 report"),
    ("Meta's research clusters", 1_024, 7.9, "Meta, reliability of research clusters"),
    ("Meta's research clusters", 16_384, 1.8, "Meta, reliability of research clusters"),
)


def failures() -> Iterator[str]:
    """The bracket, and what it makes of a pre-training whose losses were published."""
    yield "| what | GPUs | bracket, h | published, h | source |"
    yield "|---|---|---|---|---|"
    for what, gpus, hours, source in FAILURES:
        low, high = 8_100 / gpus, 50_700 / gpus
        inside = "" if 0.99 * low <= hours <= 1.01 * high else " **outside**"
        yield f"| {what} | {gpus:,} | {low:.2g} to {high:.2g} | {hours:.2g}{inside} | {source} |"
    least, most = (8_192 * 510 / hours for hours in (50_700, 8_100))
    yield (
        f"\nMAI pre-training, 8,192 GPUs, 510 h: the bracket gives {least:.0f} to {most:.0f} "
        f"failures. Of its 51 h of overhead 6.5 h were steps taken again, "
        f"{6.5 * 3600 / most:.0f} to {6.5 * 3600 / least:.0f} s a failure, so checkpoints every "
        f"{2 * 6.5 * 60 / most:.1f} to {2 * 6.5 * 60 / least:.1f} min; 14 h stood still, "
        f"{14 * 60 / most:.1f} to {14 * 60 / least:.1f} min a failure (section 9.6 of our recipe)."
    )


def tables() -> str:
    """The whole page."""
    parts = (("Weight updates", transfers), ("Steps", steps), ("Failures", failures))
    lines = [
        "# Plans against published figures",
        "",
        "<!-- written by benchmarks/scale/published.py -->",
    ]
    for title, rows in parts:
        lines += ["", f"## {title}", "", *rows()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(tables(), encoding="utf-8")
    print(tables())
