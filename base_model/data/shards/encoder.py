"""Tokenizers: transformers' own, a `tokenizer.json`, o200k_base from its file, or trained here."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from munro.base_model.data.errors import DataError
from munro.base_model.data.shards.files import PROBE

O200K = "o200k_base"
O200K_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""Of the uncompressed file, as OpenAI publishes it."""
O200K_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 199_999
"""Its published id; between it and the last ordinary token one id is unused."""


def load_tokenizer(path: str) -> Any:
    """A fast tokenizer of transformers.

    Args:
        path: a folder or name of transformers', a `tokenizer.json`, an `o200k_base.tiktoken` file
            (also packed), or "o200k_base" for the one in the package bpe-openai.

    Raises:
        DataError: nothing is there, or it is no tokenizer that runs in Rust.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if path == O200K or path.endswith((".tiktoken", ".tiktoken.gz")):
        return _o200k(_o200k_file() if path == O200K else Path(path).expanduser())
    file = Path(path).expanduser()
    if path.startswith((".", "/", "~")) and not file.exists():
        raise DataError(f"there is no tokenizer at {path}: mend the path.")
    try:
        if file.is_file():
            return PreTrainedTokenizerFast(tokenizer_file=str(file))
        tokenizer = AutoTokenizer.from_pretrained(str(file) if file.is_dir() else path)
    except Exception as error:
        # a broken tokenizer file comes out of Rust as a bare Exception
        if not isinstance(error, OSError | ValueError | KeyError) and type(error) is not Exception:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"cannot load a tokenizer from {path} ({reason}): give a folder with tokenizer.json, "
            "such as `munro tokenizer train` writes."
        ) from error
    if not tokenizer.is_fast:
        raise DataError(f"the tokenizer of {path} is not a fast one: give one with tokenizer.json.")
    return tokenizer


def check_file(tokenizer: Any, file: Path) -> None:
    """Make sure that the file alone, which workers read, tokenises as transformers does.

    Raises:
        DataError: it does not.
    """
    expected = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if Tokenizer.from_file(str(file)).encode(PROBE, add_special_tokens=False).ids != expected:
        raise DataError(
            f"{file} tokenises otherwise than the tokenizer that transformers loads from its "
            "folder: save that tokenizer again with this version of transformers."
        )


def train(texts: Iterable[str], *, vocab_size: int, max_context: int = 1 << 20) -> Any:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, as the bundled models use.

    Raises:
        DataError: there is no text.
    """
    from munro.base_model.model.tokenizer import train_tokenizer

    seen = _Counted(texts)
    tokenizer = train_tokenizer(seen, vocab_size=vocab_size, max_context=max_context)
    if not seen.characters:
        raise DataError("there is no text to train a tokenizer on.")
    return tokenizer


class _Counted:
    """Texts, and how many characters went through."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts, self.characters = texts, 0

    def __iter__(self) -> Any:
        for text in self._texts:
            self.characters += len(text)
            yield text


def _o200k_file() -> Path:
    found = importlib.util.find_spec("bpe_openai")
    if found is None or found.origin is None:
        raise DataError(
            "o200k_base is not at hand: pip install 'munro[o200k]', or give the path of an "
            "o200k_base.tiktoken file."
        )
    return Path(found.origin).parent / "data" / "o200k_base.tiktoken.gz"


def _o200k(file: Path) -> Any:
    """o200k_base, which is checked to be the published one before it is used."""
    from transformers import PreTrainedTokenizerFast

    if not file.is_file():
        raise DataError(f"there is no tokenizer file {file}.")
    content = file.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if hashlib.sha256(content).hexdigest() != O200K_SHA256:
        raise DataError(f"{file} is not the published o200k_base file: download it again.")
    return PreTrainedTokenizerFast(
        tokenizer_object=_converted(content),
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def _converted(content: bytes) -> Tokenizer:
    """Lines of "base64 rank" as a tokenizer that merges whatever pair has the lowest rank."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    lines = (line.split() for line in content.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    letter = bytes_to_unicode()
    name = {token: "".join(letter[byte] for byte in token) for token in ranks}
    splits = (
        (rank, ranks[token[:at]], ranks[token[at:]], token, at)
        for token, rank in ranks.items()
        for at in range(1, len(token))
        if token[:at] in ranks and token[at:] in ranks
    )
    merges = [(name[token[:at]], name[token[at:]]) for *_, token, at in sorted(splits)]
    vocab = {name[token]: rank for token, rank in ranks.items()}
    vocab |= {f"<|unused_{free}|>": free for free in range(len(vocab), END_OF_TEXT_ID)}
    vocab[END_OF_TEXT] = END_OF_TEXT_ID
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(O200K_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer
