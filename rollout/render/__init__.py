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

from collections.abc import Mapping
from typing import Any, Literal

from munro.rewards.serving.template_keys import keys_of, texts_of
from munro.rollout.render.base import BadTemplate, Renderer
from munro.rollout.render.chat import Chat
from munro.rollout.render.raw import PREAMBLE, Plain, R1Zero

__all__ = ["PREAMBLE", "BadTemplate", "Renderer", "renderer", "used"]


def renderer(
    tokenizer: Any,
    template: Literal["chat", "r1_zero", "plain"],
    args: Mapping[str, Any] | None = None,
) -> Renderer:
    """The renderer of `rollout.template`.

    Args:
        tokenizer: a Hugging Face tokenizer; where it was loaded from a folder, the end tokens of
            the folder's generation_config.json end turns too.
        template: as in the config.
        args: what a chat template is told beside the conversation; `rollout.template_args`.

    Raises:
        BadTemplate: the tokenizer lacks what the template needs, or it does not use the args.
    """
    if template == "chat":
        return Chat(tokenizer, args)
    return R1Zero(tokenizer) if template == "r1_zero" else Plain(tokenizer)


def used(tokenizer: Any, args: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the args that the tokenizer's chat template uses."""
    known = set[str]()
    for template in texts_of(tokenizer.chat_template) if args else ():
        known |= keys_of(template)[0]
    return {name: value for name, value in args.items() if name in known}
