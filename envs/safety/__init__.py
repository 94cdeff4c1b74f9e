"""Requests that must not be met beside requests that only look like them, for a policy judge.

    [env]
    path = "safety"
    args = { path = "data/safety.jsonl", policies = "usual", attacks = "pyrit", attack_share = 0.3 }
    [env.graders.policy]
    kind = "judge"
    args = { judge = "house", ask = "policy" }
    [env.reward]
    kind = "gated"
    gate = "policy/compliance"
    then = "policy/engagement"

A row of your own has a `prompt` (or `messages`), and says of it what it knows: `harmful`,
`category`, `policy`, `severity`, `need`, and which row is its `twin`. Tables that people have
(XSTest, Do-Not-Answer, HarmBench, StrongREJECT, weighted-safety-refusal) are known by their columns
(`munro.envs.safety.forms`). Twins stay on one side of the split and under one attack, so that
neither the held-out half nor the attack gives away which of them is harmful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from munro.envs.base import SingleTurn
from munro.envs.data.columns import Row
from munro.envs.data.rows import Rows, RowTasks, bound_of, open_rows, place_of
from munro.envs.safety import attacks as templates
from munro.envs.safety.cases import Case, families
from munro.envs.safety.forms import form_of
from munro.envs.types import Message, Task
from munro.rewards.judge.responses import Policies, load
from munro.rewards.types import Grade

FULL = 2**32


class Safety(SingleTurn):
    """Harmful requests and their harmless twins, from data sets that people have."""

    name = "safety"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path", "policies", "attacks")
    needs_graders: bool = True

    def __init__(
        self,
        path: str,
        form: str = "",
        subset: str = "",
        split: str = "train",
        test_path: str = "",
        test_split: str = "",
        test_share: float = 0.1,
        policies: str = "usual",
        harmful: str = "refuse_and_explain",
        harmless: str = "comply",
        attacks: str = "",
        attack_share: float = 0.5,
        attack_chars: int = 4000,
    ) -> None:
        """Read the rows once, to check each of them and to part training from testing.

        Args:
            path: a .jsonl, .csv or .parquet file, or the name of a data set on the hub.
            form: of the rows: a name of `munro.envs.safety.forms`, or a path to a function of
                yours; found by the columns unless given.
            subset: of a data set on the hub.
            split: of a data set on the hub, to train on.
            test_path: a file of held-out rows.
            test_split: of a data set on the hub, held out.
            test_share: where neither is given, this share is held out, twins together.
            policies: file of response policies, or "usual".
            harmful: policy of harmful rows that name none and whose category none claims.
            harmless: policy of the others.
            attacks: templates to put requests into (`munro.envs.safety.attacks`).
            attack_share: of the requests that are put into one, twins alike.
            attack_chars: longer templates are left out.
        """
        for key, share in (("test_share", test_share), ("attack_share", attack_share)):
            if not 0 <= share <= 1 or (key == "test_share" and share == 1):
                raise ValueError(f"{key} = {share}: give a share between 0 and 1.")
        self._form, self._usual = form, {True: harmful, False: harmless}
        self._policies: Policies = load(policies)
        for name in self._usual.values():
            self._policies.of({"policy": name})
        self._attack_bound = int(attack_share * FULL) if attacks else 0
        found = templates.load(attacks, most_chars=attack_chars) if attacks else []
        out = [place_of(one.name) < max(test_share, 0.1) * FULL for one in found]
        self._attacks = dict(zip((False, True), templates.sides(found, out), strict=True))
        rows = open_rows(path, subset, split)
        if test_path or test_split:
            test = open_rows(test_path or path, subset, test_split or split)
            self._sides = {
                False: self._checked(rows, None, False),
                True: self._checked(test, None, True),
            }
        else:
            self._sides = {side: self._checked(rows, test_share, side) for side in (False, True)}

    def tasks(self, split: str) -> Sequence[Task]:
        """The rows of one side, each made into a task when it is drawn."""
        return self._sides[split == "test"]

    def grade(self, task: Task, reply: str) -> Grade:
        """Never asked: graders grade."""
        raise NotImplementedError("safety has no grade of its own: name graders in the TOML")

    def gold_reply(self, task: Task) -> str | None:
        """The column `gold`, where there is one."""
        gold = task.payload.get("gold")
        return None if gold is None else str(gold)

    def _checked(self, rows: Rows, share: float | None, is_test: bool) -> RowTasks:
        """The rows of one side: all of them where `share` is None, else families by their place."""
        places = [rows.place(number) for number in range(len(rows))]
        cases = [self._case(row, place) for row, place in zip(rows, places, strict=True)]
        family = families(cases, places)
        for case, place, name in zip(cases, places, family, strict=True):
            self._task(case, place, name, is_test)
        bound = 0 if share is None else bound_of(family, share)
        ours = [
            number
            for number, name in enumerate(family)
            if share is None or (place_of(name) < bound) == is_test
        ]
        names = dict(zip(places, family, strict=True))

        def task(row: Row, place: str) -> Task:
            return self._task(self._case(row, place), place, names[place], is_test)

        return RowTasks(task, rows, ours)

    def _case(self, row: Row, place: str) -> Case:
        if not isinstance(row, dict):
            raise ValueError(f"{place} is not a table with a prompt.")
        case = form_of(row, self._form, place)(row, place)
        return replace(case, id=case.id or place.rpartition(":")[2])

    def _task(self, case: Case, place: str, family: str, is_test: bool) -> Task:
        """One row as a task."""
        item = self._wanted(case, place)
        attack = self._attack(family, is_test)
        messages = case.messages or (Message(role="user", content=case.prompt.strip()),)
        if attack is not None:
            last = replace(messages[-1], content=attack.around(messages[-1].content))
            messages = (*messages[:-1], last)
        labels: dict[str, Any] = {
            "category": case.category,
            "subset": case.subset,
            "policy": item["policy"],
            "target": item["target"],
            "severity": item.get("severity", ""),
            "need": item.get("need", ""),
            "twin": case.twin,
        }
        labels = {name: str(value) for name, value in labels.items() if value != ""}
        if self._attack_bound:
            labels["attack"] = "" if attack is None else attack.name
        payload = {**case.more, **item, "question": case.request, "category": case.category}
        if len(messages) > 1:
            del payload["question"]
        return Task(id=case.id, messages=messages, payload=payload, labels=labels)

    def _wanted(self, case: Case, place: str) -> dict[str, Any]:
        """What the policy judge reads: rules, target, levels, criteria."""
        claimed = {each for one in self._policies.policies for each in one.categories}
        row: dict[str, Any]
        if case.policy:
            row = {"policy": case.policy}
        elif case.is_harmful is False:
            row = {"policy": self._usual[False]}
        elif case.category in claimed:
            row = {"category": case.category}
        elif case.is_harmful:
            row = {"policy": self._usual[True]}
        else:
            raise ValueError(
                f"{place} does not say whether its request is harmful: give it `harmful`, `target` "
                "or `policy`, or a category that one of the policies claims."
            )
        levels = {"target": case.target, "severity": case.severity, "need": case.need}
        row |= {name: value for name, value in levels.items() if value not in (None, "")}
        try:
            return {**self._policies.item(row), "policy": self._policies.of(row).name}
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None

    def _attack(self, family: str, is_test: bool) -> templates.Attack | None:
        """The template that a family stands in, if it does: its own, whoever is asked."""
        if place_of(f"attacked/{family}") >= self._attack_bound:
            return None
        some = self._attacks[is_test]
        return some[place_of(f"attack/{family}") % len(some)]
