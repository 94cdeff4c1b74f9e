"""A served checkpoint beside its climb: prompts, and two harnesses of others at its address.

    python benchmarks/evaluation/serving.py MODEL --tasks sums --harness-python PYTHON

For every template: a hundred conversations through `/tokenize` of the served checkpoint, each to be
token for token what a climb makes of it. Then, in the first template: lm-eval and inspect, four
runs each, by the offline task files in `tasks/`, with their means and intervals as Munro makes
them; and the four copies of one of those runs that must be refused.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from munro.envs.arithmetic import Arithmetic
from munro.envs.digits import Digits
from munro.envs.types import Message, ToolCall
from munro.evaluation.figures import figures
from munro.evaluation.harnessed import Order, attempts, require_independent
from munro.evaluation.job import BadHarness
from munro.evaluation.serve import Address, require_same, served
from munro.evaluation.templates import TEMPLATES, Conversation, live_texts
from munro.evaluation.types import AttemptRow
from munro.rollout.render import BadTemplate, Renderer

TASKS = Path(__file__).with_name("tasks").absolute()
TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": 'Look "here" — é.',
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    },
}
WORDS = [
    "the", "a", "Ben", "17", "+", "25", "=", "\n", "\n\n", "  ", "\t", "é", "中文", "🏔", "<b>", "&",
    "{{ x }}", "{% if %}", "'", '"', "\\n", "<think>", "</think>", "User:", "Assistant:", "",
]  # fmt: skip


def conversations(live: Sequence[str]) -> Iterator[Conversation]:
    """Of every shape that a climb asks, half of them with special tokens in their texts."""
    rng = random.Random(16)

    def text(hostile: bool) -> str:
        words = WORDS + list(live) * 3 if hostile else WORDS
        return " ".join(rng.choice(words) for _ in range(rng.randint(1, 30))).strip(" ") or "?"

    for number in itertools.count():
        hostile = number % 2 == 1
        messages = [Message(role="system", content=text(hostile))] if number % 3 == 0 else []
        messages.append(Message(role="user", content=text(hostile)))
        for _ in range(rng.randint(0, 2)):
            messages.append(Message(role="assistant", content=text(hostile)))
            messages.append(Message(role="user", content=text(hostile)))
        if number % 10 == 9:
            call = ToolCall(id="call00000", name="look", arguments=json.dumps({"at": "x"}))
            messages.append(Message(role="assistant", content="", tool_calls=(call,)))
            said = Message(role="tool", content=text(hostile), tool_call_id="call00000")
            messages.append(said)
        yield tuple(messages), (TOOL,) if number % 10 in (4, 9) else ()


def write_rows(folder: Path, count: int) -> None:
    """The tasks' rows, from the environments' held-out tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = Arithmetic(digits=2).tasks("test")
    lines = [
        {"prompt": sums[at].prompt, "answer": str(sums[at].payload["answer"])}
        for at in range(min(count, len(sums)))
    ]
    (folder / "sums.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    digits = Digits().tasks("test")
    rows = [
        {"prompt": digits[at].prompt, "digits": str(digits[at].payload["named"])}
        for at in range(min(count, len(digits)))
    ]
    (folder / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def told(name: str, rows: Sequence[AttemptRow]) -> dict[str, float]:
    """Print what a harness's runs come to, and give it."""
    found = figures(rows)
    runs = len({row.run for row in rows})
    differ = sum(
        len({row.reply for row in rows if row.task == task}) > 1 for task in {r.task for r in rows}
    )
    print(
        f"{name:<8} {len(rows) // runs} tasks x {runs} runs: {found['pass_rate']}; replies differ "
        f"between runs on {differ} tasks; seeds {sorted({row.seed for row in rows})}"
    )
    rate = found["pass_rate"]
    return {"mean": rate.mean, "low": rate.low, "high": rate.high, "tasks_that_differ": differ}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tasks", choices=["sums", "digits"], default="sums")
    parser.add_argument("--templates", nargs="+", default=list(TEMPLATES))
    parser.add_argument("--harness-python", default="")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--out", default="benchmark-serving")
    told_ = parser.parse_args()
    out = Path(told_.out).absolute()
    write_rows(out, told_.count)
    os.environ |= {"MUNRO_ROWS": str(out), "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(out)}
    found: dict[str, Any] = {"model": told_.model, "conversations": {}}
    for number, template in enumerate(told_.templates):
        with served(Path(told_.model), template=template, logs=str(out)) as address:
            found["conversations"][template] = prompts(address, told_.model, template)
            if number == 0 and told_.harness_python:
                found |= harnesses(address, told_, out)
    print(json.dumps(found))


def prompts(address: Address, model: str, template: Any) -> int:
    """Compare a hundred conversations; how many were equal: all, or it ends here."""
    from munro.base_model.checkpoint import Checkpoint
    from munro.rollout.render import renderer

    tokenizer = Checkpoint(Path(model)).tokenizer()
    climb = renderer(tokenizer, template)
    told = itertools.islice(conversations(live_texts(tokenizer)), 200)
    asked = list(itertools.islice((one for one in told if is_taken(climb, one)), 100))
    same = require_same(address, climb, asked)
    print(f"{template:<8} {same} conversations compared, all token for token equal", flush=True)
    return same


def is_taken(climb: Renderer, conversation: Conversation) -> bool:
    """Whether a climb could ask this: some templates show no tools."""
    try:
        return bool(climb.opening(*conversation))
    except BadTemplate:
        return False


def harnesses(address: Address, asked: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Four runs of each; what they come to."""
    found = {}
    os.chdir(out)  # where lm-eval looks for rows
    common = {"python": asked.harness_python, "max_tokens": asked.max_tokens, "seed": 16}
    orders = {
        "lm-eval": Order(
            harness="lm-eval", tasks=(f"munro_{asked.tasks}",), include=str(TASKS), **common
        ),
        "inspect": Order(
            harness="inspect",
            tasks=(f"{TASKS / 'inspected.py'}@{asked.tasks}_inspected",),
            **common,
        ),
    }
    for name, order in orders.items():
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        rows = attempts(order, address, folder, print)
        found[name] = told(name, rows)
        first = [row for row in rows if row.run == 0]
        copied = [replace(row, run=run) for row in first for run in range(4)]
        try:
            require_independent(copied, temperature=1.0)
        except BadHarness as refusal:
            print(f"{name:<8} four copies of a run are refused: {refusal}")
        else:
            raise SystemExit("four copies of one run were taken for four runs")
    return found


if __name__ == "__main__":
    main()
