"""What the model is asked, and what came of it: plain records, no live resources, no torch.

Arrays are NumPy with one entry per token, so that they cross Ray and Parquet without copies.
Shape letters: N = tokens of a trajectory, M = kept candidates of all its positions together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.envs.budget import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A function the model wants called.

    Example:
        ToolCall(id="call_0", name="add", arguments='{"a": 1, "b": 2}')
    """

    id: str
    name: str
    arguments: str
    """JSON as the model wrote it: hostile until parsed."""
    error: str = ""
    """Why this is no call that can be carried out: what the model is told. Empty for a good one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation, in the OpenAI shape.

    Example:
        Message(role="user", content="What is 17 + 25?")
    """

    role: str
    """"system", "user", "assistant" or "tool"."""
    content: str
    """Of the policy's own turn what its thoughts and its calls leave; of others all of it."""
    tool_calls: tuple[ToolCall, ...] = ()
    """In the order they were written, those that could not be read included."""
    tool_call_id: str = ""
    is_sampled: bool = False
    """The policy's own turn: `tool_calls` are all the calls that its model's family would read in
    it. Of other texts nobody has read the calls."""
    reasoning: str = ""
    """What the turn thought before it spoke, without the marks around it."""
    raw: str = ""
    """The policy's own turn as it was sampled, thoughts and calls and all; empty for others."""

    def __post_init__(self) -> None:
        # names of files and the like may hold bytes that are no text, which no tokenizer takes
        if not self.content.isascii():
            written = self.content.encode(errors="backslashreplace").decode()
            object.__setattr__(self, "content", written)

    @property
    def text(self) -> str:
        """All that was written: `raw` where there is one, else `content`."""
        return self.raw or self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Message):
    """What a tool said to one call, with what nobody but the record of calls is told.

    Example:
        Answer(role="tool", content="Error: no fig here", tool_call_id="call00000", error="no fig")
    """

    error: str = ""
    """Why the call failed; empty where it did what it was asked to."""
    seconds: float = 0.0
    """Wall seconds that the call took."""

    @property
    def plain(self) -> Message:
        """The message alone."""
        return Message(role=self.role, content=self.content, tool_call_id=self.tool_call_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call of a tool, and what came of it.

    Example:
        CallRecord(turn=0, id="call00000", name="add", arguments='{"a": 1}', ok=True, seconds=0.1)
    """

    turn: int
    """Number of the policy's turn that made it, from 0."""
    id: str
    """Of the call, unique in the episode."""
    name: str
    """Of the tool; empty where the call could not be read."""
    arguments: str
    """JSON as the model wrote it: hostile until parsed."""
    ok: bool
    """It was carried out, and did not fail."""
    seconds: float
    """Wall seconds; where the environment does not say, its share of the turn's."""
    error: str = ""
    """Why it is not ok."""

    @property
    def is_malformed(self) -> bool:
        """It could not even be read."""
        return not self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One problem, as data. Cheap to pickle, safe to log, never holds a live resource.

    Example:
        Task(id="17+25", prompt="What is 17 + 25?", payload={"answer": "42"})
    """

    id: str
    """Stable across runs and unique in its environment: journal, curricula and store key on it."""
    prompt: str = ""
    """The user's message, for the common case of a single one; or give `messages`."""
    messages: tuple[Message, ...] = ()
    """The opening conversation. Filled from `prompt` where it is left empty."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON schemas in the OpenAI shape, for models whose chat template takes tools."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """Ground truth, for graders only. Never rendered into a prompt."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What it is, for figures by part: category, severity, subset, or the `cluster` of tasks that
    resemble it. Never rendered into a prompt."""
    env: str = ""
    """Name of the environment that can run this task; set by whoever loads the environment."""
    budget: Budget | None = None
    """What an episode of this task may spend, where that is not what its environment's may."""

    def __post_init__(self) -> None:
        if not self.messages:
            opening = (Message(role="user", content=self.prompt),) if self.prompt else ()
            object.__setattr__(self, "messages", opening)


class Ending(StrEnum):
    """Why an episode stopped."""

    ANSWERED = "answered"
    TRUNCATED_TOKENS = "truncated_tokens"
    """The cap on the policy's own tokens was spent."""
    TRUNCATED_TURNS = "truncated_turns"
    TRUNCATED_TURN = "truncated_turn"
    """The last turn was longer than one may be (`Budget.turn_tokens`)."""
    TRUNCATED_TIME = "truncated_time"
    """The episode's time was over (`Budget.wall_s`)."""
    TRUNCATED_CONTEXT = "truncated_context"
    """The context was full: no room for another turn, or for anything of an observation."""

    @property
    def is_truncated(self) -> bool:
        """A limit ended it, not the policy. Graded all the same, as what was written."""
        return self is not Ending.ANSWERED


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTokens:
    """The nucleus of every position, ragged: position i kept `ids[starts[i]:starts[i + 1]]`.

    Positions that the policy did not sample keep nothing (an empty slice), and the learner then
    uses the whole vocabulary. With `top_p = 1` no position keeps anything.
    """

    ids: NDArray[np.int32]
    """(M,) vocabulary ids, in no particular order within a position."""
    starts: NDArray[np.int32]
    """(N + 1,) offsets into `ids`."""

    @classmethod
    def nothing(cls, num_tokens: int) -> KeptTokens:
        """No nucleus anywhere: `num_tokens` empty slices."""
        return cls(ids=np.zeros(0, np.int32), starts=np.zeros(num_tokens + 1, np.int32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The tokens of one episode: what the policy read and wrote, every token once.

    As a rule one growing stream. A template that shows earlier turns otherwise than they were
    written (without their thoughts, say) makes a tree of it: a later turn then follows what it
    read, from the last token that both have in common (`munro.rollout.branches`).
    """

    token_ids: NDArray[np.int32]
    """(N,) prompt, policy turns and observations, in the order in which they came to be."""
    sampled: NDArray[np.bool_]
    """(N,) True where the policy chose the token; False for prompt and observations."""
    behaviour_logp: NDArray[np.float32]
    """(N,) log-probability when sampled, renormalised over the nucleus; 0 where not sampled."""
    kept: KeptTokens
    """The nucleus at each sampled position."""
    versions: NDArray[np.int32]
    """(N,) version of the weights that produced the token; -1 where not sampled."""
    ending: Ending
    messages: tuple[Message, ...] = ()
    """The conversation after the opening one: policy turns and observations."""
    reply: str = ""
    """Text of the last policy turn."""
    num_cut: int = 0
    """Sampled positions whose nucleus was wider than the engine's candidate list."""
    routed_experts: NDArray[np.int16] | None = None
    """(N, layers, experts per token) that the inference engine computed each token with, for
    mixture-of-experts models; -1 where it reported none, and for the last token."""
    forks: tuple[tuple[int, int], ...] = ()
    """(place, after): the token at `place` follows the one at `after`, not the one before it; in
    the order of places. Empty for one growing stream."""
    calls: tuple[CallRecord, ...] = ()
    """Every call of a tool, turn by turn, in the order in which they were written."""

    @property
    def num_sampled(self) -> int:
        """Tokens the policy wrote."""
        return int(self.sampled.sum())

    @property
    def num_prompt(self) -> int:
        """Tokens before the first sampled one."""
        return int(self.sampled.argmax()) if self.sampled.any() else len(self.token_ids)

    @property
    def oldest_version(self) -> int:
        """Version of the oldest policy that wrote any of it: its staleness counts from here."""
        return int(self.versions[self.sampled].min()) if self.sampled.any() else -1
