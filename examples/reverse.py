"""The smallest environment; `munro env check examples/reverse.py` tries it."""

from munro.envs import Grade, SingleTurn, Task

WORDS = {"train": ("munro", "cairn", "belay", "gully", "scree"), "test": ("piton", "ridge")}


class Reverse(SingleTurn):
    """Spell a word backwards."""

    def tasks(self, split):
        return [Task(id=w, prompt=f"Spell {w!r} backwards.") for w in WORDS[split]]

    def grade(self, task, reply):
        return Grade.of(reply.strip() == task.id[::-1])

    def gold_reply(self, task):
        return task.id[::-1]
