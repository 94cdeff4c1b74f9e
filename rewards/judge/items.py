"""What graders that ask a judge take from options and items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.conversation import Question, turns_of
from munro.rewards.judge.judge import Judge
from munro.rewards.kinds import Field

MESSAGES = Field(
    what="all that was said before the response, [{role, content}]; for more than a question",
    types=(list,),
    is_required=False,
)


def question_of(item: Mapping[str, Any]) -> Question:
    """What was asked: the conversation, or of a lone question its text.

    Raises:
        ValueError: `messages` are no conversation.
    """
    turns = turns_of(item["messages"]) if item.get("messages") else ()
    if [turn.role for turn in turns] not in ([], ["user"]):
        return turns
    alone = turns[0].content if turns else ""
    return str(item.get("question") or item.get("prompt") or alone)


def judge_of(keys: Mapping[str, Any]) -> Judge:
    """A judge of one's own, from the keys of a `JudgeConfig`.

    Raises:
        ValueError: a key or its value is wrong.
    """
    return Judge(config_of(keys))


def config_of(keys: Mapping[str, Any]) -> JudgeConfig:
    """The keys of a `JudgeConfig`, checked.

    Raises:
        ValueError: a key or its value is wrong.
    """
    try:
        return JudgeConfig.model_validate(dict(keys))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(["judge", *map(str, first["loc"])])
        raise ValueError(f"{where}: {first['msg']}") from None


def need(given: Mapping[str, Any], name: str) -> str:
    """A field that a question cannot do without.

    Raises:
        ValueError: it is missing or empty.
    """
    text = str(given.get(name, ""))
    if not text.strip():
        raise ValueError(f"{name!r} is missing: the judge has nothing to go by")
    return text
