"""Programs: what is in a response, run against tests in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from munro.rewards.config import RewardsConfig, SandboxConfig
from munro.rewards.kinds import Field, Grader, Item, Kind, Part, Scale, Usual
from munro.rewards.types import Grade


class ProgramGrader(Grader):
    """`munro.rewards.code`, with a sandbox of its own."""

    kind = Kind(
        summary="the program in the response, run against tests in a sandbox",
        fields={
            "tests": Field(
                what='a list such as [{"stdin": "1 2", "stdout": "3"}], or with function, args and '
                "expected, or with source",
                types=(list,),
            ),
            "language": Field(what="python unless given", is_required=False),
            "limits": Field(what='such as {"cpu_s": 2}', types=(dict,), is_required=False),
            "starter": Field(what="code that the response completes", is_required=False),
            "entry_point": Field(what="the function that it completes", is_required=False),
        },
        scale=Scale(parts={"tests": Part()}),
        in_process=True,
        tries=3,
    )

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

    @classmethod
    def usual(cls, rewards: Any) -> Usual:
        """The sandbox of `[rewards.sandbox]`."""
        return Usual(
            options={"sandbox": rewards.sandbox.model_dump()}, sizes={"workers": rewards.workers}
        )

    def check(self, item: Item) -> None:
        """Refuse tests that are none."""
        from munro.rewards.code import from_data

        from_data(item["tests"])

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
