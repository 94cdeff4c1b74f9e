"""k attempts at each question by each tier; what was answered is remembered.

An attempt that failed (no connection, time-out, a refusal of the service) is no wrong answer: it is
made again, and where it fails every time it is kept as what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from munro.questions.answers.config import TierConfig
from munro.questions.answers.tiers.address import Address
from munro.questions.answers.tiers.base import Answered, Ask, Failed, Tier
from munro.questions.answers.tiers.served import Served
from munro.questions.errors import QuestionsError
from munro.rewards.judge.cache import VerdictCache
from munro.rewards.math import extract, last_number

MOST_SILENT = 32
"""Requests without any answer after which a tier is taken for gone, though it answered before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What a tier made of a question. A row of the stage `attempts`.

    Example:
        Attempts(id="rows.jsonl:1", tier="small", answers=("42", ""), failed=())
    """

    id: str
    tier: str
    answers: tuple[str, ...]
    """Final answers of the attempts that were made, empty where there was none."""
    failed: tuple[str, ...] = ()
    """Why the others failed."""


class Trying:
    """A tier with what it is remembered to have said. Use as a context manager, or close it."""

    def __init__(self, config: TierConfig, tier: Tier, cache: VerdictCache | None) -> None:
        self.name = config.name
        self._config, self._tier, self._cache = config, tier, cache
        self._has_answered = False
        self._silent = 0

    def attempts(
        self, questions: Sequence[tuple[str, str]], count: int, held: Mapping[str, Attempts]
    ) -> list[Attempts]:
        """Attempts at (id, question), in their order.

        Args:
            questions: what to try.
            count: attempts at each.
            held: by id, attempts that were made before; where none failed they stand.

        Raises:
            QuestionsError: the tier answers nothing at all, any more, or cannot be run.
        """
        asks = {
            name: [Ask(text=self._asked(text), number=number) for number in range(count)]
            for name, text in questions
            if name not in held or held[name].failed
        }
        made = self._replies([ask for some in asks.values() for ask in some], is_again=bool(held))
        return [
            self._made(name, [made[ask] for ask in asks[name]]) if name in asks else held[name]
            for name, _ in questions
        ]

    def close(self) -> None:
        """Leave no process behind. Safe to call twice."""
        self._tier.close()

    def __enter__(self) -> Trying:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _asked(self, text: str) -> str:
        return self._config.prompt.replace("{question}", _whole(text))

    def _replies(self, asks: Sequence[Ask], *, is_again: bool) -> dict[Ask, Answered]:
        keys = {ask: self._tier.key(ask) for ask in dict.fromkeys(asks)}
        made: dict[Ask, Answered] = {}
        for ask, key in keys.items():
            known = self._cache.get(key) if self._cache else None
            if known is not None:
                made[ask] = known

        def remember(ask: Ask, reply: str) -> None:
            if self._cache is not None:
                self._cache.put(keys[ask], _whole(reply))

        left = [ask for ask in keys if ask not in made]
        new = self._tier.replies(left, remember) if left else []
        self._has_answered = self._has_answered or bool(made)
        if not is_again:
            self._require_some(new)
        # as the cache would give it back
        whole = [_whole(one) if isinstance(one, str) else one for one in new]
        return made | dict(zip(left, whole, strict=True))

    def _require_some(self, new: Sequence[Answered]) -> None:
        """Do not take an address that is down for thousands of attempts that failed."""
        if any(isinstance(one, str) for one in new):
            self._has_answered, self._silent = True, 0
            return
        failures = [one for one in new if isinstance(one, Failed)]
        passing = sum(one.may_pass for one in failures)
        self._silent = self._silent + passing if passing == len(new) else 0
        if failures and (not self._has_answered or self._silent >= MOST_SILENT):
            raise QuestionsError(
                f"tier {self._config.name}{self._tier.where} answers nothing "
                f"({' '.join(failures[-1].why.split())[:200]}): mend that; then the same command "
                "goes on."
            )

    def _made(self, name: str, group: Sequence[Answered]) -> Attempts:
        final = extract if self._config.final == "answer" else last_number
        return Attempts(
            id=name,
            tier=self._config.name,
            answers=tuple(_whole(final(one) or "") for one in group if isinstance(one, str)),
            failed=tuple(
                " ".join(one.why.split())[:200] for one in group if isinstance(one, Failed)
            ),
        )


def tier_of(config: TierConfig) -> Tier:
    """The tier of a config; nothing is sent or loaded yet.

    Raises:
        QuestionsError: its key is not set, or its checkpoint cannot be used.
    """
    return Address(config) if config.base_url else Served(config)


def cache_in(folder: str) -> VerdictCache | None:
    """What remembers replies; None where nothing does.

    Raises:
        QuestionsError: the folder cannot be used.
    """
    try:
        return VerdictCache(Path(folder).expanduser()) if folder else None
    except ValueError as error:
        raise QuestionsError(str(error).replace("judge.cache", "cache")) from error


def _whole(text: str) -> str:
    """A text without halves of surrogate pairs, which nothing can send or keep."""
    return text.encode("utf-8", "replace").decode("utf-8")
