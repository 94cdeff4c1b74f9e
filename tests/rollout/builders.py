"""A small honest engine, environments that misbehave on demand, and a tokenizer of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from munro.envs.types import KeptTokens
from munro.rewards.errors import PolicyError
from munro.rollout.engine import Completion, Request, WeightSource

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(
    chat_template: str | None = CHATML,
    special: Sequence[str] = ("<|im_start|>", "<|im_end|>"),
    added: Sequence[str] = (),
    eos: str | None = "<|endoftext|>",
) -> Any:
    """One token a byte, and special tokens, those of ChatML; `<|endoftext|>` ends a text.

    Tokens of `added` are found in texts as special ones are, but are not called special.
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=eos,
        additional_special_tokens=list(special),
    )
    tokenizer.add_tokens(list(added))
    tokenizer.chat_template = chat_template
    return tokenizer


Writes = Callable[[Request], Sequence[int]]
"""What the policy writes to a request: tokens, the stop token included."""


class ScriptedEngine:
    """Serves a policy that is a plain function of the request, and keeps count of the calls.

    Every token has log-probability -0.25 and a nucleus of itself and token 0.
    """

    def __init__(self, writes: Writes, *, version: int = 0) -> None:
        self.writes = writes
        self.served = version
        self.calls: list[list[tuple[int, ...]]] = []
        self.is_down = False
        self.hangs = False
        self.closed = False
        self.probes = 0

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.calls.append([request.key for request in requests])
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.is_down:
            raise PolicyError("the scripted engine is down")
        return [self._complete(request) for request in requests]

    def _complete(self, request: Request) -> Completion:
        ids = list(self.writes(request))
        written = ids[: request.max_tokens]
        num = len(written)
        kept = np.array([[token, 0] for token in written], np.int32).reshape(-1)
        return Completion(
            token_ids=np.array(written, np.int32),
            logp=np.full(num, -0.25, np.float32),
            kept=KeptTokens(ids=kept, starts=np.arange(0, 2 * num + 1, 2, dtype=np.int32))
            if request.top_p < 1
            else KeptTokens.nothing(num),
            versions=np.full(num, self.served, np.int32),
            stopped=bool(written) and num == len(ids) and ids[-1] in request.stop_token_ids,
        )

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> np.ndarray:
        return np.where(np.arange(len(token_ids)) == 0, 0, -0.25).astype(np.float32)

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        if self.is_down:
            raise PolicyError("the scripted engine is down")
        self.served = source.version

    async def version(self) -> int:
        self.probes += 1
        if self.is_down:
            raise PolicyError("the scripted engine is down")
        return self.served

    async def close(self) -> None:
        self.closed = True
