"""Attempts of a fleet as rows: names, seeds, labels, failures."""

from __future__ import annotations

from munro.envs.types import Message, Task
from munro.machine.evaluating import source
from munro.machine.evaluating.source import Drawn, FleetSource, labels_of, opening
from tests.builders import make_task
from tests.machine.evaluating.fleet import Answers


def test_what_is_wanted_comes_and_no_more(monkeypatch):
    monkeypatch.setattr(source, "WAVE", 4)
    tasks = {f"arithmetic/{n}": make_task(str(n)) for n in range(5)}
    answers = Answers()
    wanted = [("arithmetic/1", 0, 7), ("arithmetic/1", 2, 9), ("arithmetic/4", 1, 8)]
    rows = list(FleetSource(answers, {"sums": Drawn(tasks=tasks, cap=8)}).attempts("sums", wanted))
    assert [(row.task, row.run, row.seed) for row in rows] == wanted
    assert answers.asked == [("arithmetic", "1", 0), ("arithmetic", "1", 2), ("arithmetic", "4", 1)]
    assert rows[1].reply == "1, number 2"
    assert rows[0].prompt == "What is 1?"


def test_a_wave_never_parts_a_task(monkeypatch):
    monkeypatch.setattr(source, "WAVE", 3)
    sizes = []

    class Counted(Answers):
        def attempts(self, items):
            sizes.append([len(of) for _, _, _, of in items])
            return super().attempts(items)

    tasks = {str(n): make_task(str(n)) for n in range(3)}
    wanted = [(name, run, run) for name in tasks for run in range(2)]
    list(FleetSource(Counted(), {"e": Drawn(tasks=tasks, cap=8)}).attempts("e", wanted))
    assert sizes == [[2], [2], [2]]


def test_labels_are_the_tasks_own_and_those_of_its_payload():
    payload = {"severity": 2, "category": "colours", "answer": "secret", "twin": ["no", "text"]}
    task = Task(id="t", prompt="?", payload=payload, labels={"category": "mine", "cluster": "c"})
    assert labels_of(task) == {"severity": "2", "category": "mine", "cluster": "c"}


def test_a_conversation_is_kept_with_its_roles():
    talk = (Message(role="system", content="Be brief."), Message(role="user", content="Hello"))
    assert opening(Task(id="t", messages=talk)) == "[system]\nBe brief.\n\n[user]\nHello"
