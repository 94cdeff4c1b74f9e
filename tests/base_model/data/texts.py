"""Texts that look like prose to a filter, and small builds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from munro.base_model.data.config import DataConfig
from munro.base_model.data.pipeline.funnel import SourceFunnel
from munro.base_model.data.shards.files import ShardFolder

COMMON = "the be to of and that have with in is it for as on was by this are from or".split()  # noqa: SIM905
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


def prose(seed: int, num_words: int = 200) -> str:
    """Words of a made-up language among common English ones, in sentences, the same for a seed."""
    rng = random.Random(seed)
    words = [
        rng.choice(COMMON) if rng.random() < 0.4 else "".join(rng.choices(SYLLABLES, k=3))
        for _ in range(num_words)
    ]
    lines = [" ".join(words[start : start + 12]) + "." for start in range(0, num_words, 12)]
    return "\n".join(lines)


def edited(text: str, seed: int, share: float) -> str:
    """The text with this share of its words replaced."""
    rng = random.Random(seed)
    words = text.split(" ")
    for place in rng.sample(range(len(words)), round(share * len(words))):
        words[place] = "".join(rng.choices(SYLLABLES, k=4))
    return " ".join(words)


def write_jsonl(file: Path, records: Iterable[Mapping[str, Any] | str]) -> Path:
    """Records, or texts, one a line."""
    lines = (
        json.dumps({"text": record} if isinstance(record, str) else record) for record in records
    )
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return file


def recipe(out: Path, sources: Sequence[Mapping[str, Any]], **more: Any) -> DataConfig:
    """A build with a tokenizer of bytes, in this process."""
    return DataConfig.model_validate(
        {
            "out": str(out),
            "sources": sources,
            "tokenizer": {"vocab_size": 300, "training_mb": 0.01},
            "workers": 1,
            **more,
        }
    )


def texts_of(out: Path, source: str) -> list[str]:
    """What is in the shards of a source, without the end of every document."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out / "tokenizer")
    shards = ShardFolder(out / source)
    return [
        tokenizer.decode(shards.document(number)[0][:-1]) for number in range(shards.num_documents)
    ]


def dropped(funnel: SourceFunnel) -> dict[str, int]:
    return {
        f"{level.stage}/{reason}": number
        for level in funnel.levels
        for reason, number in level.dropped.items()
    }
