"""From a config to a mixture: shards that were built, or small texts tokenised here and now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.config import LimitsConfig, MixtureConfig, MixtureSource, SourceConfig
from munro.base_model.data.documents import Counts
from munro.base_model.data.errors import DataError
from munro.base_model.data.read.listing import pieces
from munro.base_model.data.read.pieces import expanded
from munro.base_model.data.read.reading import read
from munro.base_model.data.shards.files import MANIFEST, ShardFolder, fingerprint
from munro.base_model.data.shards.mixture import Mixture, Share, Source


def open_mixture(
    config: MixtureConfig, tokenizer: Any, *, weights: Mapping[str, float] | None = None
) -> Mixture:
    """The mixture that a recipe describes.

    Args:
        config: sources, weights, caps, seed.
        tokenizer: of the model that will read it.
        weights: by source, instead of those of the config; a source with 0 is left out.

    Raises:
        DataError: no source; nothing at a path; a shard cut short; shards made with another
            tokenizer; weights for a source that is not there.
    """
    opened = [(one, open_source(one, tokenizer, text_mb=config.text_mb)) for one in config.sources]
    chosen = {source.name: one.weight for one, source in opened} if weights is None else weights
    if unknown := sorted(set(chosen) - {source.name for _, source in opened}):
        raise DataError(
            f"the mixture has no source {unknown[0]!r}; it has "
            f"{', '.join(source.name for _, source in opened)}."
        )
    shares = [
        Share(source=source, weight=chosen[source.name], max_epochs=one.max_epochs)
        for one, source in opened
        if chosen.get(source.name, 0) > 0
    ]
    return Mixture(shares, seed=config.seed)


def open_source(config: MixtureSource, tokenizer: Any, *, text_mb: float = 64) -> Source:
    """One source: a folder of shards, or text that is tokenised now."""
    path = expanded(config.path)
    name = config.name or path.name
    if not (path / MANIFEST).is_file():
        if path.is_dir() and any(path.glob("*.tokens")):
            ShardFolder(path)  # says what is missing
        return TextDocuments(path, tokenizer, name=name, most_mb=text_mb)
    shards = ShardFolder(path, name=name)
    if shards.tokenizer != fingerprint(tokenizer):
        raise DataError(
            f"the shards of {path} were made with another tokenizer than this model's: build them "
            "with tokenizer.path set to the model's folder, or train with the build's tokenizer."
        )
    return shards


class TextDocuments:
    """Small text files as they are, tokenised when opened; a `Source` of a mixture.

    No stage of a build is applied: what is to be cleaned or deduplicated is built into shards.

    Raises (when made):
        DataError: nothing is there, or it is too large for this.
    """

    def __init__(
        self, path: Path | str, tokenizer: Any, *, name: str = "", most_mb: float = 64
    ) -> None:
        path = Path(path)
        self.name = name or path.name
        source = SourceConfig(name="text", paths=(str(path),))
        found = list(pieces(source, part_bytes=1 << 30))
        size_mb = sum(piece.size_bytes for piece in found) / 1e6
        if size_mb > most_mb:
            raise DataError(
                f"{path} holds {size_mb:,.0f} MB of text, more than text_mb = {most_mb:g}: build "
                "it into shards with `munro data build`."
            )
        counts, limits = Counts(), LimitsConfig()
        texts = [one.text for piece in found for one in read(piece, source, limits, counts)]
        # what looks like a control token in somebody's text is text
        rules = {"add_special_tokens": False, "split_special_tokens": True}
        encoded = tokenizer(texts, **rules)["input_ids"] if texts else []
        end = tokenizer.eos_token_id
        endings = [] if end is None else [end]
        self._documents = [np.array([*ids, *endings], np.int64) for ids in encoded]
        self.num_documents = len(self._documents)
        self.num_tokens = sum(map(len, self._documents))

    def document(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Token ids; all are to be learned."""
        return self._documents[number], None
