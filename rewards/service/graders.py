"""Each kind of grader over the library that does its work: fields of an item in, `Grade` out.

Libraries are imported when a grader is made, so that one kind does not cost another's imports.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Literal

from pydantic import ValidationError

from munro.rewards.config import RewardsConfig, SandboxConfig
from munro.rewards.errors import EpisodeError
from munro.rewards.kinds import STRETCH, Grader, Item
from munro.rewards.types import Grade


def grade_in_child(factory: str, options: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """What a child process of `munro.rewards.service.service` runs: a grade or a failure, as JSON
    can say
    it."""
    try:
        grade = _grader(factory, json.dumps(options, sort_keys=True)).grade(item)
    except (EpisodeError, ValueError) as failure:
        return {"failure": str(failure), "is_value_error": isinstance(failure, ValueError)}
    return {"grade": {**asdict(grade), "parts": dict(grade.parts)}}


@lru_cache(maxsize=64)
def _grader(factory: str, options: str) -> Grader:
    module, _, attribute = factory.partition(":")
    grader: Grader = getattr(importlib.import_module(module), attribute)(**json.loads(options))
    return grader


class MathGrader(Grader):
    """`munro.rewards.math`, with killable processes of its own."""

    def __init__(
        self, workers: int = 2, timeout_s: float = 5.0, memory_mb: int = 1024, judge: str = ""
    ) -> None:
        """
        Args:
            workers: answers checked at the same moment.
            timeout_s: CPU seconds of one check.
            memory_mb: of one checking process, MiB.
            judge: name of a configured judge, asked where no rule decides; nobody unless given.
        """
        from munro.rewards.judge import named
        from munro.rewards.math import MathVerifier

        config = RewardsConfig(workers=workers, timeout_s=STRETCH * timeout_s, memory_mb=memory_mb)
        self._verifier = MathVerifier(
            config, judge=named(judge) if judge else None, cpu_s=timeout_s
        )

    def grade(self, item: Item) -> Grade:
        """Compare the last answer of the response with the reference."""
        question = str(item.get("question", ""))
        return self._verifier.verify(item["response"], str(item["answer"]), question)

    def close(self) -> None:
        """End the verifier's processes."""
        self._verifier.close()


class ProgramGrader(Grader):
    """`munro.rewards.code`, with a sandbox of its own."""

    def __init__(
        self,
        workers: int = 2,
        sandbox: Mapping[str, Any] | None = None,
        reward: Literal["all", "fraction"] = "all",
        run_all: bool = False,
    ) -> None:
        """
        Args:
            workers: tests run at the same moment.
            sandbox: keys of `munro.rewards.sandbox` in the TOML: back end and limits.
            reward: 1 for all tests passed, or the share of them.
            run_all: go on after the first failure.

        Raises:
            ValueError: a key of `sandbox` is wrong.
        """
        from munro.rewards.code import CodeGrader

        try:
            box = SandboxConfig.model_validate(dict(sandbox or {}))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(["sandbox", *map(str, first["loc"])])
            raise ValueError(f"{where}: {first['msg']}") from None
        config = RewardsConfig(workers=workers, sandbox=box)
        self._reward, self._run_all = reward, run_all
        self._grader = CodeGrader(config)

    def grade(self, item: Item) -> Grade:
        """Take the program out of the response and run the tests."""
        from munro.rewards.code import completed, extract, from_data

        language = item.get("language", "python")
        program = extract(item["response"], language)
        if item.get("starter") and program.strip():
            program = completed(item["starter"], program, item.get("entry_point", ""))
        return self._grader.run_tests(
            program,
            from_data(item["tests"]),
            language,
            item.get("limits"),
            reward=self._reward,
            run_all=self._run_all,
        )

    def close(self) -> None:
        """Close the sandbox."""
        self._grader.close()


class PreferenceGrader(Grader):
    """`munro.rewards.preference`: how a response stands beside others to the same prompt."""

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

    def grade(self, item: Item) -> Grade:
        """The response's grade among `others`."""
        with self._lock:
            candidates = [item["response"], *item.get("others", ())]
            return self._model.grade(item["prompt"], candidates)[0]

    def grade_group(self, items: Sequence[Item]) -> list[Grade]:
        """The grades of several responses to one prompt, among each other."""
        with self._lock:
            return self._model.grade(items[0]["prompt"], [item["response"] for item in items])
