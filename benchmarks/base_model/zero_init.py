"""Does silent attention at the start keep the experts balanced?

Two models of depth 24 differ in one thing: whether the gain of attention's output norm starts at 0.
Both read the same text with the same balancing loss. For every optimizer step the violation rate
(load - mean load) / mean load of the busiest and of the idlest expert is noted, over all mixture
layers (MAI-Thinking-1 report, section 2.6.2, Fig. 8: peaks of 2.98 with random and 0.59 with zero
initialisation).

    python benchmarks/base_model/zero_init.py --out docs/zero_init.png
    python benchmarks/base_model/zero_init.py --steps 10

Ends with one line of JSON; exit status 1 if the direction is not the report's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from pydoc_data.topics import topics

import torch

from munro.base_model.config import OptimizerConfig
from munro.base_model.ladder import ModelShape
from munro.base_model.model.balance import balance_loss, violation_rate
from munro.base_model.model.model import MunroConfig, MunroForCausalLM
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.training.optim import adamw, set_learning_rate

SHAPE = ModelShape.rung(
    24,
    hidden_size=64,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    window=32,
    num_experts=16,
    top_k=4,
    vocab_size=2048,
)
ROWS, COLUMNS = 8, 128
LEARNING_RATE, WARMUP = 1e-3, 20
BALANCE = 1e-2
COLOURS = {"random": "#c8590d", "zero": "#1f5fbf"}


def documentation() -> torch.Tensor:
    """Python's own, as tokens of a vocabulary learned from it.

    Bytes would do the models no justice: the commonest byte alone keeps some experts busy.
    """
    pages = list(topics.values())
    tokenizer = train_tokenizer(pages, vocab_size=SHAPE.vocab_size, max_context=COLUMNS)
    return torch.tensor(tokenizer.backend_tokenizer.encode("\n".join(pages)).ids)


def batches(text: torch.Tensor, steps: int, seed: int) -> torch.Tensor:
    """[steps, ROWS, COLUMNS] from places drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, len(text) - COLUMNS, (steps, ROWS, 1), generator=generator)
    return text[starts + torch.arange(COLUMNS)]


def violations(name: str, text: torch.Tensor, steps: int, seed: int) -> list[dict[str, float]]:
    """Train and note, step by step, the loss and the extreme violation rates."""
    torch.manual_seed(seed)
    config = MunroConfig.from_shape(SHAPE, zero_init_attention=name == "zero", dropout=0.0)
    model = MunroForCausalLM(config).train()
    optimizer = adamw(model, OptimizerConfig(learning_rate=LEARNING_RATE))
    noted = []
    for step, ids in enumerate(batches(text, steps, seed)):
        told = model(ids, labels=ids)
        rate = violation_rate(told.routing.counts)
        loss = told.loss + BALANCE * balance_loss(told.routing.counts, told.routing.probability)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        set_learning_rate(optimizer, LEARNING_RATE * min(1, (step + 1) / WARMUP))
        optimizer.step()
        noted.append(
            {"loss": told.loss.item(), "most": rate.max().item(), "least": rate.min().item()}
        )
        print(
            f"{name:>6} {step:3d} " + "  ".join(f"{k} {v:6.3f}" for k, v in noted[-1].items()),
            flush=True,
        )
    return noted


def draw(noted: dict[str, list[dict[str, float]]], path: Path) -> None:
    """The busiest and the idlest expert of both, step by step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, steps in noted.items():
        for which, style in (("most", "-"), ("least", ":")):
            values = [step[which] for step in steps]
            axes.plot(values, style, color=COLOURS[name], label=f"{name} start, {which} used")
    axes.axhline(0, color="#9aa1a9", linewidth=0.8)
    axes.set(
        title="Load of single experts at the start of training, depth 24",
        xlabel="optimizer step",
        ylabel="(load - mean) / mean",
    )
    figure.legend(frameon=False, loc="outside right upper")
    figure.savefig(path, dpi=160)


def main() -> None:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="picture to draw (PNG or SVG)")
    asked = parser.parse_args()
    text = documentation()
    noted = {name: violations(name, text, asked.steps, asked.seed) for name in COLOURS}
    if asked.out:
        draw(noted, asked.out)
    peak = {name: max(step["most"] for step in steps) for name, steps in noted.items()}
    least = {name: min(step["least"] for step in steps) for name, steps in noted.items()}
    print(json.dumps({"peak": peak, "least": least, "report": {"random": 2.98, "zero": 0.59}}))
    sys.exit(0 if peak["zero"] < peak["random"] else 1)


if __name__ == "__main__":
    main()
