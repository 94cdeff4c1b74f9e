"""The same tasks for inspect; `serving.py` writes the rows to the folder that MUNRO_ROWS names."""

import os
import sys
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Target, accuracy, match, scorer
from inspect_ai.solver import TaskState, generate

sys.path.append(str(Path(__file__).parent))
from scoring import are_named

ROWS = Path(os.environ["MUNRO_ROWS"])


@task
def sums_inspected() -> Task:
    """Sums, right where the last number is."""
    rows = json_dataset(str(ROWS / "sums.jsonl"), FieldSpec(input="prompt", target="answer"))
    return Task(dataset=rows, solver=[generate()], scorer=match(location="end", numeric=True))


@task
def digits_inspected() -> Task:
    """Four digits out of those that are named."""
    rows = json_dataset(str(ROWS / "digits.jsonl"), FieldSpec(input="prompt", target="digits"))
    return Task(dataset=rows, solver=[generate()], scorer=named())


@scorer(metrics=[accuracy()])
def named():  # type: ignore[no-untyped-def]
    """See `scoring.are_named`."""

    async def score(state: TaskState, target: Target) -> Score:
        is_right = are_named(state.output.completion, target.text)
        return Score(value=CORRECT if is_right else INCORRECT, answer=state.output.completion)

    return score
