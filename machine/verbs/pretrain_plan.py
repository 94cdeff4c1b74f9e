"""What `munro pretrain` would do: sizes, steps, operations, how often each source is read."""

from __future__ import annotations

from pathlib import Path

from munro.base_model.scaling.plan import short
from munro.base_model.training.recipe import PhaseConfig, PretrainRecipe


def plan(recipe: PretrainRecipe, folder: Path) -> str:
    """The whole training on a page, as the recipe has it."""
    shape = recipe.model.sized(vocab_size=recipe.data.vocab_size)
    lines = [
        f"{recipe.name} into {folder}",
        f"model: {shape.num_layers} layers, width {shape.hidden_size}, "
        f"{short(shape.num_params(active=True))} active of {short(shape.num_params())} parameters",
        f"{'phase':<12}{'tokens':>9}{'context':>9}{'batch':>9}{'steps':>10}{'peak rate':>11}"
        f"{'last rate':>11}{'ranks':>7}{'FLOPs':>10}",
    ]
    total = 0.0
    for name, phase in recipe.phase.items():
        tokens = phase.num_steps * phase.batch_tokens
        flops = shape.flops_per_token(phase.context) * tokens
        total += flops
        lines.append(
            f"{name:<12}{short(tokens):>9}{short(phase.context):>9}{short(phase.batch_tokens):>9}"
            f"{phase.num_steps:>10,}{phase.optimizer.learning_rate:>11.2e}{_last(phase):>11.2e}"
            f"{phase.parallelism.ranks:>7,}{flops:>10.2e}"
        )
    lines.append(f"{total:.2e} FLOPs in all")
    for name in recipe.phase:
        weights = recipe.weights_of(name)
        whole = sum(weights.values())
        shares = (f"{source} {weight / whole:.1%}" for source, weight in weights.items())
        lines.append(f"{name} reads {', '.join(shares)}")
    return "\n".join(lines)


def _last(phase: PhaseConfig) -> float:
    """The rate that the phase ends with."""
    peak = phase.optimizer.learning_rate
    return peak if phase.schedule.shape == "constant" else peak * phase.schedule.final
