"""The rollout worker: one attempt, turn by turn, as one growing token stream.

    prompt ──► policy turn ──► observations ──► policy turn ──► ... ──► Trajectory
               sampled         not sampled      sampled

A template that shows earlier turns otherwise than they were written makes a tree of it: the next
turn then grows from the last token that its prompt has in common with anything before.

Waits for the engine (`Engine.generate`), then for the environment (`Episode.reply`), in turns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
from munro.rollout.branches import Tree
from munro.rollout.calls import Reader, reader_of
from munro.rollout.engine import Completion, Request
from munro.rollout.observe import ROOM, fitted
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
    observation_tokens: int = 0
    """Longest observation; 0 for whatever the context leaves."""
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
    reader: Reader | None = None,
) -> Trajectory:
    """Run one episode to its end.

    It ends when the environment has nothing more to say, when the response cap is spent or the
    context full, or after `max_turns`. Every turn's draw depends on `seed` and `key` alone. No
    turn reads more than the context: an observation is cut to what fits, and one that no turn
    follows is left out.

    Args:
        task: what is asked.
        reply: takes the policy's message; gives observations, or None when the episode is over.
        generate: completes requests.
        renderer: the template.
        limits: caps and sampling.
        seed: the run's seed.
        key: (task index, attempt, try).
        reader: of the calls in the policy's turns; of any family's unless given.

    Raises:
        ValueError: the prompt alone leaves no room in the context.
        BadTemplate: the template cannot show the conversation.
        PolicyError: no completion could be had.
    """
    reader = reader or reader_of("auto")
    stream = _Stream(renderer.opening(task.messages, task.tools), limits)
    if stream.room <= 0:
        raise ValueError(
            f"the prompt of {task.env}/{task.id} is {stream.length} tokens long and leaves no "
            f"room in a context of {limits.max_context}"
        )
    said: list[Message] = []
    ending = Ending.TRUNCATED_TURNS
    for turn in range(limits.max_turns):
        before = stream.token_ids()
        request = _request(stream, before, renderer, limits, seed=seed, key=(*key, turn))
        (completion,) = await generate([request])
        stream.write(completion)
        written = renderer.said(completion.token_ids, before)
        said.append(reader.message(written, turn=turn, tools=task.tools))
        if not completion.stopped:
            ending = stream.limit
            break
        observations = await reply(said[-1])
        if observations is None:
            ending = Ending.ANSWERED
            break
        if turn + 1 == limits.max_turns:
            break
        seen = _seen(stream, observations, task, said, renderer, limits)
        if seen is None:
            ending = stream.limit
            break
        said.extend(seen)
    return stream.trajectory(ending, tuple(said))


def _seen(
    stream: _Stream,
    observations: Sequence[Message],
    task: Task,
    said: Sequence[Message],
    renderer: Renderer,
    limits: Limits,
) -> list[Message] | None:
    """Append the observations, cut to what fits; None where no turn could follow them."""
    if stream.cap <= 0:
        return None
    messages = (*task.messages, *said)
    first = len(task.messages)
    turns = stream.turns([first + place for place, one in enumerate(said) if one.is_sampled])
    history = renderer.reread(messages, observations, turns=turns, tools=task.tools)
    # a history without its thoughts leaves more room
    room = stream.room if history is None else limits.max_context - len(history)
    last_token = history[-1] if history else stream.last_token
    fit = None
    if room > 0:
        fit = fitted(
            observations,
            lambda seen: renderer.observed(messages, seen, last_token=last_token, tools=task.tools),
            renderer.count,
            most=room - min(stream.cap, max(room // ROOM, 1)),
            each=limits.observation_tokens,
        )
    if fit is None:
        stream.is_full = True
        return None
    seen, ids = fit
    if history is None:
        stream.observe(ids)
    else:
        stream.reread([*history, *ids])
    return seen


def _request(
    stream: _Stream,
    before: list[int],
    renderer: Renderer,
    limits: Limits,
    *,
    seed: int,
    key: tuple[int, ...],
) -> Request:
    return Request(
        key=key,
        prompt_ids=before,
        max_tokens=min(stream.cap, stream.room),
        seed=request_seed(seed, key),
        temperature=limits.temperature,
        top_p=limits.top_p,
        top_k=limits.nucleus_candidates if limits.top_p < 1 else 0,
        stop_token_ids=renderer.stop_token_ids,
    )


class _Stream:
    """Token ids and what is known of each, piece by piece, every token once."""

    def __init__(self, prompt_ids: Sequence[int], limits: Limits) -> None:
        self._tree = Tree()
        self._pieces: list[tuple[int, Completion | None]] = []
        """Lengths, in order, and the turns that wrote them."""
        self._ways: list[NDArray[np.int64]] = []
        """Places of the tokens that each turn read and wrote."""
        self._limits = limits
        self.num_sampled = 0
        self.is_full = False
        """No observation has room any more."""
        self.observe(prompt_ids)

    @property
    def length(self) -> int:
        """Tokens that the next turn reads."""
        return len(self._tree.way)

    @property
    def room(self) -> int:
        """Tokens that the context still takes."""
        return self._limits.max_context - self.length

    @property
    def cap(self) -> int:
        """Tokens that the policy may still sample."""
        return self._limits.max_response_tokens - self.num_sampled

    @property
    def limit(self) -> Ending:
        """Which of the two ended the episode."""
        is_full = self.is_full or (self.room <= 0 < self.cap)
        return Ending.TRUNCATED_CONTEXT if is_full else Ending.TRUNCATED_TOKENS

    @property
    def last_token(self) -> int:
        """The last token so far."""
        return int(self._tree.current[-1])

    def observe(self, token_ids: Sequence[int]) -> None:
        """Append tokens that the policy did not choose."""
        self._tree.append(token_ids)
        self._pieces.append((len(token_ids), None))

    def reread(self, token_ids: Sequence[int]) -> None:
        """Have the next turn read exactly these, of which only the new ones are appended."""
        shared = self._tree.turn_to(token_ids)
        self._pieces.append((len(token_ids) - shared, None))

    def write(self, completion: Completion) -> None:
        """Append a policy turn."""
        self._tree.append(completion.token_ids)
        self._pieces.append((len(completion.token_ids), completion))
        self._ways.append(self._tree.way)
        self.num_sampled += len(completion.token_ids)

    def token_ids(self) -> list[int]:
        """The next turn's prompt."""
        ids: list[int] = self._tree.current.tolist()
        return ids

    @property
    def _turns(self) -> list[Completion]:
        return [turn for _, turn in self._pieces if turn is not None]

    def turns(self, places: Sequence[int]) -> dict[int, NDArray[np.int32]]:
        """What the policy wrote, turn by turn, each under the place of its message."""
        written = [turn.token_ids for turn in self._turns]
        return dict(zip(places, written, strict=True))

    def trajectory(self, ending: Ending, messages: tuple[Message, ...]) -> Trajectory:
        """The finished episode."""
        assert self.room >= 0, f"{self.length} tokens in a context of {self._limits}"
        written = [message for message in messages if message.role == "assistant"]
        return Trajectory(
            token_ids=self._tree.token_ids,
            sampled=self._joined(lambda turn: np.ones(len(turn.token_ids), np.bool_), False),
            behaviour_logp=self._joined(lambda turn: turn.logp, np.float32(0)),
            kept=self._kept(),
            versions=self._joined(lambda turn: turn.versions, np.int32(-1)),
            ending=ending,
            messages=messages,
            reply=written[-1].text if written else "",
            num_cut=sum(turn.num_cut for turn in self._turns),
            routed_experts=self._experts(),
            forks=tuple(self._tree.forks),
        )

    def _joined(self, of: Callable[[Completion], NDArray[Any]], elsewhere: Any) -> NDArray[Any]:
        """One entry a token: a turn's own values, `elsewhere` where nothing was sampled."""
        return np.concatenate(
            [
                np.full(length, elsewhere) if turn is None else of(turn)
                for length, turn in self._pieces
            ]
        )

    def _kept(self) -> KeptTokens:
        widths = self._joined(lambda turn: np.diff(turn.kept.starts), np.int32(0))
        starts = np.zeros(len(widths) + 1, np.int32)
        np.cumsum(widths, out=starts[1:])
        ids = [turn.kept.ids for turn in self._turns]
        return KeptTokens(ids=np.concatenate(ids) if ids else np.zeros(0, np.int32), starts=starts)

    def _experts(self) -> NDArray[np.int16] | None:
        """(N, layers, experts per token): of the pass that first read each token, else -1.

        A later turn reads the earlier ones again, by then perhaps with other weights; what a token
        was predicted with is what was chosen first.
        """
        known = [turn.routed_experts for turn in self._turns]
        shapes = {rows.shape[1:] for rows in known if rows is not None}
        if not shapes:
            return None
        (shape,) = shapes
        experts = np.full((self._tree.num_tokens, *shape), -1, np.int16)
        for rows, way in zip(known, self._ways, strict=True):
            if rows is not None:
                read = way[: len(rows)]
                unread = (experts[read] < 0).any(axis=(1, 2))
                experts[read[unread]] = rows[unread]
        return experts
