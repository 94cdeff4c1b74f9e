"""A model's files, looked at before they are trusted.

What transformers and vLLM do in silence with a file that is not whole (a weight that it lacks is
drawn at random, and trained) is one sentence here that names the weight or the file.

    look      what can be seen without torch: configs, headers, sizes
    prove     that, and every weight of the architecture is there, of its shape, and finite
    load      the model, with the same refusals
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:  # who only looks does not wait for torch
    from torch import Tensor

POINTER = b"version https://git-lfs.github.com/spec/"
INDEX = "model.safetensors.index.json"
AT_ONCE = 64 << 20
"""Bytes of weights that are read before their file is opened anew."""
NAMED = 3
"""Weights that a sentence names at most."""


class BadWeights(ValueError):
    """The files do not hold the whole model; the message is one sentence."""

    is_sentence = True


def look(folder: Path) -> None:
    """Open every config and every header of a checkpoint's folder.

    Raises:
        BadWeights: a file is broken, cut short, a Git LFS pointer, or holds quantised weights.
    """
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
    ):
        if (folder / name).is_file():
            _read_json(folder / name)
    config = _read_json(folder / "config.json")
    text = config.get("text_config")
    if how := config.get("quantization_config") or (text or {}).get("quantization_config"):
        kind = how.get("quant_method", "some way") if isinstance(how, dict) else how
        raise BadWeights(
            f"its weights are quantised ({kind}), which cannot be trained or updated; save them "
            "in bfloat16 or float32 first"
        )
    held = {file.name: _names_in(file) for file in sorted(folder.glob("*.safetensors"))}
    if not (folder / INDEX).is_file():
        return
    listed = _read_json(folder / INDEX).get("weight_map")
    if not isinstance(listed, dict):
        raise BadWeights(f"{INDEX} has no weight_map")
    lost = sorted(name for name, file in listed.items() if name not in held.get(file, ()))
    if lost:
        raise BadWeights(f"{_some(lost)} missing: {INDEX} lists what its files do not hold")


def prove(folder: Path) -> None:
    """Look, then read every weight; takes as long as reading the files does, and little memory.

    Raises:
        BadWeights: as `look`; or a weight is missing, of another shape than the architecture's, or
            not finite: names it.
    """
    look(folder)
    if _kind_of(str(folder)) is not None:
        load(str(folder), device_map="meta")
    for file in sorted(folder.glob("*.safetensors")):
        _require_finite(_weights_in(file))


def load(path: str, *, attention: Callable[[type], str] | None = None, **kwargs: Any) -> Any:
    """The causal language model of a folder, or of a name that transformers knows.

    Args:
        path: the folder.
        attention: from the model's class to transformers' name of an attention.
        kwargs: of `AutoModelForCausalLM.from_pretrained`.

    Raises:
        BadWeights: as `prove`, or transformers does not know the model.
    """
    from transformers import AutoModelForCausalLM

    import munro.base_model.model.model  # noqa: F401 - makes our own architecture known

    if Path(path).is_dir():
        look(Path(path))
    with _in_a_sentence():
        if attention is not None:
            kwargs["attn_implementation"] = attention(_kind_of(path) or object)
        with no_progress_bars(), _no_warnings():
            model, found = AutoModelForCausalLM.from_pretrained(
                path, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
            )
    if missing := sorted(found["missing_keys"]):
        raise BadWeights(
            f"{_some(missing)} missing: transformers would draw such a weight at random"
        )
    for name, there, wanted in sorted(found["mismatched_keys"]):
        raise BadWeights(
            f"{name} is {tuple(there)} in the file, and its config makes it {tuple(wanted)}"
        )
    if str(kwargs.get("device_map")) != "meta":
        _require_finite((name, weight.detach()) for name, weight in model.named_parameters())
    return model


def blank(folder: Path, *, attention: Callable[[type], str], dtype: Any) -> Any:
    """The model of a folder as `load` gives it, but for its weights, which take no memory.

    Raises:
        BadWeights: as `look`, or transformers does not know the model.
    """
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.initialization import no_init_weights

    look(folder)
    with _in_a_sentence():
        how = attention(_kind_of(str(folder)) or object)
        config = AutoConfig.from_pretrained(folder)
        with init_empty_weights(include_buffers=False), no_init_weights():
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=how)
        model.tie_weights()
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


def _kind_of(path: str) -> Any:
    """The model's class; None where transformers has none for its config."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    import munro.base_model.model.model  # noqa: F401 - makes our own architecture known

    with _in_a_sentence():
        config = AutoConfig.from_pretrained(path)
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return kind[0] if isinstance(kind, tuple | list) else kind


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """What transformers says in many lines, by its first."""
    try:
        yield
    except BadWeights:
        raise
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadWeights(f"transformers cannot load it: {first}") from error


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Without transformers' table of what is missing: it is refused here, in one line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _require_finite(weights: Iterable[tuple[str, Tensor]]) -> None:
    for name, weight in weights:
        # a sum over all of it is finite only where everything is, and makes no second tensor
        if not (weight.is_floating_point() and weight.numel()) or weight.float().sum().isfinite():
            continue
        bad = int((~weight.isfinite()).sum())
        if bad:
            raise BadWeights(f"{name} holds {bad} numbers that are not finite (NaN or infinite)")


def _weights_in(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Every weight of a safetensors file, of which little is in memory at a time.

    What has been read of a file that is open stays in memory, so it is opened again and again.
    """
    left: list[str] | None = None
    while left is None or left:
        with safe_open(file, framework="pt") as opened:
            left = list(opened.keys()) if left is None else left
            read = 0
            while left and read < AT_ONCE:
                name = left.pop(0)
                weight = opened.get_tensor(name)
                read += weight.nbytes
                yield name, weight
                del weight


def _names_in(file: Path) -> set[str]:
    """Names of a safetensors file's tensors, all of which its size has room for."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        if POINTER.startswith(start) and start:
            raise BadWeights(_pointer(file))
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise BadWeights(f"{file.name} is cut short or no safetensors file ({size:,} bytes)")
        header = opened.read(length)
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        ends = {name: int(tensor["data_offsets"][1]) for name, tensor in tensors.items()}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise BadWeights(
            f"{file.name} is no safetensors file: its header cannot be read"
        ) from error
    whole = 8 + length + max(ends.values(), default=0)
    if whole > size:
        cut = sorted(name for name, end in ends.items() if 8 + length + end > size)
        raise BadWeights(
            f"{file.name} is cut short: it has {size:,} of {whole:,} bytes, without {_some(cut)}"
        )
    return set(ends)


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise BadWeights(f"{file.name} missing")
    text = file.read_bytes()
    if text.startswith(POINTER):
        raise BadWeights(_pointer(file))
    try:
        read = json.loads(text)
    except ValueError as error:
        raise BadWeights(f"{file.name} is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise BadWeights(f"{file.name} is no JSON object")
    return read


def _pointer(file: Path) -> str:
    return f"{file.name} is a Git LFS pointer, not the file itself: fetch it with git lfs pull"


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers' own bars off the console, which shows one of ours."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
