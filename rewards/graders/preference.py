"""Preference: a model that was trained from comparisons reads a response beside others."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from munro.rewards.judge.items import MESSAGES
from munro.rewards.kinds import Field, Grader, Item, Kind, Part, Scale
from munro.rewards.preference.context import context_of, messages_of
from munro.rewards.types import Grade


class PreferenceGrader(Grader):
    """`munro.rewards.preference`: how a response stands beside others to the same prompt."""

    kind = Kind(
        summary="a preference model, which reads a response beside others",
        fields={
            "prompt": Field(what="what was asked"),
            "messages": MESSAGES,
            "others": Field(
                what="responses to compare with; graded as a group without",
                types=(list,),
                is_required=False,
            ),
        },
        scale=Scale(parts={"preference": Part()}),
        file_args=("model",),
        model_args=("model",),
        in_process=True,
        workers=1,
        tries=1,
    )

    def __init__(self, model: str, base_url: str = "", device: str = "") -> None:
        """
        Args:
            model: a checkpoint folder, run in this process.
            base_url: of a server that serves it instead; the folder is then for its tokenizer.
            device: as torch names it; empty takes a GPU where there is one.

        Raises:
            ValueError: the checkpoint cannot score.
        """
        from munro.rewards.preference import PreferenceModel

        self._lock = threading.Lock()
        if base_url:
            self._model = PreferenceModel.connect(base_url, model, tokenizer=model)
        else:
            self._model = PreferenceModel.load(model, device=device)

    def check(self, item: Item) -> None:
        """Refuse messages that are none."""
        _context(item)

    def grade(self, item: Item) -> Grade:
        """The response's grade among `others`."""
        with self._lock:
            candidates = [item["response"], *item.get("others", ())]
            return self._model.grade(_context(item), candidates)[0]

    def grade_group(self, items: Sequence[Item]) -> list[Grade]:
        """The grades of several responses to one prompt, among each other."""
        with self._lock:
            return self._model.grade(_context(items[0]), [item["response"] for item in items])

    def as_shown(self, context: str, candidates: Sequence[str]) -> list[float]:
        """Scores from one reading of the candidates in their order: what a place is worth shows."""
        with self._lock:
            return self._model.score_without_rotation([(context, candidates)])[0]


def _context(item: Item) -> str:
    """All that was said before the response, as models are trained to read it."""
    messages = item.get("messages")
    return context_of(messages_of(messages, "messages")) if messages else str(item["prompt"])
