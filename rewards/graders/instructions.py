"""Instructions as a grader: what a task lists, or what the TOML lists for all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from munro.rewards.instructions import Checker, checkers
from munro.rewards.instructions.graded import Mode, Score, check_options, graded
from munro.rewards.kinds import Field, Grader, Item, Kind, Part, Scale
from munro.rewards.types import Grade


class InstructionsGrader(Grader):
    """The share of instructions that a response follows; passed if it follows all of them."""

    kind = Kind(
        summary="instructions that a program can check: IFEval's, IFBench's and others",
        fields={
            "instructions": Field(
                what='a list such as [{"id": "punctuation:no_comma"}], with kwargs where it needs '
                "some",
                types=(list,),
                is_required=False,
            ),
            "instruction_id_list": Field(
                what="ids as IFEval has them", types=(list,), is_required=False
            ),
            "kwargs": Field(
                what="of each of instruction_id_list", types=(list,), is_required=False
            ),
        },
        scale=Scale(parts={"*": Part()}),
        is_light=True,
    )

    def __init__(
        self,
        instructions: Sequence[Mapping[str, Any]] = (),
        mode: Mode = "strict",
        score: Score = "share",
    ) -> None:
        """
        Args:
            instructions: for every task, beside its own.
            mode: "strict", or "loose" as IFEval has it.
            score: pay the share of what was followed, or only all of it.

        Raises:
            ValueError: an instruction, its arguments or an option is none.
        """
        check_options(score, mode)
        self._always = checkers(instructions)
        self._score, self._mode = score, mode

    def grade(self, item: Item) -> Grade:
        """Check each instruction; `parts` has one entry for each, by its name."""
        return graded(self._wanted(item), str(item["response"]), score=self._score, mode=self._mode)

    def check(self, item: Item) -> None:
        """Refuse instructions that are none."""
        self._wanted(item)

    def _wanted(self, item: Item) -> list[Checker]:
        named = item.get("instruction_id_list")
        listed = item.get("instructions", ()) if named is None else named
        kwargs = None if named is None else item.get("kwargs") or [{}] * len(named)
        wanted = [*self._always, *checkers(listed, kwargs)]
        if not wanted:
            raise ValueError("there are no instructions: give the task some, or the grader")
        return wanted
