"""What graders of transcripts take from items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.rewards.kinds import Field
from munro.rewards.trajectory.shown import Room
from munro.rewards.trajectory.steps import Transcript, transcript_of

FIELDS = {
    "transcript": Field(
        what="all of the attempt, [{role, content, tool_calls, tool_call_id}]; a climb gives it",
        types=(list,),
    ),
    "calls": Field(
        what="the record of its calls, [{id, ok, error}]; a climb gives it",
        types=(list,),
        is_required=False,
    ),
    "diff": Field(
        what="what it changed in a repository; a climb of `swe` gives it", is_required=False
    ),
}
TOKENS, ANSWER_TOKENS = 16_000, 400
LEAST_TOKENS, LEAST_ANSWER = 1000, 40


def told(item: Mapping[str, Any]) -> Transcript:
    """The transcript of an item.

    Raises:
        ValueError: it is none; names the message.
    """
    return transcript_of(item["transcript"], item.get("calls") or ())


def room_of(tokens: int, observation_tokens: int) -> Room:
    """How much a judge is shown at once.

    Raises:
        ValueError: less than would say anything.
    """
    if tokens < LEAST_TOKENS:
        raise ValueError(f"tokens = {tokens}: give at least {LEAST_TOKENS:,}.")
    if not LEAST_ANSWER <= observation_tokens <= tokens:
        raise ValueError(
            f"observation_tokens = {observation_tokens}: give {LEAST_ANSWER} to tokens = {tokens}."
        )
    return Room(tokens=tokens, answer=observation_tokens)
