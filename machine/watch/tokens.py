"""The text of each token, by the tokenizer that lies nearest to a run.

`tokenizers` alone is loaded, which takes a blink, where transformers takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FILE = "tokenizer.json"
UNFINISHED = "\ufffd"
"""What a decoder writes for bytes that are not yet a character."""

Decode = Callable[[Sequence[int]], str]


def tokenizer_of(run: Path, model: str) -> Decode | None:
    """The decoder of the run's newest checkpoint, or of the model that it began from.

    None where neither is there: a run of another machine, say.
    """
    saved = sorted((run / "checkpoints").glob(f"step-*/{FILE}"))
    for file in [*saved[-1:], *([Path(model) / FILE] if model else [])]:
        if (decode := _loaded(file)) is not None:
            return decode
    return None


def _loaded(file: Path) -> Decode | None:
    # imported here: not everything that reads a run wants it
    from tokenizers import Tokenizer

    if not file.is_file():
        return None
    try:
        tokenizer: Any = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - whatever it says of a file that another version wrote
        return None
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False))


def pieces(ids: Sequence[int], decode: Decode) -> list[str]:
    """What each token adds to the text; end to end they are the text.

    A character of several tokens belongs to the last of them; the others add nothing.
    """
    found = []
    begin = told = 0
    for end in range(1, len(ids) + 1):
        # a window that begins before what was told: some decoders write a first token otherwise
        before, now = decode(ids[begin:told]), decode(ids[begin:end])
        if now.endswith(UNFINISHED) and end < len(ids) and end - told < 8:
            found.append("")
            continue
        found.append(now[len(before) :])
        begin, told = told, end
    return found
