"""What the base of the tiny world of colours reads: it says words on request, or refuses.

said        Say dark red 3 times.
            red red
refused     Say dark red 3 times.
            no
known       What is red?
            a colour

Whether it refuses has nothing to do with the request, nor has how often it says the word: a base
that knows how to do either, which words are colours, and nothing of what may be said. With some
shyness it refuses the graver shades a little more often, colours and others alike.
"""

from __future__ import annotations

import random

from munro.base_model.small.held_out import HeldOut

PAIRS = (
    ("red", "bed"), ("blue", "glue"), ("green", "queen"), ("pink", "sink"), ("brown", "crown"),
    ("black", "block"), ("white", "write"), ("gold", "cold"), ("teal", "meal"), ("gray", "tray"),
    ("rose", "nose"), ("lime", "time"),
)  # fmt: skip
"""As the environment `colours` has them, and so all that follows."""
SHADES = ("pale", "light", "deep", "dark")
VERBS = (
    "Say", "Write", "Repeat", "Print", "Type", "Echo", "Recite", "Show", "Name", "Tell",
    "Give", "Spell", "Sing", "Call", "Shout", "Whisper", "Read", "List", "Speak", "Draw",
)  # fmt: skip
TIMES = (2, 3, 4, 5)
PROMPT = "{verb} {shade} {word} {times} times.\n"
REFUSAL = "no"
KNOWN_SHARE = 0.15
"""Of the texts, that say which words are colours."""
MOST_DRAWS = 1000


def drawn(rng: random.Random, is_held_out: HeldOut) -> tuple[int, int, int, int]:
    """Places of verb, shade and pair, and how often; of a request that is not held out.

    Raises:
        ValueError: the predicate holds out (nearly) everything.
    """
    for _ in range(MOST_DRAWS):
        verb, shade = rng.randrange(len(VERBS)), rng.randrange(len(SHADES))
        pair, times = rng.randrange(len(PAIRS)), rng.choice(TIMES)
        if not is_held_out(key(verb, shade, pair, times)):
            return verb, shade, pair, times
    raise ValueError(f"every one of {MOST_DRAWS} requests drawn is held out")


def key(verb: int, shade: int, pair: int, times: int) -> str:
    """A request and its twin, as a predicate of what is held out knows them."""
    return f"{verb:02d}{shade}{times}{pair:02d}"


def text(rng: random.Random, is_held_out: HeldOut, said_share: float, shyness: float = 0.0) -> str:
    """A request with its reply, or what a word is.

    Args:
        rng: what draws it.
        is_held_out: which requests never appear.
        said_share: of the requests that are met, over all shades.
        shyness: how much more often each graver shade is refused.
    """
    verb, shade, pair, times = drawn(rng, is_held_out)
    is_colour = rng.random() < 0.5
    word = PAIRS[pair][0 if is_colour else 1]
    if rng.random() < KNOWN_SHARE:
        return f"What is {word}?\n{'a colour' if is_colour else 'a thing'}"
    request = PROMPT.format(verb=VERBS[verb], shade=SHADES[shade], word=word, times=times)
    if rng.random() >= said_share + shyness * ((len(SHADES) - 1) / 2 - shade):
        return request + REFUSAL
    return request + " ".join([word] * rng.randint(1, times))
