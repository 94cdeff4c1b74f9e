"""Does cleaning pay? The same climb on a book's key as it stands, and on what the pipeline keeps.

A made book asks 1,600 sums of three digits in forty chapters, each with its key; 30% of the key's
answers are wrong: any number of as many digits, or, three times in ten where a sum has a carry, the
usual mistake of forgetting it. Held-out sums have right answers, and are in no book.

    raw      every exercise with the answer of its number, as a reader of numbers would have it
    built    what `munro questions build` makes of that file, without a model

Both arms climb from one base for the same number of steps, three seeds with a book each, and are
evaluated on the same held-out sums. Rules can work out a sum, so `built` is as good as rules get:
where they cannot, what is left of the noise is another benchmark's figure.

    python benchmarks/questions/climbs.py --folder runs/questions_climbs
    python benchmarks/questions/climbs.py --folder runs/questions_climbs --seeds 0 --arms raw

A climb that is done is only read, so `--most-s` cuts the work into turns. Ends with the table, the
verdict, and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sides.entropy_climb import Parts, climbed

from munro.base_model.small.quickstart import build_base
from munro.envs.arithmetic import Arithmetic, is_held_out
from munro.envs.config import EnvConfig
from munro.envs.loader import load_config
from munro.evaluation.figures import PASS_RATE, pass_rate, table_of
from munro.evaluation.results import Results
from munro.evaluation.statistics import paired
from munro.evaluation.types import AttemptRow
from munro.machine.config import RunConfig
from munro.machine.evaluating.source import rows
from munro.questions.build import build
from munro.questions.config import QuestionsConfig
from munro.rl.config import ClimbConfig

RECIPE = Path(__file__).parents[2] / "configs" / "sums.toml"
ENVIRONMENT = Path(__file__).with_name("keyed_sums.py")
ARMS = ("raw", "built")
CONTEXT = 64
CHAPTERS, EXERCISES = 40, 40
NOISE, USUAL = 0.3, 0.3
"""Share of the answers that are wrong, and of these such that come of a usual mistake."""
HELD_OUT, EVERY = 300, 8
"""Held-out sums, and steps between two looks at them."""


def main() -> None:
    """Climb what is not climbed yet, then print the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--folder", type=Path, default=Path("runs/questions_climbs"))
    options.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--steps", type=int, default=24)
    options.add_argument("--most-s", type=float, default=0.0, help="begin no climb after these")
    given = options.parse_args()
    logging.disable(logging.WARNING)

    began = time.monotonic()
    for seed in given.seeds:
        files = written(given.folder / f"book{seed}", seed)
        for arm in given.arms:
            if not given.most_s or time.monotonic() - began < given.most_s:
                climb_and_keep(arm, seed, files, given.steps, given.folder)
    tell(given.folder)


def sums(seed: int, count: int) -> list[tuple[int, int]]:
    """Different sums of three digits, none of them held out."""
    rng, found = random.Random(f"book {seed}"), {}
    while len(found) < count:
        both = rng.randint(100, 999), rng.randint(100, 999)
        if not is_held_out("{}+{}".format(*both)):
            found[both] = None
    return list(found)


def mistaken(rng: random.Random, one: int, other: int) -> str:
    """A wrong answer: without one of its carries, or any number of as many digits."""
    right = one + other
    carries = [10**place for place in (1, 2) if one % 10**place + other % 10**place >= 10**place]
    if carries and rng.random() < USUAL:
        return str(right - rng.choice(carries))
    low = 10 ** (len(str(right)) - 1)
    while (wrong := rng.randrange(low, 10 * low)) == right:
        pass
    return str(wrong)


def written(folder: Path, seed: int) -> dict[str, Path]:
    """The book and the rows of each arm; what is there stays."""
    files = {"raw": folder / "raw.jsonl", "built": folder / "built" / "questions.jsonl"}
    files["test"] = folder / "test.jsonl"
    if all(file.is_file() for file in files.values()):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"noise {seed}")
    rows, lines = [], []
    problems = sums(seed, CHAPTERS * EXERCISES)
    for chapter in range(CHAPTERS):
        here = problems[chapter * EXERCISES : (chapter + 1) * EXERCISES]
        wrong = rng.sample(here, round(NOISE * EXERCISES))
        answers = [mistaken(rng, *both) if both in wrong else str(sum(both)) for both in here]
        asked = [f"What is {one} + {other}?" for one, other in here]
        lines += [f"# Chapter {chapter + 1}", "## Exercises"]
        lines += [f"{number}. {question}" for number, question in enumerate(asked, 1)]
        lines += ["## Answers", *(f"{number}. {one}" for number, one in enumerate(answers, 1))]
        rows += [
            {"question": question, "answer": answer, "right": answer == str(sum(both))}
            for question, answer, both in zip(asked, answers, here, strict=True)
        ]
    (folder / "book.md").write_text("\n\n".join(lines) + "\n")
    sources = [{"name": "book", "paths": [str(folder / "book.md")]}]
    build(QuestionsConfig.model_validate({"out": str(folder / "built"), "sources": sources}))
    test = Arithmetic(digits=3, terms=2, operators="+").tasks("test")[:HELD_OUT]
    kept(files["test"], [{"question": one.prompt, **one.payload} for one in test])
    kept(files["raw"], rows)
    return files


def kept(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A row a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def configured(steps: int) -> RunConfig:
    """The recipe, in one process."""
    recipe = tomllib.loads(RECIPE.read_text())
    recipe["rollout"] |= {"engine": "transformers"}
    recipe["learner"] |= {"threads": 1}
    recipe["eval"] = {"every_steps": 0}
    return RunConfig.model_validate(recipe | {"num_steps": steps})


def climb_and_keep(arm: str, seed: int, files: dict[str, Path], steps: int, folder: Path) -> None:
    """One climb, with attempts at the held-out sums now and then, unless kept."""
    results = Results(folder / arm)
    if any(row.run == seed for row in results.rows()):
        return
    config = configured(steps)
    model = build_base(config.base, is_held_out=is_held_out).path
    given = {"path": str(files[arm]), "test_path": str(files["test"]), "prompt": "{question}"}
    environment = load_config(EnvConfig(path=str(ENVIRONMENT), args=given))
    plain = ClimbConfig.model_validate(
        {name: getattr(config, name) for name in ClimbConfig.model_fields}
    )
    began = time.monotonic()
    parts = Parts(model, plain, seed, environment, context=CONTEXT)
    tasks = environment.tasks("test")
    found: list[AttemptRow] = []

    def look(step: int) -> None:
        if step % EVERY == 0:
            groups = parts.attempts(tasks, 1, plain.length.stages[0])
            for task, group in zip(tasks, groups, strict=True):
                found.extend(rows(f"step{step:03}", task.id, [(seed, seed)], group))

    try:
        with tempfile.TemporaryDirectory() as scratch:
            lines = climbed(parts, plain, Path(scratch), lambda _: None, look)
    finally:
        parts.close()
    results.add(found)
    (folder / arm / f"seed{seed}.json").write_text(json.dumps(lines))
    print(f"{arm}, seed {seed}: {time.monotonic() - began:.0f} s", flush=True)


def tell(folder: Path) -> None:
    """Noise and size of each arm, the held-out pass rate over the steps, and the difference."""
    done = {arm: Results(folder / arm) for arm in ARMS if Results(folder / arm).rows()}
    looks = looked_at(done)
    seeds = {arm: sorted({row.run for row in of.rows()}) for arm, of in done.items()}
    said: dict[str, Any] = {"benchmark": "questions_climbs", "seeds": seeds}
    for arm, of in done.items():
        rights = [one for seed in seeds[arm] for one in are_right(folder / f"book{seed}", arm)]
        lines = [json.loads((folder / arm / f"seed{seed}.json").read_text()) for seed in seeds[arm]]
        last_step = int(looks[-1].removeprefix("step"))
        tokens = [one["rollout/tokens"] for some in lines for one in some[:last_step]]
        a_climb = sum(tokens) / len(lines)
        noise = 1 - sum(rights) / len(rights)
        print(f"\n{arm}: {len(rights)} pairs, {noise:.3f} wrong; {a_climb:,.0f} tokens a climb")
        for entry in looks:
            each = [
                pass_rate([row for row in of.rows(entry) if row.run == seed]).mean
                for seed in seeds[arm]
            ]
            by_seed = " ".join(f"{one:.3f}" for one in each)
            print(f"  {entry}  held out {pass_rate(of.rows(entry))}  by seed {by_seed}")
        last = asdict(pass_rate(of.rows(looks[-1])))
        said[arm] = {"pairs": len(rights), "noise": noise, "tokens": a_climb, **last}
    if len(done) == len(ARMS) and seeds["raw"] == seeds["built"]:
        said["differences"] = differences(done, looks)
    print(json.dumps(said))


def are_right(folder: Path, arm: str) -> list[bool]:
    """Of each pair of an arm whether its answer is right."""
    rows = [json.loads(line) for line in (folder / "raw.jsonl").read_text().splitlines()]
    right = {row["question"]: row["right"] for row in rows}
    if arm == "built":
        built = (folder / "built" / "questions.jsonl").read_text().splitlines()
        return [right[json.loads(line)["question"]] for line in built]
    return list(right.values())


def looked_at(done: dict[str, Results]) -> list[str]:
    """Steps at which every climb was looked at: one may have gone on for longer."""
    each = [
        {row.entry for row in of.rows() if row.run == seed}
        for of in done.values()
        for seed in {row.run for row in of.rows()}
    ]
    return sorted(set.intersection(*each)) if each else []


def differences(done: dict[str, Results], looks: Sequence[str]) -> dict[str, Any]:
    """Built minus raw on the same held-out sums, at each look."""
    found = {}
    print()
    for entry in looks:
        tables = [table_of(done[arm].rows(entry), PASS_RATE) for arm in ARMS]
        found[entry] = paired(*(table.values for table in tables))
        print(f"{entry}  built less raw {found[entry]}")
    last = list(found.values())[-1]
    verdict = "cannot be told from none" if last.low <= 0 <= last.high else "is there"
    print(f"verdict: after the last step a difference {verdict}")
    return {entry: asdict(one) for entry, one in found.items()}


if __name__ == "__main__":
    main()
