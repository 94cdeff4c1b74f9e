"""The text of a ladder: tokenised once, split into what is read and what is scored.

sources ──► tokenizer ──► shards ──► every n-th document held out ──► HeldOutSet
                            └──────► the rest, perhaps fewer ──────► Mixture
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.config import LimitsConfig, MixtureSource, SourceConfig
from munro.base_model.data.documents import Counts
from munro.base_model.data.errors import DataError
from munro.base_model.data.read.listing import pieces
from munro.base_model.data.read.pieces import expanded
from munro.base_model.data.read.plain_texts import TEXTS
from munro.base_model.data.read.reading import read
from munro.base_model.data.shards.files import (
    MANIFEST,
    ShardFolder,
    fingerprint,
    write_manifest,
    write_shard,
)
from munro.base_model.data.shards.held_out import HeldOutSet
from munro.base_model.data.shards.mixture import Mixture, Share, Source
from munro.base_model.data.shards.opening import open_source
from munro.base_model.data.shards.shuffle import mixed, shuffled
from munro.base_model.data.texts_config import LadderData, name_of
from munro.base_model.model.tokenizer import train_tokenizer
from munro.base_model.results import Category

TEXT_VERSION = 1
"""Raised whenever the same configuration would give other text."""
READY = "data.json"
OF_SCORING = ("held_out_every", "held_out_tokens")
OF_MIXTURE = {"weight", "max_epochs", "category"}
COUNTED_EXACTLY = 100_000
PIECES_OF_A_DOCUMENT = 8
"""Rows' worth of a document that are scored, so that a few long ones do not make up a set."""
MOST_CONTEXT = 1 << 20
AT_ONCE = 64
"""Texts tokenised side by side."""


class Part:
    """The documents of a source that are held out, or those that are not; itself a `Source`.

    Args:
        source: the whole.
        every: every so many-th document is held out.
        held_out: which of the two this is.
        kept: share of its tokens that is there at all; the first ones of a fixed order.
    """

    def __init__(self, source: Source, *, every: int, held_out: bool, kept: float = 1.0) -> None:
        self.name = source.name
        self._source, self._every, self._held_out = source, every, held_out
        held = -(-source.num_documents // every)
        self._all = held if held_out else source.num_documents - held
        if self._all <= COUNTED_EXACTLY:
            lengths = [len(self.document(number)[0]) for number in range(self._all)]
            total = np.cumsum(lengths, dtype=np.int64)
            least = kept * float(total[-1]) if lengths else 0.0
            # at least so many tokens, or the last documents would be read beyond their cap
            self.num_documents = min(int(np.searchsorted(total, least)) + 1, self._all)
            self.num_tokens = int(total[self.num_documents - 1]) if lengths else 0
        else:
            self.num_documents = math.ceil(self._all * kept)
            share = self.num_documents / source.num_documents
            self.num_tokens = round(source.num_tokens * share)

    def document(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Token ids, and which are to be learned (None: all)."""
        place = shuffled(number, self._all, mixed(self._every)) if self._all > 1 else number
        if self._held_out:
            return self._source.document(place * self._every)
        return self._source.document(place + place // (self._every - 1) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderText:
    """Everything that a training needs of the text; small enough to hand to another process.

    Example:
        text = prepare(config.data, Path("runs/ladder/data"))
        text.mixture({"code": 0.5, "math": 0.5}, kept={}, seed=0)
    """

    config: LadderData
    folder: Path
    key: str
    """Changes with the text, the tokenizer and what is held out, not with the mixture."""
    vocab_size: int

    def tokenizer(self) -> Any:
        """The one that all models share."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(_tokenizer_folder(self.config, self.folder))

    def part(self, name: str, *, held_out: bool, kept: float = 1.0) -> Part:
        """A source's documents of one kind."""
        config = next(one for one in self.config.sources if name_of(one) == name)
        source = ShardFolder(_shards(config, self.folder), name=name)
        return Part(source, every=self.config.held_out_every, held_out=held_out, kept=kept)

    def mixture(
        self, weights: Mapping[str, float], *, kept: Mapping[str, float], seed: int
    ) -> Mixture:
        """What a training reads."""
        caps = {name_of(one): one.max_epochs for one in self.config.sources}
        return Mixture(
            [
                Share(
                    source=self.part(name, held_out=False, kept=kept.get(name, 1.0)),
                    weight=weight,
                    max_epochs=caps[name],
                )
                for name, weight in weights.items()
                if weight > 0
            ],
            seed=seed,
        )

    def held_out(self, tokenizer: Any, row_tokens: int) -> list[HeldOutSet]:
        """What every model is scored on."""
        return [
            HeldOutSet.of(
                name_of(source),
                cast(Category, source.category),
                self._texts(name_of(source), tokenizer, PIECES_OF_A_DOCUMENT * row_tokens),
                tokenizer,
                row_tokens=row_tokens,
                max_tokens=self.config.held_out_tokens,
            )
            for source in self.config.sources
        ]

    def _texts(self, name: str, tokenizer: Any, most: int) -> Iterator[str]:
        part = self.part(name, held_out=True)
        for number in range(part.num_documents):
            ids = [int(one) for one in part.document(number)[0][:most]]
            yield tokenizer.decode([one for one in ids if one != tokenizer.eos_token_id])


def prepare(
    config: LadderData, folder: Path, *, note: Callable[[str], None] | None = None
) -> LadderText:
    """Tokenise the sources into `folder`, or find that done.

    Args:
        config: sources and tokenizer.
        folder: of the shards and the tokenizer.
        note: told what is going on.

    Raises:
        DataError: a source is missing, empty, or made with another tokenizer; or has too few
            documents to hold any out.
    """
    say = note or (lambda _: None)
    folder = folder / _key(config, *OF_SCORING)
    ready = folder / READY
    if not ready.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = _tokenizer(config, folder, say)
        for source in config.sources:
            say(f"tokenising {name_of(source)}")
            _write(source, config, folder, tokenizer)
        ready.write_text(json.dumps({"vocab_size": len(tokenizer)}) + "\n", encoding="utf-8")
    vocab_size = int(json.loads(ready.read_text(encoding="utf-8"))["vocab_size"])
    text = LadderText(config=config, folder=folder, key=_key(config), vocab_size=vocab_size)
    for name in config.names:
        if text.part(name, held_out=False).num_documents < 1:
            raise DataError(
                f"source {name} has too few documents to hold out one in {config.held_out_every}: "
                "add documents, or lower data.held_out_every."
            )
    return text


def _key(config: LadderData, *without: str) -> str:
    """Changes with whatever else than the mixture decides what is read."""
    undecided: dict[str, Any] = {"sources": {"__all__": OF_MIXTURE}}
    undecided |= dict.fromkeys(without, True)
    decisive = {"version": TEXT_VERSION, **config.model_dump(mode="json", exclude=undecided)}
    return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]


def _tokenizer_folder(config: LadderData, folder: Path) -> str:
    return str(Path(config.tokenizer).expanduser() if config.tokenizer else folder / "tokenizer")


def _shards(source: MixtureSource, folder: Path) -> Path:
    """Where its shards are: its own, or those that were written here."""
    own = None if source.path in TEXTS else expanded(source.path)
    return own if own is not None and (own / MANIFEST).is_file() else folder / name_of(source)


def _tokenizer(config: LadderData, folder: Path, say: Callable[[str], None]) -> Any:
    from transformers import AutoTokenizer

    place = _tokenizer_folder(config, folder)
    if config.tokenizer or (Path(place) / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(place)
    built = [name_of(one) for one in config.sources if _shards(one, Path()) != Path(name_of(one))]
    if built:
        raise DataError(
            f"source {built[0]} is built into shards already: set data.tokenizer to the tokenizer "
            "that they were made with."
        )
    say(f"training a tokenizer of {config.vocab_size} tokens")
    most = int(config.training_mb * 1e6 / len(config.sources))
    texts = (text for source in config.sources for text in _first(_texts(source), most))
    tokenizer = train_tokenizer(texts, vocab_size=config.vocab_size, max_context=MOST_CONTEXT)
    tokenizer.save_pretrained(place)
    return tokenizer


def _texts(source: MixtureSource) -> Iterator[str]:
    if source.path in TEXTS:
        yield from TEXTS[source.path]()
        return
    wanted = SourceConfig(name="text", paths=(source.path,))
    counts, limits = Counts(), LimitsConfig()
    for piece in pieces(wanted, part_bytes=1 << 30):
        yield from (document.text for document in read(piece, wanted, limits, counts))


def _first(texts: Iterable[str], characters: int) -> Iterator[str]:
    for text in texts:
        if characters <= 0:
            return
        yield text[:characters]
        characters -= len(text)


def _write(source: MixtureSource, config: LadderData, folder: Path, tokenizer: Any) -> None:
    """Shards of a source that is text."""
    name, place = name_of(source), folder / name_of(source)
    if _shards(source, folder) != place:
        open_source(source, tokenizer)  # says where the shards do not fit the tokenizer
        return
    if source.path not in TEXTS:
        opened = open_source(source, tokenizer, text_mb=config.text_mb)
        documents = (opened.document(number) for number in range(opened.num_documents))
    else:
        documents = ((ids, None) for ids in _encoded(source, tokenizer))
    shard = write_shard(
        place,
        "00000",
        ((ids.tolist(), None) for ids, _ in documents),
        vocab_size=len(tokenizer),
    )
    if not shard.num_documents:
        raise DataError(f"source {name} holds no text at all: look at its path, {source.path}.")
    write_manifest(
        place,
        [shard],
        source=name,
        vocab_size=len(tokenizer),
        tokenizer=fingerprint(tokenizer),
    )


def _encoded(source: MixtureSource, tokenizer: Any) -> Iterator[NDArray[np.int64]]:
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    texts = TEXTS[source.path]()
    while some := list(islice(texts, AT_ONCE)):
        for encoding in tokenizer.backend_tokenizer.encode_batch(some, add_special_tokens=False):
            yield np.array([*encoding.ids, *end], np.int64)
