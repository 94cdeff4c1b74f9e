"""How a conversation becomes tokens, and tokens become text again.

Append-only (report, section 3.3): an episode's stream only ever grows, so a later turn adds what
the template puts *after* the policy's own tokens, and those are never tokenised again. Where the
tokenizer's template shows earlier turns otherwise than they were written, without their thoughts
say, the next turn reads what it shows, made of the policy's own tokens (`rewriting`).

    chat      the tokenizer's own chat template, tools included
    r1_zero   raw text: reason inside <think></think>, answer inside <answer></answer> (Fig. 14)
    plain     the messages' text, one after the other, and nothing else

What is not the policy's own comes from outside: prompts out of data, what tools and documents say.
No such text can become a token that ends a turn or begins one (`inert`).
"""

from __future__ import annotations

from typing import Any, Literal

from munro.rollout.render.base import BadTemplate, Renderer
from munro.rollout.render.chat import Chat
from munro.rollout.render.raw import PREAMBLE, Plain, R1Zero

__all__ = ["PREAMBLE", "BadTemplate", "Renderer", "renderer"]


def renderer(tokenizer: Any, template: Literal["chat", "r1_zero", "plain"]) -> Renderer:
    """The renderer of `rollout.template`.

    Args:
        tokenizer: a Hugging Face tokenizer; where it was loaded from a folder, the end tokens of
            the folder's generation_config.json end turns too.
        template: as in the config.

    Raises:
        BadTemplate: the tokenizer lacks what the template needs.
    """
    kinds: dict[str, type[Renderer]] = {"chat": Chat, "r1_zero": R1Zero, "plain": Plain}
    return kinds[template](tokenizer)
