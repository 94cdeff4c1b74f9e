"""Random rows of tokens that branch."""

from __future__ import annotations

import random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def random_tree(
    rng: random.Random, length: int, run: int = 200
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`until` and positions of a row: runs of at most so many tokens, each followed by branches."""
    until, position = np.zeros(length, np.int32), np.zeros(length, np.int32)

    def fill(start: int, end: int, depth: int) -> None:
        while start < end:
            own = rng.randint(1, min(end - start, run))
            stop = end if rng.random() < 0.5 else rng.randint(start + own, end)
            until[start : start + own] = stop
            position[start : start + own] = depth + np.arange(own)
            fill(start + own, stop, depth + own)
            start = stop

    fill(0, length, 0)
    return until, position


def random_rows(rng: random.Random, rows: int, length: int) -> tuple[Tensor, Tensor]:
    """[R, L] int32 twice."""
    trees = [random_tree(rng, length, rng.choice([3, 50, 200, 700])) for _ in range(rows)]
    until, position = (torch.from_numpy(np.stack(part)) for part in zip(*trees, strict=True))
    return until, position


def shared_prompt(prompt: int, replies: int, reply: int) -> tuple[Tensor, Tensor]:
    """[1, L] int32 twice: one prompt and its replies."""
    length = prompt + replies * reply
    until = torch.full((1, length), length, dtype=torch.int32)
    ends = torch.arange(1, replies + 1) * reply + prompt
    until[0, prompt:] = ends.repeat_interleave(reply)
    position = torch.arange(length, dtype=torch.int32)[None].clone()
    position[0, prompt:] = prompt + torch.arange(reply).repeat(replies)
    return until, position
