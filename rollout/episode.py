"""The rollout worker: one attempt, turn by turn, as one growing token stream.

    prompt ──► policy turn ──► observations ──► policy turn ──► ... ──► Trajectory
               sampled         not sampled      sampled

Waits for the engine (`Engine.generate`), then for the environment (`Episode.reply`), in turns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
from munro.rollout.engine import Completion, Request
from munro.rollout.render import Renderer
from munro.rollout.seeds import request_seed

Generate = Callable[[Sequence[Request]], Awaitable[list[Completion]]]
"""`Engine.generate`, or a router's, or a lockstep's."""
Reply = Callable[[Message], Awaitable[Sequence[Message] | None]]
"""`Episode.reply`, wrapped so that it never blocks and never waits for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far one episode may go, and how its tokens are drawn."""

    max_response_tokens: int
    """Cap on the tokens that the policy samples, all turns together."""
    max_context: int
    """Longest stream, prompt and observations included."""
    max_turns: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    nucleus_candidates: int = 64
    """K: candidates that a nucleus can hold; matters where `top_p < 1`."""


async def play(
    task: Task,
    reply: Reply,
    generate: Generate,
    renderer: Renderer,
    limits: Limits,
    *,
    seed: int,
    key: tuple[int, int, int],
) -> Trajectory:
    """Run one episode to its end.

    It ends when the environment has nothing more to say, when a turn is cut by the response cap or
    by the context, or after `max_turns`. Every turn's draw depends on `seed` and `key` alone.

    Args:
        task: what is asked.
        reply: takes the policy's message; gives observations, or None when the episode is over.
        generate: completes requests.
        renderer: the template.
        limits: caps and sampling.
        seed: the run's seed.
        key: (task index, attempt, try).

    Raises:
        ValueError: the prompt alone leaves no room in the context.
        PolicyError: no completion could be had.
    """
    stream = _Stream(renderer.opening(task.messages, task.tools))
    if stream.num_tokens >= limits.max_context:
        raise ValueError(
            f"the prompt of {task.env}/{task.id} is {stream.num_tokens} tokens long and leaves no "
            f"room in a context of {limits.max_context}"
        )
    said: list[Message] = []
    ending = Ending.TRUNCATED_TURNS
    for turn in range(limits.max_turns):
        room = min(
            limits.max_response_tokens - stream.num_sampled,
            limits.max_context - stream.num_tokens,
        )
        if room <= 0:
            ending = Ending.TRUNCATED_TOKENS
            break
        request = _request(stream, renderer, limits, room, seed=seed, key=(*key, turn))
        (completion,) = await generate([request])
        stream.write(completion)
        said.append(Message(role="assistant", content=renderer.text(completion.token_ids)))
        if not completion.stopped:
            ending = Ending.TRUNCATED_TOKENS
            break
        observations = await reply(said[-1])
        if observations is None:
            ending = Ending.ANSWERED
            break
        if turn + 1 < limits.max_turns:
            stream.observe(
                renderer.observed(
                    (*task.messages, *said),
                    observations,
                    last_token=int(completion.token_ids[-1]),
                    tools=task.tools,
                )
            )
            said.extend(observations)
    return stream.trajectory(ending, tuple(said))


def _request(
    stream: _Stream,
    renderer: Renderer,
    limits: Limits,
    room: int,
    *,
    seed: int,
    key: tuple[int, ...],
) -> Request:
    return Request(
        key=key,
        prompt_ids=stream.token_ids(),
        max_tokens=room,
        seed=request_seed(seed, key),
        temperature=limits.temperature,
        top_p=limits.top_p,
        top_k=limits.nucleus_candidates if limits.top_p < 1 else 0,
        stop_token_ids=renderer.stop_token_ids,
    )


class _Stream:
    """Token ids and what is known of each, appended piece by piece."""

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        self._tokens: list[NDArray[np.int32]] = []
        self._turns: list[Completion | None] = []
        self.num_tokens = 0
        self.num_sampled = 0
        self.observe(prompt_ids)

    def observe(self, token_ids: Sequence[int]) -> None:
        """Append tokens that the policy did not choose."""
        self._append(np.asarray(token_ids, np.int32), None)

    def write(self, completion: Completion) -> None:
        """Append a policy turn."""
        self._append(completion.token_ids, completion)
        self.num_sampled += len(completion.token_ids)

    def _append(self, token_ids: NDArray[np.int32], turn: Completion | None) -> None:
        self._tokens.append(token_ids)
        self._turns.append(turn)
        self.num_tokens += len(token_ids)

    def token_ids(self) -> list[int]:
        """Everything so far: the next turn's prompt."""
        ids: list[int] = np.concatenate(self._tokens).tolist()
        return ids

    def trajectory(self, ending: Ending, messages: tuple[Message, ...]) -> Trajectory:
        """The finished episode."""
        written = [message for message in messages if message.role == "assistant"]
        return Trajectory(
            token_ids=np.concatenate(self._tokens),
            sampled=self._joined(lambda turn: np.ones(len(turn.token_ids), np.bool_), False),
            behaviour_logp=self._joined(lambda turn: turn.logp, np.float32(0)),
            kept=self._kept(),
            versions=self._joined(lambda turn: turn.versions, np.int32(-1)),
            ending=ending,
            messages=messages,
            reply=written[-1].content if written else "",
            num_cut=sum(turn.num_cut for turn in self._turns if turn is not None),
            routed_experts=self._experts(),
        )

    def _joined(self, of: Callable[[Completion], NDArray[Any]], elsewhere: Any) -> NDArray[Any]:
        """One entry a token: a turn's own values, `elsewhere` where nothing was sampled."""
        return np.concatenate(
            [
                np.full(len(tokens), elsewhere) if turn is None else of(turn)
                for tokens, turn in zip(self._tokens, self._turns, strict=True)
            ]
        )

    def _kept(self) -> KeptTokens:
        widths = self._joined(lambda turn: np.diff(turn.kept.starts), np.int32(0))
        starts = np.zeros(len(widths) + 1, np.int32)
        np.cumsum(widths, out=starts[1:])
        ids = [turn.kept.ids for turn in self._turns if turn is not None]
        return KeptTokens(ids=np.concatenate(ids) if ids else np.zeros(0, np.int32), starts=starts)

    def _experts(self) -> NDArray[np.int16] | None:
        """(N, layers, experts per token): of the pass that first read each token, else -1.

        A later turn reads the earlier ones again, by then perhaps with other weights; what a token
        was predicted with is what was chosen first.
        """
        known = [turn.routed_experts for turn in self._turns if turn is not None]
        shapes = {rows.shape[1:] for rows in known if rows is not None}
        if not shapes:
            return None
        (shape,) = shapes
        experts = np.full((self.num_tokens, *shape), -1, np.int16)
        for rows in known:
            if rows is not None:
                unread = (experts[: len(rows)] < 0).any(axis=(1, 2))
                experts[: len(rows)][unread] = rows[unread]
        return experts
