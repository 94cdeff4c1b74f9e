"""The rollout worker: one attempt, turn by turn, as one growing token stream.

    prompt ──► policy turn ──► observations ──► policy turn ──► ... ──► Trajectory
               sampled         not sampled      sampled

A template that shows earlier turns otherwise than they were written makes a tree of it: the next
turn then grows from the last token that its prompt has in common with anything before.

What there is of an episode is its `Progress`. It outlives the environment that answers it: where
that is lost and restored, another `play` goes on with the same progress.

Waits for the engine (`Engine.generate`), then for the environment (`Episode.reply`), in turns.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from munro.envs.base import heard
from munro.envs.types import CallRecord, Ending, Message, Task, Trajectory
from munro.rollout.calls import Reader, any_reader
from munro.rollout.engine import Completion, Request
from munro.rollout.observe import ROOM, fitted
from munro.rollout.render import Renderer
from munro.rollout.seeds import request_seed
from munro.rollout.stream import Limits, Stream

__all__ = ["Generate", "Limits", "Progress", "Reply", "begun", "play"]

Generate = Callable[[Sequence[Request]], Awaitable[list[Completion]]]
"""`Engine.generate`, or a router's, or a lockstep's."""
Reply = Callable[[Message], Awaitable[Sequence[Message] | None]]
"""`Episode.reply`, wrapped so that it never blocks and never waits for ever."""

CUT = "Your turn was cut after {} tokens, and nothing in it was done. Go on, in a shorter turn."
"""What the policy is told where a turn was longer than one may be."""


@dataclass(slots=True)
class Progress:
    """What there is of an episode so far."""

    stream: Stream
    said: list[Message] = field(default_factory=list)
    """After the opening messages: turns, and what followed them."""
    calls: list[CallRecord] = field(default_factory=list)
    num_turns: int = 0
    """Turns of the policy, the last of which may wait for its answer."""
    num_replies: int = 0
    """Turns that the environment has answered: what its state depends on."""
    waits: bool = False
    """The last turn has not been answered."""
    is_cut: bool = False
    """The last turn was longer than one may be."""
    ending: Ending | None = None
    seconds: float = 0.0
    """Wall seconds that it has taken."""

    def copy(self) -> Progress:
        """The same, however this one goes on."""
        said, calls = [*self.said], [*self.calls]
        return replace(self, stream=self.stream.copy(), said=said, calls=calls)


def begun(task: Task, renderer: Renderer, limits: Limits) -> Progress:
    """An episode of which nothing has been played.

    Raises:
        ValueError: the prompt alone leaves no room in the context.
        BadTemplate: the template cannot show the conversation.
    """
    stream = Stream(renderer.opening(task.messages, task.tools), limits)
    if stream.room <= 0:
        raise ValueError(
            f"the prompt of {task.env}/{task.id} is {stream.length} tokens long and leaves no "
            f"room in a context of {limits.max_context}"
        )
    return Progress(stream)


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
    progress: Progress | None = None,
    on_answer: Callable[[], Awaitable[None]] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trajectory:
    """Run one episode to its end.

    It ends when the environment has nothing more to say, when the response cap is spent or the
    context full, after `max_turns`, or when its time is over. Every turn's draw depends on `seed`
    and `key` alone. No turn reads more than the context: an observation is cut to what fits, and
    one that no turn follows is left out.

    A turn that is longer than `turn_tokens` is cut. It then ends by a token that nobody sampled,
    and the policy is told of it in place of an answer; or it ends the episode (`cut_turn`).

    Args:
        task: what is asked.
        reply: takes the policy's message; gives observations, or None when the episode is over.
        generate: completes requests.
        renderer: the template.
        limits: caps and sampling.
        seed: the run's seed.
        key: (task index, attempt, try).
        reader: of the calls in the policy's turns; of any family's unless given.
        progress: where to go on from; from the start unless given. It is kept up to date.
        on_answer: called when the environment has answered a turn.
        clock: seconds.

    Raises:
        ValueError: the prompt alone leaves no room in the context.
        BadTemplate: the template cannot show the conversation.
        PolicyError: no completion could be had.
    """
    progress = begun(task, renderer, limits) if progress is None else progress
    reader = reader or any_reader()
    began = clock() - progress.seconds
    while progress.ending is None:
        if not progress.waits:
            before = progress.stream.token_ids()
            turn = (*key, progress.num_turns)
            request = _request(progress.stream, before, renderer, limits, seed=seed, key=turn)
            (completion,) = await generate([request])
            written = renderer.said(completion.token_ids, before)
            message = reader.message(written, turn=progress.num_turns, tools=task.tools)
            _write(progress, completion, message, limits)
            progress.seconds = clock() - began
        if progress.waits:
            observations = await _answer(progress, reply, limits, clock)
            progress.seconds = clock() - began
            _observe(progress, observations, task, renderer, limits)
            if on_answer is not None and not progress.is_cut:
                await on_answer()
    return progress.stream.trajectory(progress.ending, tuple(progress.said), tuple(progress.calls))


def _write(progress: Progress, completion: Completion, message: Message, limits: Limits) -> None:
    """Append a turn; one that neither ended itself nor may be answered ends the episode."""
    stream = progress.stream
    could = min(stream.cap, stream.room)
    stream.write(completion)
    progress.num_turns += 1
    progress.is_cut = not completion.stopped and 0 < limits.turn_tokens < could
    if progress.is_cut:
        message = replace(message, tool_calls=())  # none is carried out
    progress.said.append(message)
    if completion.stopped or progress.is_cut:
        progress.waits = True
    else:
        progress.ending = stream.limit


async def _answer(
    progress: Progress, reply: Reply, limits: Limits, clock: Callable[[], float]
) -> list[Message] | None:
    """What follows the last turn; None where the episode is over."""
    turn = progress.said[-1]
    if progress.is_cut:
        return [Message(role="user", content=CUT.format(limits.turn_tokens))]
    began = clock()
    answered = await reply(turn)
    number = progress.num_turns - 1
    observations, records = heard(number, turn, answered, clock() - began)
    progress.calls += records
    progress.num_replies += 1
    return observations


def _observe(
    progress: Progress,
    observations: list[Message] | None,
    task: Task,
    renderer: Renderer,
    limits: Limits,
) -> None:
    """Append what followed the last turn, or the ending."""
    progress.waits = False
    is_last = progress.num_turns >= limits.max_turns
    if observations is None:
        progress.ending = Ending.ANSWERED
    elif progress.is_cut and (is_last or limits.cut_turn == "end"):
        progress.ending = Ending.TRUNCATED_TURN
    elif is_last:
        progress.ending = Ending.TRUNCATED_TURNS
    elif 0 < limits.wall_s <= progress.seconds:
        progress.ending = Ending.TRUNCATED_TIME
    else:
        seen = _seen(progress, observations, task, renderer, limits)
        if seen is None:
            progress.ending = progress.stream.limit
        else:
            progress.said += seen


def _seen(
    progress: Progress,
    observations: Sequence[Message],
    task: Task,
    renderer: Renderer,
    limits: Limits,
) -> list[Message] | None:
    """Append the observations, cut to what fits; None where no turn could follow them."""
    stream, said = progress.stream, progress.said
    if stream.cap <= 0:
        return None
    messages = (*task.messages, *said)
    first = len(task.messages)
    turns = stream.turns([first + place for place, one in enumerate(said) if one.is_sampled])
    history = renderer.reread(messages, observations, turns=turns, tools=task.tools)
    # a history without its thoughts leaves more room
    room = stream.room if history is None else limits.max_context - len(history)
    last_token = history[-1] if history else stream.last_token

    def shown(seen: Sequence[Message]) -> list[int]:
        ids = renderer.observed(messages, seen, last_token=last_token, tools=task.tools)
        return renderer.closed(ids) if progress.is_cut else ids

    fit = None
    if room > 0:
        fit = fitted(
            observations,
            shown,
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
    stream: Stream,
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
        max_tokens=min(stream.cap, stream.room, limits.turn_tokens or stream.room),
        seed=request_seed(seed, key),
        temperature=limits.temperature,
        top_p=limits.top_p,
        top_k=limits.nucleus_candidates if limits.top_p < 1 else 0,
        stop_token_ids=renderer.stop_token_ids,
        routed_from=stream.num_routed,
    )
