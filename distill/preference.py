"""A preference model, fine-tuned from comparisons and measured on contexts it has not seen.

    comparisons ──► split by context ──► lessons ──► trainer core ──► checkpoint
                           └── held out ──► accuracy, position bias ──► preference.json in it

Training happens in `OUT.training-KEY` beside the result, where KEY stands for the data, the base
and the settings: the same call resumes there after a kill, and another one does not. The result
is renamed into place when it is whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.config import PretrainConfig
from munro.base_model.hub import identity
from munro.base_model.training.pretrain import METRICS, OnMetrics, pretrain
from munro.distill.comparison_lessons import ComparisonLessons, split_by_context
from munro.distill.config import PreferenceConfig
from munro.distill.preference_figures import Figures, measure
from munro.rewards.preference import PreferenceModel
from munro.rewards.preference.comparisons import Comparison
from munro.rewards.preference.format import Limits, PreferenceFormat, max_length, write_preference
from munro.rewards.preference.scorers import LocalScorer, load_config

SHORTEST_TEXT = 8


class CannotTrain(ValueError):
    """These comparisons, this base or this place will not do; says why, in one sentence."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A preference model and what is known of it."""

    checkpoint: Checkpoint
    figures: Figures
    num_cut: int
    """Texts of the training comparisons that are longer than the limits."""


def train_preference(
    comparisons: Sequence[Comparison],
    *,
    onto: Path,
    out: Path,
    config: PreferenceConfig,
    source: str = "",
    on_metrics: OnMetrics | None = None,
) -> Trained:
    """Fine-tune the checkpoint `onto` and write the result to `out`.

    Called again with the same arguments it resumes an interrupted training. On the CPU the same
    arguments and number of threads give the same weights bit for bit.

    Args:
        comparisons: judged ones.
        onto: folder of the checkpoint to start from.
        out: folder of the result; must not exist.
        config: how.
        source: where the comparisons come from, for the record.
        on_metrics: told how training goes.

    Raises:
        CannotTrain: see there.
        NotAPreferenceModel: the base's tokenizer cannot write scores.
        CheckpointError: the base is missing or incomplete, or the disk refused.
    """
    if out.exists():
        raise CannotTrain(f"{out} exists already: name another --out, or remove it")
    base = Checkpoint(onto).require()
    form = PreferenceFormat(base.tokenizer(), _limits(base, comparisons, config))
    training, held_out = _split(comparisons, config)
    lessons = ComparisonLessons(training, form, config)
    key = _key(comparisons, base, config)
    work = out.with_name(f"{out.name}.training-{key}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    done = pretrain(
        lambda: base.model(dtype=torch.float32),
        base.tokenizer(),
        lessons,
        _training(config, lessons.longest),
        folder=work,
        provenance={
            "preference": config.model_dump(mode="json"),
            "onto": str(onto),
            "hub": identity(base.path),
            "base": base.provenance(),
            "comparisons": {"source": source, "number": len(comparisons), "key": key},
        },
        on_metrics=on_metrics,
        device=device,
    )
    model = done.model(dtype=torch.float32).to(device).eval()
    figures = measure(
        PreferenceModel(form, LocalScorer(model, form.score_ids)),
        held_out,
        most_for_bias=config.bias_comparisons,
        seed=config.seed,
    )
    write_preference(done.path, form.limits, {"held_out": asdict(figures)})
    if (work / METRICS).exists():  # or a killed process has moved it already
        (work / METRICS).replace(done.path / METRICS)
    done.path.rename(out)
    shutil.rmtree(work)
    return Trained(checkpoint=Checkpoint(out), figures=figures, num_cut=lessons.num_cut)


def _limits(
    base: Checkpoint, comparisons: Sequence[Comparison], config: PreferenceConfig
) -> Limits:
    candidates = config.candidates or max(len(one.candidates) for one in comparisons)
    most = max_length(load_config(base.base()))
    limits = Limits.fitting(
        most,
        candidates,
        context_tokens=config.context_tokens,
        candidate_tokens=config.candidate_tokens,
    )
    asked = min(config.context_tokens, config.candidate_tokens, SHORTEST_TEXT)
    if min(limits.context_tokens, limits.candidate_tokens) < asked:
        raise CannotTrain(
            f"{base.path} is made for {most} tokens, which leaves no room for {candidates} "
            "candidates: set --candidates lower, or take another base"
        )
    return limits


def _split(
    comparisons: Sequence[Comparison], config: PreferenceConfig
) -> tuple[list[Comparison], list[Comparison]]:
    training, held_out = split_by_context(comparisons, config.held_out, config.seed)
    if not held_out:
        raise CannotTrain("all comparisons have the same context: none can be held out")
    if not any(one.pairs for one in held_out):
        raise CannotTrain(
            f"in none of the {len(held_out)} comparisons held out do two candidates differ in "
            "score, so accuracy cannot be measured: give more comparisons, or set --held_out higher"
        )
    mixes = config.foreign_share + config.neutral_share > 0
    if mixes and len({one.context for one in training}) < 2:
        raise CannotTrain(
            "candidates from other contexts need at least 2 contexts besides those held out: give "
            "more comparisons, or set --foreign_share 0 --neutral_share 0"
        )
    return training, held_out


def _training(config: PreferenceConfig, longest: int) -> PretrainConfig:
    return PretrainConfig(
        num_steps=config.num_steps,
        batch_rows=config.batch_rows,
        row_tokens=longest,
        optimizer=config.optimizer,
        schedule=config.schedule,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
        threads=config.threads,
        seed=config.seed,
    )


def _key(comparisons: Sequence[Comparison], base: Checkpoint, config: PreferenceConfig) -> str:
    """Short name of everything that decides the weights."""
    files = sorted(file for file in base.path.iterdir() if file.is_file())
    decisive: list[Any] = [
        [asdict(comparison) for comparison in comparisons],
        [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files],
        config.model_dump(mode="json"),
    ]
    return sha256(json.dumps(decisive).encode()).hexdigest()[:10]
