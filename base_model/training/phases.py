"""A base model's phases, one after the other, each from the weights of the one before.

    text ──► phase 1 ──► phase 2 ──► phase 3 ──► FOLDER/3-mid2/model
             weights, moments ──►

    FOLDER/recipe.json        the resolved recipe
    FOLDER/start.txt          which commit a model of the hub was that the first phase starts from
    FOLDER/data/              tokenizer and shards
    FOLDER/goodput.jsonl      where the wall-clock went, over all phases and processes
    FOLDER/1-pretrain/        metrics.jsonl, spikes.jsonl, evaluation.json, model/

A phase that is finished is not done again; the one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.data.shards.texts import LadderText, prepare
from munro.base_model.data.texts_config import name_of
from munro.base_model.hub import is_hub_name, locate
from munro.base_model.training.evaluation import read_reference
from munro.base_model.training.goodput import LEDGER, Ledger
from munro.base_model.training.launch import launch, launched
from munro.base_model.training.pretrain import FINISHED, Measuring, OnMetrics, StepMetrics, pretrain
from munro.base_model.training.recipe import ParallelismConfig, PretrainRecipe
from munro.base_model.training.records import write_whole
from munro.base_model.training.sharding import Alone, World
from munro.base_model.training.trainer import TrainingError

RECIPE = "recipe.json"
START = "start.txt"
"""Name, commit and digest of a model of the hub that the first phase starts from."""
DATA = "data"


def train(
    recipe: PretrainRecipe,
    folder: Path,
    *,
    on_metrics: Callable[[str, StepMetrics], None] | None = None,
    note: Callable[[str], None] | None = None,
    began: int | None = None,
    world: World | None = None,
) -> Checkpoint:
    """Train every phase that is not finished and return the last one's checkpoint.

    The same call after a kill goes on where the run stopped. Phases with several ranks start them
    as processes on this machine, or over a Ray cluster (`parallelism.address`), unless this process
    is itself one of a launcher's ranks.

    Args:
        recipe: model, data and phases.
        folder: of the run.
        on_metrics: told a phase's name and a line of its metrics.
        note: told what is going on, in a few words.
        began: when this process began, in nanoseconds since 1970, for the ledger.
        world: the ranks that a launcher started, of which this process is one.

    Raises:
        TrainingError: a phase cannot begin or go on; a rank died.
        DataError: the sources are not as they should be, or too small for their caps.
        CheckpointError, RecordsError: the disk refused, or a checkpoint holds another model.
        BadEvaluation: the reference cannot be read.
    """
    ranks = world or Alone("cpu")
    if ranks.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / RECIPE, recipe.model_dump_json(indent=2) + "\n")
        if not finished(recipe, folder).exists:
            Ledger(folder / LEDGER).begin(began)
            require_enough(recipe, prepare(recipe.data, folder / DATA, note=note))
            if is_hub_name(recipe.model.start):  # found before anything is launched
                _located(recipe.model.start, folder)
    ranks.largest(0)  # the others wait for the data
    for name, phase in recipe.phase.items():
        if Checkpoint(phase_folder(recipe, folder, name) / FINISHED).exists:
            _drop_moments(recipe, folder, name)
            continue
        if note is not None:
            note(f"phase {name}: {phase.num_steps:,} steps of {phase.batch_tokens:,} tokens")
        told = None if on_metrics is None else _named(on_metrics, name)
        if world is None and phase.parallelism.ranks > 1:
            command = [sys.executable, "-m", "munro.base_model.training.rank"]
            command += [str(folder.absolute()), name]
            _launch(command, phase.parallelism, folder, _reader(told))
        else:
            train_phase(recipe, folder, name, world=world, on_metrics=told)
        _drop_moments(recipe, folder, name)
    return finished(recipe, folder)


def _launch(
    command: Sequence[str],
    parallelism: ParallelismConfig,
    folder: Path,
    on_line: Callable[[dict[str, Any]], None],
) -> None:
    """The ranks here, or over the nodes of a cluster."""
    if not parallelism.address:
        launch(command, parallelism.ranks, on_line=on_line)
        return
    from munro.base_model.training.cluster import launch_over  # which imports Ray

    launch_over(
        parallelism.address, command, parallelism.ranks, seen=folder.absolute(), on_line=on_line
    )


def train_phase(
    recipe: PretrainRecipe,
    folder: Path,
    name: str,
    *,
    world: World | None = None,
    on_metrics: OnMetrics | None = None,
) -> Checkpoint:
    """Train one phase, whose predecessor is finished; see `train`."""
    phase, ranks = recipe.phase[name], world or Alone()
    if launched() and ranks.size != phase.parallelism.ranks:
        raise TrainingError(
            f"phase {name} wants parallelism.ranks = {phase.parallelism.ranks}, and the launcher "
            f"started {ranks.size}: start as many, or change the recipe."
        )
    text = prepare(recipe.data, folder / DATA)
    tokenizer = text.tokenizer()
    tokenizer.model_max_length = phase.context
    names = list(recipe.phase)
    following = names[names.index(name) + 1 :]
    shape = _shape(recipe, text)
    return pretrain(
        lambda: _new_model(recipe, text, tokenizer, phase.context),
        tokenizer,
        text.mixture(recipe.weights_of(name), kept={}, seed=recipe.seed_of(name)),
        phase.training(recipe.seed_of(name)),
        folder=phase_folder(recipe, folder, name),
        provenance={"recipe": recipe.model_dump(mode="json"), "phase": name},
        on_metrics=on_metrics,
        device=str(ranks.device),
        world=world,
        start=_start(recipe, folder, name),
        measuring=Measuring(
            held_out=text.held_out(tokenizer, phase.context),
            reference=read_reference(Path(recipe.reference)) if recipe.reference else None,
            flops_per_token=shape.flops_per_token(phase.context),
            ledger=Ledger(folder / LEDGER if ranks.rank == 0 else None),
            phase=name,
        ),
        keep_state=bool(following) and recipe.phase[following[0]].carry_moments,
    )


def phase_folder(recipe: PretrainRecipe, folder: Path, name: str) -> Path:
    """Where a phase keeps what is its own."""
    return folder / f"{list(recipe.phase).index(name) + 1}-{name}"


def finished(recipe: PretrainRecipe, folder: Path) -> Checkpoint:
    """The last phase's checkpoint, there or not."""
    return Checkpoint(phase_folder(recipe, folder, list(recipe.phase)[-1]) / FINISHED)


def epochs(recipe: PretrainRecipe, text: LadderText) -> dict[str, dict[str, float]]:
    """How often each phase reads each source, by phase and source."""
    return {
        name: text.mixture(recipe.weights_of(name), kept={}, seed=0).epochs(
            phase.num_steps * phase.batch_tokens
        )
        for name, phase in recipe.phase.items()
    }


def require_enough(recipe: PretrainRecipe, text: LadderText) -> None:
    """Make sure that no source is read more often than its cap, over all phases.

    Raises:
        TrainingError: names the source.
    """
    read: Counter[str] = Counter()
    for by_source in epochs(recipe, text).values():
        read.update(by_source)
    for source in recipe.data.sources:
        name = name_of(source)
        if read[name] > source.max_epochs:
            raise TrainingError(
                f"source {name} would be read {read[name]:.1f} times over all phases, and its cap "
                f"is {source.max_epochs:g}: lower its weight or the tokens, raise its max_epochs, "
                "or give it more text."
            )


def _shape(recipe: PretrainRecipe, text: LadderText) -> Any:
    shape = recipe.model.sized(vocab_size=text.vocab_size)
    if shape.vocab_size < text.vocab_size:
        raise TrainingError(
            f"model.shape.vocab_size = {shape.vocab_size} is smaller than the tokenizer's "
            f"{text.vocab_size} tokens: leave it out."
        )
    return shape


def _new_model(recipe: PretrainRecipe, text: LadderText, tokenizer: Any, context: int) -> Any:
    from munro.base_model.model.model import MunroConfig, MunroForCausalLM

    config = MunroConfig.from_shape(
        _shape(recipe, text),
        **{
            "max_position_embeddings": context,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **recipe.model.options,
        },
    )
    return MunroForCausalLM(config)


def _start(recipe: PretrainRecipe, folder: Path, name: str) -> Checkpoint | None:
    """What a phase begins with."""
    before = list(recipe.phase)[: list(recipe.phase).index(name)]
    if before:
        return Checkpoint(phase_folder(recipe, folder, before[-1]) / FINISHED).require()
    if recipe.model.start:
        return Checkpoint(_located(recipe.model.start, folder)).require()
    return None


def _located(name: str, folder: Path) -> Path:
    """The folder of the model to start from; of one on the hub the same commit every time."""
    file = folder / START
    found = locate(name, recorded=file.read_text(encoding="utf-8") if file.is_file() else "")
    if found.recorded and not file.is_file():
        write_whole(file, found.recorded)
    return found.folder


def _drop_moments(recipe: PretrainRecipe, folder: Path, name: str) -> None:
    """The optimizer's moments of the phase before have done their work."""
    start = _start(recipe, folder, name)
    if start is not None and start.path.is_relative_to(folder):
        start.drop_trainer_state()


def _named(on_metrics: Callable[[str, StepMetrics], None], name: str) -> OnMetrics:
    return lambda metrics: on_metrics(name, metrics)


def _reader(told: OnMetrics | None) -> Callable[[dict[str, Any]], None]:
    """Takes the lines that the first rank writes."""

    def read(line: dict[str, Any]) -> None:
        if told is not None:
            told(StepMetrics(**line))

    return read
