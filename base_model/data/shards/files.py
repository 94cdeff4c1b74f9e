"""Token ids on the disk, read through memory maps: what a build writes and a mixture reads.

    FOLDER/shards.json       format, width of an id, tokenizer, size of every shard
    FOLDER/00000.tokens      ids, little-endian, document after document
    FOLDER/00000.ends        uint64: where every document ends, counted in tokens
    FOLDER/00000.learned     one byte per token, 0 where it is not to be learned; if any

Every document has at least one token. Files are written beside their place and renamed into it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.errors import DataError

MANIFEST = "shards.json"
FORMAT = 1
WIDEST_SHORT = 1 << 16
PROBE = "def f(x):\n\treturn [x1, 2023.5]  # It's naïve; 東京, ok?\n\n    END_OF  text"
"""Text that tokenizers with one vocabulary and different rules cut differently."""
PIECES = 512

TokenIds = NDArray[np.int64]
Learned = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What the manifest says of one shard."""

    name: str
    num_documents: int
    num_tokens: int
    masked: bool
    """Some of its tokens are not to be learned."""


def id_type(vocab_size: int) -> np.dtype[Any]:
    """The narrowest unsigned integers that hold every id."""
    return np.dtype("<u2" if vocab_size <= WIDEST_SHORT else "<u4")


def write_shard(
    folder: Path,
    name: str,
    documents: Iterable[tuple[Sequence[int], Sequence[bool] | None]],
    *,
    vocab_size: int,
) -> Shard:
    """Write one shard; memory holds one document at a time and 8 bytes for each.

    Args:
        folder: where; made if it is not there.
        name: of the shard, such as "00000".
        documents: token ids, and which are to be learned (None: all). Empty ones are left out.
        vocab_size: decides the width of an id on the disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = id_type(vocab_size)
    paths = {what: folder / f"{name}.{what}" for what in ("tokens", "ends", "learned")}
    drafts = {what: path.with_suffix(f".{what}.draft") for what, path in paths.items()}
    ends, num_tokens, masked = [], 0, False
    with drafts["tokens"].open("wb") as tokens, drafts["learned"].open("wb") as mask:
        for token_ids, learned in documents:
            if not len(token_ids):
                continue
            tokens.write(np.asarray(token_ids, dtype=kind).tobytes())
            kept = np.ones(len(token_ids), np.bool_) if learned is None else np.asarray(learned)
            masked = masked or not kept.all()
            mask.write(kept.astype(np.uint8).tobytes())
            num_tokens += len(token_ids)
            ends.append(num_tokens)
    drafts["ends"].write_bytes(np.asarray(ends, dtype="<u8").tobytes())
    if not masked:
        drafts["learned"].unlink()
        paths["learned"].unlink(missing_ok=True)
    for what in ("learned", "ends", "tokens") if masked else ("ends", "tokens"):
        drafts[what].replace(paths[what])
    return Shard(name=name, num_documents=len(ends), num_tokens=num_tokens, masked=masked)


def write_manifest(
    folder: Path, shards: Sequence[Shard], *, source: str, vocab_size: int, tokenizer: str
) -> None:
    """Write `shards.json`, which makes the folder complete.

    Args:
        folder: of the shards.
        shards: in order.
        source: the name of what was read.
        vocab_size: as for `write_shard`.
        tokenizer: its `fingerprint`.
    """
    manifest = {
        "format": FORMAT,
        "source": source,
        "vocab_size": vocab_size,
        "tokenizer": tokenizer,
        "shards": [asdict(shard) for shard in shards],
    }
    draft = folder / f"{MANIFEST}.draft"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / MANIFEST)


def fingerprint(tokenizer: Any) -> str:
    """A short name of a tokenizer: the same for the same vocabulary and rules of cutting text."""
    # a sentence, and pieces of the vocabulary itself, end to end
    pieces = tokenizer.decode(list(range(0, len(tokenizer), max(1, len(tokenizer) // PIECES))))
    probed = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (PROBE, pieces)]
    state = json.dumps([sorted(tokenizer.get_vocab().items()), probed])
    return hashlib.sha256(state.encode()).hexdigest()[:16]


class ShardFolder:
    """The documents of one source, by number; a `Source` of `munro.base_model.data.shards.mixture`.

    Example:
        token_ids, learned = ShardFolder("data/small/stdlib").document(0)

    Raises (when made):
        DataError: there are no shards, or one was cut short; says which, and how to mend it.
    """

    def __init__(self, folder: Path | str, *, name: str = "") -> None:
        self.folder = Path(folder)
        manifest = _manifest(self.folder)
        self.name: str = name or manifest["source"]
        self.vocab_size: int = manifest["vocab_size"]
        self.tokenizer: str = manifest["tokenizer"]
        self._kind = id_type(self.vocab_size)
        self._shards = [Shard(**shard) for shard in manifest["shards"] if shard["num_documents"]]
        for shard in self._shards:
            self._check(shard)
        self._ends = np.cumsum([shard.num_documents for shard in self._shards], dtype=np.int64)
        self.num_documents = int(self._ends[-1]) if self._shards else 0
        self.num_tokens = sum(shard.num_tokens for shard in self._shards)
        self._open: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]] = {}

    def document(self, number: int) -> tuple[TokenIds, Learned | None]:
        """Token ids of a document, and which are to be learned (None: all of them).

        Raises:
            IndexError: there is no such document.
        """
        if not 0 <= number < self.num_documents:
            raise IndexError(f"document {number} of {self.num_documents} in {self.folder}")
        place = int(np.searchsorted(self._ends, number, side="right"))
        within = number - (int(self._ends[place - 1]) if place else 0)
        tokens, ends, learned = self._maps(place)
        span = slice(int(ends[within - 1]) if within else 0, int(ends[within]))
        kept = None if learned is None else np.array(learned[span], np.bool_)
        return np.array(tokens[span], np.int64), None if kept is None or kept.all() else kept

    def _maps(self, place: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        if place not in self._open:
            shard = self._shards[place]
            path = self.folder / shard.name
            self._open[place] = (
                np.memmap(path.with_suffix(".tokens"), self._kind, "r"),
                np.memmap(path.with_suffix(".ends"), "<u8", "r"),
                np.memmap(path.with_suffix(".learned"), np.uint8, "r") if shard.masked else None,
            )
        return self._open[place]

    def _check(self, shard: Shard) -> None:
        sizes = {
            ".tokens": shard.num_tokens * self._kind.itemsize,
            ".ends": 8 * shard.num_documents,
        }
        if shard.masked:
            sizes[".learned"] = shard.num_tokens
        for suffix, expected in sizes.items():
            path = self.folder / f"{shard.name}{suffix}"
            found = path.stat().st_size if path.is_file() else 0
            if found != expected:
                raise DataError(
                    f"shard {path} is cut short: it has {found:,} bytes of {expected:,}. Delete "
                    f"{self.folder} and run `munro data build` again, or copy the shard again."
                )


def _manifest(folder: Path) -> Any:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = (
            "build them with `munro data build`" if folder.is_dir() else "there is no such folder"
        )
        raise DataError(f"{folder} holds no shards ({MANIFEST} is missing): {hint}.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}. Build the shards again.") from error
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {manifest.get('format')!r}, this version reads {FORMAT}: build the "
            "shards again."
        )
    return manifest
