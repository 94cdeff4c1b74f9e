"""A checkpoint is a folder that transformers loads as it is, and that is whole or not there at all.

    model*.safetensors, config.json     the weights and the architecture
    tokenizer.json, ...                 the tokenizer
    trainer_state.pt                    optimizer, progress, random states (optional)
    provenance.json                     where the weights come from (optional)

That of an adapter holds, in the place of the first line, what `munro.base_model.adapters.files`
says, and asks for its base: `model` gives the two as one. That of several ranks holds, in the place
of trainer_state.pt, what `munro.base_model.sharded` says, and its weights may be made later:

    state/                              weights and moments, every rank its pieces of them
    commit.json                         written last: without it the checkpoint does not exist

How it is written so that it is never there in part, `munro.base_model.whole` says.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safetensors import SafetensorError

from munro.base_model.adapters import files as adapter
from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.digests import digest_of
from munro.base_model.weights import BadWeights, load, look, no_progress_bars, prove
from munro.base_model.whole import draft_of, flush, put_back, swap

if TYPE_CHECKING:  # who only asks whether a checkpoint is there does not wait for torch
    from torch import Tensor

__all__ = ["Checkpoint", "CheckpointError", "digest_of", "newest_inside"]

TRAINER_STATE = "trainer_state.pt"
PROVENANCE = "provenance.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
STATE = "state"
COMMIT = "commit.json"


class CheckpointError(Exception):
    """A checkpoint could not be written or read; says which, and why, in one sentence."""

    is_sentence = True

    def __init__(self, path: Path | str, cause: object) -> None:
        super().__init__(str(path), str(cause))
        self.path = Path(path)
        self.cause = cause

    def __str__(self) -> str:
        return f"checkpoint {self.path}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint folder, complete or not yet there.

    Example:
        Checkpoint.write(folder, model=model, tokenizer=tokenizer, provenance={"step": 500})
        model = Checkpoint(folder).model(dtype=torch.float32)
    """

    path: Path

    def __init__(self, path: Path | str) -> None:
        object.__setattr__(self, "path", Path(path))

    @classmethod
    def write(
        cls,
        path: Path | str,
        *,
        model: Any,
        tokenizer: Any,
        trainer_state: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
    ) -> Self:
        """Write a whole checkpoint at `path`, or leave what is there untouched.

        Args:
            path: the folder; one that exists is replaced.
            model: a `PreTrainedModel`: its config, and its weights unless `state_dict` is given; of
                one with an adapter the adapter alone, whose gathered weights must be given.
            tokenizer: a `PreTrainedTokenizerBase`.
            trainer_state: tensors and plain containers, which load with `weights_only=True`.
            provenance: anything JSON holds.
            state_dict: gathered weights, when the model's own are sharded.

        Raises:
            CheckpointError: the disk refused (full, read-only, no permission).
        """
        import torch

        from munro.base_model.adapters.attach import is_adapted

        path = Path(os.path.abspath(path))
        draft = draft_of(path)
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            if is_adapted(model):
                adapter.write(draft, model, state_dict or {})
            else:
                with no_progress_bars():
                    model.save_pretrained(draft, state_dict=state_dict)
            tokenizer.save_pretrained(draft)
            if trainer_state is not None:
                with (draft / TRAINER_STATE).open("wb") as file:
                    torch.save(dict(trainer_state), file)
            if provenance is not None:
                text = json.dumps(provenance, indent=2, sort_keys=True)
                (draft / PROVENANCE).write_text(text + "\n", encoding="utf-8")
            flush(draft)
            swap(draft, path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(path, f"could not be written ({error})") from error
        except RuntimeError as error:
            # torch's archive writer hides the disk's OSError in a RuntimeError of its own
            if not isinstance(error.__context__, OSError) and "Writer" not in str(error):
                raise
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            raise CheckpointError(path, f"could not be written ({cause})") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls(path)

    @property
    def exists(self) -> bool:
        """Whether a complete checkpoint stands there."""
        return not self.missing()

    @property
    def has_trainer_state(self) -> bool:
        """Whether training can go on from it with its optimizer's moments."""
        return self.is_sharded or (self.path / TRAINER_STATE).is_file()

    @property
    def can_resume(self) -> bool:
        """Whether a complete one stands there that training can go on from."""
        return self.has_trainer_state and not self.missing(weights=False)

    @property
    def is_sharded(self) -> bool:
        """Whether it holds what several ranks wrote, every one its pieces."""
        return (self.path / STATE).is_dir()

    @property
    def is_unfinished(self) -> bool:
        """Whether those ranks never came to say that it is whole: then it does not exist."""
        return self.is_sharded and not (self.path / COMMIT).is_file()

    @property
    def is_adapter(self) -> bool:
        """Whether it holds an adapter, and no whole model."""
        return adapter.is_adapter(self.path)

    def base(self) -> Path:
        """The folder of the whole model that an adapter belongs to; its own of a whole model.

        Raises:
            CheckpointError: the base is gone, or is another than the adapter was trained on.
        """
        try:
            return adapter.base_of(self.path) if self.is_adapter else self.path
        except BadAdapter as error:
            raise CheckpointError(self.path, error) from error

    def missing(self, *, weights: bool = True) -> tuple[str, ...]:
        """Names of what a complete checkpoint has and this folder lacks; empty when complete.

        Args:
            weights: of one of several ranks, the model's files too, which may be made later.
        """
        put_back(self.path)
        if not self.path.is_dir():
            return ("the folder itself",)
        whole = () if self.is_adapter else ("config.json",)
        lacking = [*self._pieces_missing()]
        lacking += [name for name in whole if not (self.path / name).is_file()]
        if self.is_sharded and not weights:
            pass
        elif self.is_adapter:
            lacking += [name for name in adapter.FILES if not (self.path / name).is_file()]
        elif (self.path / SHARDS).is_file():
            shards = json.loads((self.path / SHARDS).read_text(encoding="utf-8"))["weight_map"]
            lacking += sorted({s for s in shards.values() if not (self.path / s).is_file()})
        elif not (self.path / WEIGHTS).is_file():
            lacking.append(WEIGHTS)
        if not (self.path / "tokenizer_config.json").is_file():
            lacking.append("tokenizer_config.json")
        return tuple(lacking)

    def _pieces_missing(self) -> Iterator[str]:
        """What several ranks wrote and is not there, or not of its size."""
        if not self.is_sharded:
            return
        if self.is_unfinished:
            yield COMMIT
            return
        for name, size in self.commit()["files"].items():
            file = self.path / STATE / name
            if not file.is_file() or file.stat().st_size != size:
                yield f"{STATE}/{name}"

    def commit(self) -> dict[str, Any]:
        """What the first of several ranks wrote last; see `munro.base_model.sharded.saver`."""
        commit: dict[str, Any] = json.loads((self.path / COMMIT).read_text(encoding="utf-8"))
        return commit

    def require(self, *, weights: bool = True) -> Self:
        """This checkpoint, known to be complete.

        Args:
            weights: see `missing`.

        Raises:
            CheckpointError: something is missing; names it, or the checkpoint that lies inside.
        """
        if missing := self.missing(weights=weights):
            raise CheckpointError(self.path, self._lacks(missing))
        return self

    def _lacks(self, missing: tuple[str, ...]) -> str:
        """What is missing and what to do about it, in a sentence."""
        if self.is_unfinished:
            return (
                f"its ranks never came to write all of it ({COMMIT} missing), so it does not "
                "exist: take the one before it"
            )
        if missing == (WEIGHTS,) and self.is_sharded:
            step = self.path.name.removeprefix("step-").lstrip("0") or "STEP"
            return (
                f"its weights lie in the pieces that its ranks wrote ({STATE}): make the model of "
                f"them by munro export {self.path.parent.parent} {step}"
            )
        if inside := newest_inside(self.path):
            return f"it is none itself, but holds some: give {inside}, the newest"
        return f"{', '.join(missing)} missing"

    def look(self) -> Self:
        """This checkpoint, its configs and headers opened: what can be seen in a blink.

        Raises:
            CheckpointError: a file is missing, broken, cut short, a pointer, or quantised.
        """
        try:
            look(self.require().base())
        except BadWeights as error:
            raise CheckpointError(self.path, error) from error
        return self

    def prove(self) -> Self:
        """This checkpoint, its files opened and every weight read; see `munro.base_model.weights`.

        Raises:
            CheckpointError: something is missing, broken, or not finite; names it.
        """
        try:
            prove(self.require().base())
        except BadWeights as error:
            raise CheckpointError(self.path, error) from error
        return self

    def model(self, *, attention: Callable[[type], str] | None = None, **kwargs: Any) -> Any:
        """The model, by `AutoModelForCausalLM.from_pretrained(path, **kwargs)`.

        That of an adapter is its base, loaded so, with the adapter merged into it.

        Args:
            attention: from the model's class to transformers' name of an attention.
            kwargs: transformers' own.

        Raises:
            CheckpointError: as `prove`, or transformers does not know the model.
        """
        try:
            model = load(str(self.require().base()), attention=attention, **kwargs)
            if self.is_adapter:
                from munro.base_model.adapters.attach import merge

                adapter.put_on(model, self.path)
                model = merge(model)
        except (BadWeights, BadAdapter) as error:
            raise CheckpointError(self.path, error) from error
        return model

    def tokenizer(self) -> Any:
        """The tokenizer, by `AutoTokenizer.from_pretrained(path)`."""
        from transformers import AutoTokenizer

        import munro.base_model.model.model  # noqa: F401 - as for `model`: a strange config is warned of

        return AutoTokenizer.from_pretrained(self.require().path)

    def trainer_state(self) -> dict[str, Any]:
        """What `write` was given, its tensors on the CPU.

        Raises:
            CheckpointError: the checkpoint carries none.
        """
        import torch

        file = self.require().path / TRAINER_STATE
        if not file.is_file():
            raise CheckpointError(self.path, f"{TRAINER_STATE} missing: training cannot resume")
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        return state

    def drop_trainer_state(self) -> None:
        """Leave the model alone, from which no training can go on."""
        (self.path / TRAINER_STATE).unlink(missing_ok=True)
        aside = draft_of(self.path / STATE)
        with suppress(FileNotFoundError):  # another rank was faster, or there is none
            (self.path / STATE).rename(aside)
        (self.path / COMMIT).unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)

    def provenance(self) -> dict[str, Any]:
        """Where the weights come from; empty for folders that others made."""
        file = self.require(weights=False).path / PROVENANCE
        if not file.is_file():
            return {}
        provenance: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return provenance


def newest_inside(folder: Path) -> Path | None:
    """The checkpoint written last among those of a run or of a pre-training; None without any."""
    names = ("config.json", adapter.CONFIG)
    configs = [f for deep in ("*", "*/*") for name in names for f in folder.glob(f"{deep}/{name}")]
    whole = [
        file
        for file in configs
        if not file.parent.name.startswith(".")
        and not file.parent.is_symlink()  # which points to one that has a name of its own
        and Checkpoint(file.parent).exists
    ]
    newest = max(whole, key=lambda file: file.stat().st_mtime_ns, default=None)
    return newest.parent if newest else None
