"""A package of the shape of bfcl-eval, with tasks and mock interfaces of a few lines."""

from __future__ import annotations

import json
from pathlib import Path

from munro.envs.bfcl.apis import MODULES, ROOM
from munro.envs.bfcl.package import CATEGORIES, RESTRAINT

LONG = """
CARDS = {"gold": {"balance": 100}}
"""
DESK = """
import random
from . import long_context

class MathAPI:
    def add(self, a, b=0):
        return {"result": a + b}

class TwitterAPI:
    def crunch(self, n):
        total = 0
        for k in range(n):
            total += k
        return total

    def fill(self, n):
        return len("x" * (n * 10**9))

class {name}:
    def __init__(self):
        self.cards = {{}}
        self.notes = []
        self.seen = set()
        self._secret = 0

    def _load_scenario(self, scenario, long_context=False):
        self._random = random.Random(7)
        self.notes = scenario.get("notes", [])
        if long_context:
            self.cards.update(globals()["long_context"].CARDS)

    def note(self, text, times=1):
        if not text:
            return {{"error": "nothing to note"}}
        self.notes += [text] * times
        self.seen.add(text)
        return None

    def look(self):
        self._secret += 1
        return {{"notes": self.notes}}

    def pay(self, card, amount):
        self.cards[card]["balance"] -= amount
        return {{"balance": self.cards[card]["balance"]}}

    def ticket(self):
        self._last = self._random.randint(0, 9999)
        return {{"ticket": self._last}}

    def _hidden(self):
        self.notes = []
"""


def described(name, **fields):
    """A tool, as the package writes it."""
    schema = {"type": "dict", "properties": fields, "required": [*fields][:1]}
    return {"name": name, "description": f"{name} it.", "parameters": schema, "response": {}}


TOOLS = {
    "MathAPI": [
        described("add", a={"type": "float"}, b={"type": "float"}),
    ],
    "TwitterAPI": [
        described("crunch", n={"type": "integer"}),
        described("fill", n={"type": "integer"}),
    ],
    "TicketAPI": [
        described("note", text={"type": "string"}, times={"type": "integer"}),
        described("look"),
        described("pay", card={"type": "string"}, amount={"type": "float"}),
        described("ticket"),
    ],
}


def talk(task_id, turns, gold, **more):
    """A conversation and its gold calls."""
    question = [[{"role": "user", "content": said}] if said else [] for said in turns]
    row = {
        "id": task_id,
        "question": question,
        "initial_config": {"TicketAPI": {"notes": ["old"]}},
        "involved_classes": ["TicketAPI", "MathAPI"],
    }
    return row | more, gold


TALKS = {
    "multi_turn_base": [
        talk(
            "multi_turn_base_0",
            ["Note tea.", "Sum it: 2 and 3."],
            [["note('tea')", "ticket()"], ["add(a=2, b=3)"]],
        ),
        talk("multi_turn_base_1", ["What is noted, and 17 + 4?"], [["look()", "add(17, 4)"]]),
    ],
    "multi_turn_miss_func": [
        talk(
            "multi_turn_miss_func_0",
            ["Note tea.", "", "Thanks; now what is noted?"],
            [[], ["note(text='tea', times=2)"], ["look()"]],
            missed_function={"1": ["note"]},
            excluded_function=["pay"],
        ),
    ],
    "multi_turn_miss_param": [
        talk(
            "multi_turn_miss_param_0",
            ["Note.", "Tea, and take a ticket."],
            [[], ["note('tea')", "ticket()"]],
            involved_classes=["TicketAPI", "TwitterAPI"],
        ),
    ],
    "multi_turn_long_context": [
        talk("multi_turn_long_context_0", ["Pay 5."], [["pay(card='gold', amount=5)"]]),
    ],
}
WEATHER = described("sky.weather", city={"type": "string"}, days={"type": "integer"})
SINGLES = {
    "parallel": [
        (
            "parallel_0",
            [
                {"sky.weather": {"city": ["Bern", "Berne, CH"], "days": ["", 1]}},
                {"sky.weather": {"city": ["Basel"], "days": [3]}},
            ],
        ),
        ("parallel_1", [{"sky.weather": {"town": ["Bern"]}}]),  # no such argument: wrong in itself
    ],
}


def made(folder: Path) -> Path:
    """The package, in a new folder; what `data` names."""
    code = folder.joinpath(*ROOM.split("."))
    code.mkdir(parents=True)
    for place in (folder / "bfcl_eval", folder / "bfcl_eval" / "eval_checker", code.parent, code):
        (place / "__init__.py").write_text("")
    (code / "long_context.py").write_text(LONG)
    for name, file in MODULES.items():
        own = "Other" if name in ("MathAPI", "TwitterAPI") else name
        body = DESK.replace("class {name}:", f"class {own}:")
        (code / f"{file}.py").write_text(body.replace("{{", "{").replace("}}", "}"))
    data = folder / "bfcl_eval" / "data"
    for name, file in MODULES.items():
        written(data / "multi_turn_func_doc" / f"{file}.json", TOOLS.get(name, []))
    for category in CATEGORIES:
        rows, gold = [], []
        for row, calls in TALKS.get(category, []):
            rows.append(row)
            gold.append({"id": row["id"], "ground_truth": calls})
        for task_id, calls in SINGLES.get(category, []):
            rows.append(single(task_id))
            gold.append({"id": task_id, "ground_truth": calls})
        if category in RESTRAINT:
            rows = [single(f"{category}_{number}") for number in range(2)]
        else:
            written(data / "possible_answer" / f"BFCL_v4_{category}.json", gold)
        written(data / f"BFCL_v4_{category}.json", rows)
    return folder


def single(task_id):
    """A task of one turn."""
    question = [[{"role": "user", "content": f"Weather? ({task_id})"}]]
    return {"id": task_id, "question": question, "function": [WEATHER]}


def written(file: Path, rows):
    """A file of JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(map(json.dumps, rows)))
