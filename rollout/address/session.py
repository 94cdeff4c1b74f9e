"""One attempt as an agent plays it: its requests become turns, and all their tokens one tree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from munro.envs.base import heard
from munro.envs.types import CallRecord, Ending, Message, Task, Trajectory
from munro.rewards.errors import EnvironmentFailure, EpisodeError, GraderError, PolicyError
from munro.rollout.address.asked import Asked
from munro.rollout.address.errors import Refused, wrong
from munro.rollout.address.known import Answer, Going, Memory
from munro.rollout.calls import Reader
from munro.rollout.engine import Completion, Request
from munro.rollout.observe import CHARACTERS_A_TOKEN
from munro.rollout.render import BadTemplate, Renderer
from munro.rollout.seeds import request_seed
from munro.rollout.stream import Limits, Stream

Generate = Callable[[Sequence[Request]], Awaitable[list[Completion]]]
"""`Engine.generate`, or a router's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One turn, as the agent is told it."""

    number: int
    """In the attempt, from 0."""
    message: Message
    is_cut: bool
    """No token of the policy's ended it."""
    num_prompt: int
    num_sampled: int
    version: int
    """Of the weights that wrote its last token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How an attempt's turns are asked for, read and drawn."""

    generate: Generate
    renderer: Renderer
    reader: Reader
    limits: Limits
    seed: int
    key: tuple[int, int, int]
    """(task index, attempt, try)."""


class Session:
    """One attempt; its methods belong to one event loop.

    Args:
        task: that the agent works at.
        policy: that answers it.
        clock: seconds.
    """

    def __init__(
        self, task: Task, policy: Policy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._task, self._policy, self._clock = task, policy, clock
        self._memory = Memory()
        self._stream: Stream | None = None
        self._said: list[Message] = []
        self._calls: list[CallRecord] = []
        self._unheard: dict[int, Message] = {}
        """Turns whose calls nobody has answered, by number."""
        self._num_turns = 0
        self._num_running = 0
        self._reserved = 0
        """Tokens that running requests may yet sample."""
        self._freed = asyncio.Condition()
        self._changed = asyncio.Event()
        self._began: float | None = None
        self._active = clock()
        self._is_over = False
        self.ending: Ending | None = None
        """Which limit the agent has run into, as of its last request."""
        self.refusal = ""
        """What it was last told in place of an answer."""
        self.failure: EpisodeError | None = None
        """Why the attempt says nothing about the policy."""

    @property
    def is_over(self) -> bool:
        """It was closed."""
        return self._is_over

    async def answer(self, asked: Asked) -> Told:
        """The policy's turn.

        Raises:
            Refused: there is none, and why.
        """
        if self._is_over:
            raise Refused(403, "this key's attempt is over", code="attempt_over")
        if self.failure is not None:
            raise _unavailable(self.failure)
        try:
            return await self._answered(asked)
        except PolicyError as failure:
            self.fail(failure)
            raise _unavailable(failure) from failure

    def fail(self, failure: EpisodeError) -> None:
        """The attempt cannot be scored, whatever the agent does from now on."""
        self.failure = self.failure or failure
        self._changed.set()

    def close(self) -> None:
        """Nothing is answered any more."""
        self._is_over = True

    async def watch(self, start_s: float, reply_s: float) -> None:
        """Never return; raise once the attempt cannot be scored.

        Args:
            start_s: seconds that the agent may take to its first request.
            reply_s: seconds that it may take from an answer to its next request, or to its end.

        Raises:
            EpisodeError: an answer could not be had, or the agent is silent for too long.
        """
        while self.failure is None:
            key, most = ("reply_s", reply_s) if self._num_turns else ("start_s", start_s)
            left = None if self._num_running else most - (self._clock() - self._active)
            if left is not None and left <= 0:
                name = f"{self._task.env}/{self._task.id}"
                raise GraderError(f"the agent of {name} made no request for {key} = {most:g}")
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
            self._changed.clear()
        raise self.failure

    async def _answered(self, asked: Asked) -> Told:
        limits = self._policy.limits
        now = self._clock()
        self._began = now if self._began is None else self._began
        if self._num_turns >= limits.max_turns:
            raise self._over(Ending.TRUNCATED_TURNS, f"all {limits.max_turns} turns are taken")
        if 0 < limits.wall_s <= now - self._began:
            raise self._over(Ending.TRUNCATED_TIME, f"the {limits.wall_s:g} s are over")
        size = sum(len(message.content) for message in asked.messages)
        if size > limits.max_context * CHARACTERS_A_TOKEN:  # too long to even be counted
            raise self._too_long(f"more than {limits.max_context}")
        going = self._memory.going_on(asked.messages, asked.tools)
        prompt = self._prompt(going, asked)
        room = limits.max_context - len(prompt)
        if room <= 0:
            raise self._too_long(str(len(prompt)))
        number = self._num_turns
        self._num_turns += 1
        self._enter(going)
        try:
            caps = (room, limits.turn_tokens or room, asked.max_tokens or room)
            completion = await self._sampled(number, prompt, min(caps))
            if self._is_over:
                raise Refused(403, "this key's attempt is over", code="attempt_over")
            return self._tell(asked, going, prompt, number, completion)
        finally:
            self._num_running -= 1
            self._active = self._clock()
            self._changed.set()

    def _enter(self, going: Going) -> None:
        """A request is being answered; what it says of earlier calls is put on record."""
        self._num_running += 1
        self._changed.set()
        answer = going.answer
        if answer is not None and answer.number in self._unheard:
            turn = self._unheard.pop(answer.number)
            seen = going.messages[going.num_known :]
            self._calls += heard(answer.number, turn, seen, self._clock() - answer.at)[1]

    def _prompt(self, going: Going, asked: Asked) -> list[int]:
        """What the policy reads."""
        if asked.messages[-1].role == "assistant":
            raise wrong("the last message is the assistant's: there is nothing to answer")
        renderer, answer = self._policy.renderer, going.answer
        try:
            if answer is None or self._stream is None:
                return renderer.opening(asked.messages, asked.tools)
            known, rest = going.messages[: going.num_known], going.messages[going.num_known :]
            before = renderer.reread(known, rest, turns=answer.turns, tools=asked.tools)
            before = self._stream.up_to(answer.place) if before is None else before
            ids = renderer.observed(known, rest, last_token=before[-1], tools=asked.tools)
        except BadTemplate as error:
            raise wrong(str(error), "messages", "template") from error
        return before + (renderer.closed(ids) if answer.is_cut else ids)

    async def _sampled(self, number: int, prompt: list[int], wanted: int) -> Completion:
        """The policy's tokens; where few are left, once those who may take them have ended."""
        policy, limits = self._policy, self._policy.limits
        async with self._freed:
            await self._freed.wait_for(lambda: not self._reserved or self._left >= wanted)
            most = min(wanted, self._left)
            if most <= 0:
                raise self._over(
                    Ending.TRUNCATED_TOKENS,
                    f"all {limits.max_response_tokens} tokens of the attempt are spent",
                )
            self._reserved += most
        try:
            key = (*policy.key, number)
            (completion,) = await policy.generate(
                [
                    Request(
                        key=key,
                        prompt_ids=prompt,
                        max_tokens=most,
                        seed=request_seed(policy.seed, key),
                        temperature=limits.temperature,
                        top_p=limits.top_p,
                        top_k=limits.nucleus_candidates if limits.top_p < 1 else 0,
                        stop_token_ids=policy.renderer.stop_token_ids,
                        routed_from=self._num_routed(prompt),
                    )
                ]
            )
            return completion
        finally:
            self._reserved -= most
            async with self._freed:
                self._freed.notify_all()

    @property
    def _left(self) -> int:
        sampled = 0 if self._stream is None else self._stream.num_sampled
        return self._policy.limits.max_response_tokens - sampled - self._reserved

    def _num_routed(self, prompt: list[int]) -> int:
        """Leading tokens of which the experts are known; the stream itself stays as it is."""
        if self._stream is None:
            return 0
        ahead = self._stream.copy()
        ahead.reread(prompt)
        return ahead.num_routed

    def _tell(
        self, asked: Asked, going: Going, prompt: list[int], number: int, completion: Completion
    ) -> Told:
        """Put the turn on record, in one step: other requests may run beside this one."""
        if self._stream is None:
            self._stream = Stream(prompt, self._policy.limits)
        else:
            self._stream.reread(prompt)
        self._stream.write(completion)
        read, message = self._read(asked, prompt, number, completion)
        is_cut = not completion.stopped
        self._said += [*going.messages[max(going.unseen, going.num_known) :], message]
        if read.tool_calls:
            self._unheard[number] = read
        place = len(going.messages)
        turns = {} if going.answer is None else dict(going.answer.turns)
        answer = Answer(
            messages=(*going.messages, message),
            turns={**turns, place: completion.token_ids},
            place=self._stream.place,
            number=number,
            at=self._clock(),
            is_cut=is_cut,
        )
        self._memory.keep(answer, asked.tools)
        self.ending = self._cut_by(asked, completion) if is_cut else None
        return Told(
            number=number,
            message=message,
            is_cut=is_cut,
            num_prompt=len(prompt),
            num_sampled=len(completion.token_ids),
            version=int(completion.versions[-1]) if len(completion.versions) else -1,
        )

    def _read(
        self, asked: Asked, prompt: list[int], number: int, completion: Completion
    ) -> tuple[Message, Message]:
        """The turn with all its calls, and as the agent is told it.

        A call that cannot be read stays in the text, for the agent to answer it as it sees fit.
        """
        reader = self._policy.reader
        written = self._policy.renderer.said(completion.token_ids, prompt)
        reasoning, spoken = reader.family.parted(written)
        read = reader.message(written, turn=number, tools=asked.tools)
        if not asked.tools:
            read = replace(read, tool_calls=())
        good = tuple(call for call in read.tool_calls if not call.error)
        if good and len(good) == len(read.tool_calls):
            return read, read
        return read, replace(read, content=spoken, reasoning=reasoning, tool_calls=good)

    def _cut_by(self, asked: Asked, completion: Completion) -> Ending | None:
        """Which limit of the attempt cut a turn; None where the agent wanted no more of it."""
        limits, num = self._policy.limits, len(completion.token_ids)
        assert self._stream is not None
        if self._stream.cap <= 0 or self._stream.room <= 0:
            return self._stream.limit
        is_theirs = asked.max_tokens is not None and num >= asked.max_tokens
        return Ending.TRUNCATED_TURN if limits.turn_tokens and not is_theirs else None

    def _too_long(self, num_tokens: str) -> Refused:
        """The agent may ask again with less."""
        self.ending, most = Ending.TRUNCATED_CONTEXT, self._policy.limits.max_context
        return wrong(
            f"This model's maximum context length is {most} tokens. However, your messages "
            f"resulted in {num_tokens} tokens. Please reduce the length of the messages.",
            "messages",
            "context_length_exceeded",
        )

    def _over(self, ending: Ending, why: str) -> Refused:
        """A limit of the attempt: nothing that the agent asks is answered any more."""
        self.ending = ending
        return Refused(403, why, code="attempt_limit")

    def trajectory(self) -> Trajectory:
        """All that came of it.

        Raises:
            EnvironmentFailure: the policy was never asked, or never could answer.
        """
        if self._stream is None:
            told = f": it was told {self.refusal!r}" if self.refusal else ""
            raise EnvironmentFailure(
                f"the agent of {self._task.env}/{self._task.id} ended without one answer from its "
                f"address{told or ', which it never asked'}"
            )
        for number, turn in sorted(self._unheard.items()):
            self._calls += heard(number, turn, None, 0.0)[1]
        self._unheard.clear()
        calls = sorted(self._calls, key=lambda one: one.turn)
        ending = self.ending or Ending.ANSWERED
        return self._stream.trajectory(ending, tuple(self._said), tuple(calls))


def _unavailable(failure: EpisodeError) -> Refused:
    return Refused(503, str(failure), code="policy_unavailable", kind="server_error")
