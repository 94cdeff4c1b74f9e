"""The tokens of one episode while it is played: every token once, with what is known of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import CallRecord, Ending, KeptTokens, Message, Trajectory
from munro.rollout.branches import Tree, way
from munro.rollout.engine import Completion


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
    turn_tokens: int = 0
    """Longest turn; 0 for whatever the cap and the context leave."""
    cut_turn: Literal["go on", "end"] = "go on"
    """What becomes of a turn that `turn_tokens` cut: the policy is told, or the episode ends."""
    wall_s: float = 0.0
    """Seconds after which no other turn begins; 0 for never."""
    temperature: float = 1.0
    top_p: float = 1.0
    nucleus_candidates: int = 64
    """K: candidates that a nucleus can hold; matters where `top_p < 1`."""


class Stream:
    """Token ids and what is known of each, piece by piece, every token once."""

    def __init__(self, prompt_ids: Sequence[int], limits: Limits) -> None:
        self._tree = Tree()
        self._pieces: list[tuple[int, Completion | None]] = []
        """Lengths, in order, and the turns that wrote them."""
        self._ways: list[NDArray[np.int64]] = []
        """Places of those tokens whose experts each turn tells: the last ones that it read."""
        self._limits = limits
        self._is_routed = np.zeros(0, np.bool_)
        """Of every token, whether it is known which experts read it."""
        self.num_sampled = 0
        self.is_full = False
        """No observation has room any more."""
        self.observe(prompt_ids)

    def copy(self) -> Stream:
        """The stream as it is now, however this one goes on."""
        other = copy.copy(self)
        other._tree = self._tree.copy()
        other._pieces, other._ways = [*self._pieces], [*self._ways]
        return other

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
    def num_routed(self) -> int:
        """Leading tokens of what the next turn reads of which the experts are known."""
        known = np.zeros(self._tree.num_tokens, np.bool_)
        known[: len(self._is_routed)] = self._is_routed
        unknown = np.flatnonzero(~known[self._tree.way])
        return int(unknown[0]) if len(unknown) else self.length

    @property
    def last_token(self) -> int:
        """The last token so far."""
        return int(self._tree.current[-1])

    @property
    def place(self) -> int:
        """Of the last token so far, among all there are."""
        return int(self._tree.way[-1])

    def up_to(self, place: int) -> list[int]:
        """What has led to the token at a place, itself included."""
        ids: list[int] = self._tree.token_ids[way(place, self._tree.forks)].tolist()
        return ids

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
        self.num_sampled += len(completion.token_ids)
        rows = completion.routed_experts
        # of nothing else: the whole way of each turn is quadratic in the turns
        told = 0 if rows is None else len(rows)
        self._ways.append(self._tree.way[self.length - told :].copy())
        if rows is not None:
            known = np.zeros(self._tree.num_tokens, np.bool_)
            known[: len(self._is_routed)] = self._is_routed
            known[self._tree.way[self.length - len(rows) :]] |= (rows >= 0).all(axis=(1, 2))
            self._is_routed = known

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

    def trajectory(
        self, ending: Ending, messages: tuple[Message, ...], calls: tuple[CallRecord, ...] = ()
    ) -> Trajectory:
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
            calls=calls,
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
        for rows, places in zip(known, self._ways, strict=True):
            if rows is not None:
                unread = (experts[places] < 0).any(axis=(1, 2))
                experts[places[unread]] = rows[unread]
        return experts
