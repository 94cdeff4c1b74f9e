"""Texts from outside stay texts: none of them can become a token that means something.

A tokenizer turns `<|im_end|>` into the end of a turn wherever it finds it, in a file that a tool
read just as in the template. So such texts are broken after their first character by a mark that
nothing else holds, the template is rendered with the broken texts, and its result is encoded piece
by piece between the marks: the same characters, as plain tokens.

Meant are the tokens that the tokenizer calls special, and those added ones that the chat template
itself writes (families that do not call their turn marks special have those). A token of a single
character cannot be broken, and white space means nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

MARKS = range(0x2BFF, 0x2900, -1)
"""Printable symbols that hardly any text holds; JSON and templates hand them on as they are."""


class Inert:
    """Breaks texts for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._template = str(tokenizer.chat_template or "")
        added = tokenizer.added_tokens_decoder.values()
        live = {str(token) for token in added if token.special or str(token) in self._template}
        live = {text for text in live | {*tokenizer.all_special_tokens} if _means_something(text)}
        self.live: tuple[str, ...] = tuple(sorted(live, key=lambda text: (-len(text), text)))
        """The texts that would become tokens which mean something, longest first."""
        self._live = re.compile("|".join(map(re.escape, self.live))) if self.live else None
        backend = getattr(tokenizer, "backend_tokenizer", None)
        # tokens that are looked for in the normalised text can be written in other letters too
        self._normalizer = (
            getattr(backend, "normalizer", None)
            if any(token.normalized and str(token) in live for token in added)
            else None
        )

    def mark(self, texts: Iterable[str]) -> str:
        """A mark that none of these texts holds, nor the template; empty where none is needed."""
        everything = "\0".join(texts)
        if not self._is_live(everything):
            return ""
        everything += self._template
        return next(chr(code) for code in MARKS if chr(code) not in everything)

    def broken(self, value: Any, mark: str) -> Any:
        """The text with the mark inside of every live token; texts in lists and tables too."""
        if isinstance(value, Mapping):
            return {
                self.broken(key, mark): self.broken(inner, mark) for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.broken(inner, mark) for inner in value]
        if not isinstance(value, str) or not mark:
            return value
        pieces, begin, look_from = [], 0, 0
        while self._live is not None and (found := self._live.search(value, look_from)):
            look_from = found.start() + 1
            pieces.append(value[begin:look_from])
            begin = look_from
        pieces.append(value[begin:])
        if any(map(self._is_live, pieces)):
            return mark.join(value)
        return mark.join(pieces)

    def _is_live(self, text: str) -> bool:
        if self._live is None:
            return False
        if self._live.search(text):
            return True
        normalizer = self._normalizer
        return normalizer is not None and bool(self._live.search(normalizer.normalize_str(text)))


def _means_something(text: str) -> bool:
    return len(text) > 1 and not text.isspace()


def texts_in(value: Any) -> Iterable[str]:
    """All texts of a value as it would stand in JSON."""
    return (value,) if isinstance(value, str) else (json.dumps(value, ensure_ascii=False),)
