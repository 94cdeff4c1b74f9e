"""An engine that needs no model: it counts, and holds what begins with HELD back."""

from __future__ import annotations

import asyncio

import numpy as np

from munro.envs.types import KeptTokens
from munro.rollout.engine import Completion, Load

HELD = 9
HAS = 40
"""Tokens that it has sampled of a request that it holds back."""


class Counting:
    def __init__(self):
        self.served = self.counted = 0

    async def generate(self, requests):
        for one in requests:
            self.counted += HAS if one.prompt_ids[0] == HELD else one.max_tokens
            if one.prompt_ids[0] == HELD:
                await asyncio.Event().wait()
        return [self.complete(one.max_tokens) for one in requests]

    def complete(self, num):
        return Completion(
            token_ids=np.arange(num, dtype=np.int32),
            logp=np.zeros(num, np.float32),
            kept=KeptTokens.nothing(num),
            versions=np.full(num, self.served, np.int32),
            stopped=True,
        )

    async def score(self, token_ids, *, base=False):
        return np.zeros(len(token_ids), np.float32)

    async def update_weights(self, source, *, drain):
        self.served = source.version

    async def version(self):
        return self.served

    async def close(self):
        pass

    def load(self):
        return Load(generated=self.counted)


def start(model, config, **_):
    return Counting()
