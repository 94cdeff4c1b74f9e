"""A program against its tests: `run_tests(program, tests)`.

    reply --extract--> program --cache--> sandbox, test by test --> Grade

The verdict is made where the program cannot reach. Expected outputs and values are compared in this
process and never enter the program's sandbox; test source runs in a sandbox of its own and meets
the program only through calls with plain data (`munro.rewards.code.relay`). So exiting early,
printing what a harness prints, or patching whatever shares its process gains a program nothing.

What a program does wrong is a grade with a reason. A sandbox that fails is `SandboxError`; tests
that are broken by themselves are `GraderError`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from hashlib import blake2b
from types import TracebackType
from typing import Literal

from munro.rewards import sandbox
from munro.rewards.cache import Cache
from munro.rewards.code.encoding import dumps
from munro.rewards.code.extract import completed, extract
from munro.rewards.code.languages import LANGUAGES, Language, language_of, missing
from munro.rewards.code.runs import (
    NotCompiled,
    Result,
    Runner,
    prepared,
    run_call,
    run_case,
    run_check,
)
from munro.rewards.code.tests_as_data import Call, Case, Check, Test, from_data, is_unicode
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import GraderError
from munro.rewards.sandbox.types import Limits, Sandbox
from munro.rewards.types import Grade

__all__ = [
    "LANGUAGES",
    "Call",
    "Case",
    "Check",
    "CodeGrader",
    "Limits",
    "Reward",
    "changed_limits",
    "close",
    "completed",
    "configure",
    "extract",
    "from_data",
    "refuse_unusable",
    "require",
    "run_tests",
]

MAX_PROGRAM_CHARS = 1 << 18

Reward = Literal["all", "fraction"]


class CodeGrader:
    """Runs programs against tests, in a sandbox that opens when first needed.

    Safe to use from many threads: `config.workers` tests run at once, the rest wait. Use as a
    context manager, or close it.

    Example:
        with CodeGrader() as grader:
            grader.run_tests("print(6 * 7)", [Case(stdout="42")]).passed     # True
    """

    def __init__(self, config: RewardsConfig | None = None, *, cache_size: int = 8192) -> None:
        """Nothing is started yet.

        Args:
            config: `sandbox` and `workers` are read.
            cache_size: grades remembered; the least recently used go first.
        """
        self._config = config or RewardsConfig()
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(self._config.workers)
        self._grades: Cache[Grade] = Cache(cache_size)
        self._box: Sandbox | None = None
        self.num_runs = 0
        """Programs that were run, not remembered."""

    @property
    def limits(self) -> Limits:
        """Of a test that names none."""
        config = self._config.sandbox
        return Limits(**config.model_dump(exclude={"backend", "options"}))

    def run_tests(
        self,
        program: str,
        tests: Sequence[Test],
        language: str = "python",
        limits: Limits | Mapping[str, float] | None = None,
        *,
        reward: Reward = "all",
        run_all: bool = False,
    ) -> Grade:
        """As the function `run_tests`."""
        spoken = language_of(language)
        refuse_unusable(tests, spoken, reward)
        program = program.replace("\r\n", "\n")
        if not program.strip():
            return _failed("no program")
        if len(program) > MAX_PROGRAM_CHARS:
            return _failed(f"program too long ({len(program):,} characters)")
        if not is_unicode(program):
            return _failed("the program holds half a surrogate pair")
        if not isinstance(limits, Limits):
            limits = changed_limits(self.limits, limits or {})
        run_all = run_all or reward == "fraction"
        key = _digest(program, tests, spoken.name, limits, reward, run_all)
        return self._grades.get(
            key, lambda: self._graded(program, tests, spoken, limits, reward, run_all)
        )

    def require(self, language: str) -> None:
        """Make sure that programs in `language` can run.

        Raises:
            ValueError: no language is called that, or the sandbox lacks its tool chain.
            SandboxError: there is no sandbox.
        """
        spoken = language_of(language)
        if lacking := missing(spoken, self.has):
            raise ValueError(
                f"{spoken.name} needs {' and '.join(lacking)}, which the sandbox of the back end "
                f"{self._config.sandbox.backend!r} lacks: install it where the sandbox looks, or "
                "choose other languages"
            )

    def has(self, program: str) -> bool:
        """Whether the sandbox holds that program."""
        return self._sandbox().has(program)

    def close(self) -> None:
        """Close the sandbox; a later test opens a new one. Safe to call twice."""
        with self._lock:
            box, self._box = self._box, None
        if box is not None:
            box.close()

    def __enter__(self) -> CodeGrader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _sandbox(self) -> Sandbox:
        with self._lock:
            if self._box is None:
                config = self._config.sandbox
                self._box = sandbox.open(config.backend, self.limits, **config.options)
            return self._box

    def _graded(
        self,
        program: str,
        tests: Sequence[Test],
        language: Language,
        limits: Limits,
        reward: Reward,
        run_all: bool,
    ) -> Grade:
        with self._turns:
            with self._lock:
                self.num_runs += 1
            try:
                self.require(language.name)
            except ValueError as error:
                raise GraderError(str(error)) from error
            try:
                results = self._results(program, tests, language, limits, run_all)
            except NotCompiled as refused:
                return _failed(f"it does not compile, {refused}")
        return _grade_of(results, len(tests), reward)

    def _results(
        self,
        program: str,
        tests: Sequence[Test],
        language: Language,
        limits: Limits,
        run_all: bool,
    ) -> list[Result]:
        """In the order of the tests, up to the first that fails unless `run_all`."""
        box = self._sandbox()
        results: list[Result] = []
        with prepared(box, program, language) as runner:
            for test in tests:
                results.append(_result(box, runner, program, test, language, limits))
                if not (results[-1].is_passed or run_all):
                    break
        return results


def _result(
    box: Sandbox, runner: Runner, program: str, test: Test, language: Language, limits: Limits
) -> Result:
    match test:
        case Case():
            return run_case(box, runner, test, language, limits)
        case Call():
            return run_call(box, program, test, limits)
        case Check():
            return run_check(box, program, test, limits)


def refuse_unusable(tests: Sequence[Test], language: Language, reward: str = "all") -> None:
    """Make sure that programs in `language` can be tested so.

    Raises:
        ValueError: says which test is at fault, and what would do.
    """
    if not tests:
        raise ValueError("a program without a test cannot be graded")
    if reward not in ("all", "fraction"):
        raise ValueError(f"reward = {reward!r}: write 'all' or 'fraction'")
    for number, test in enumerate(tests, 1):
        if not isinstance(test, Case | Call | Check):
            raise ValueError(f"test {number} is {test!r:.60}: make a Case, a Call or a Check")
        if language.name != "python" and not isinstance(test, Case):
            raise ValueError(
                f"test {number} is a {type(test).__name__}, which can test Python only, and the "
                f"program is {language.name}: use Case, with stdin and stdout"
            )


def changed_limits(usual: Limits, changes: Mapping[str, float]) -> Limits:
    """The sandbox's own limits, some of them changed; wall time keeps its ratio to CPU time.

    Raises:
        ValueError: there is no such limit, or it is no number above 0.
    """
    known = {each.name for each in fields(Limits)}
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"limits has no {name!r}: there are {', '.join(sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ValueError(f"limits.{name} = {value!r}: give a number above 0")
    if "cpu_s" in changes and "wall_s" not in changes:
        ratio = usual.wall_s / usual.cpu_s
        changes = {**changes, "wall_s": ratio * changes["cpu_s"]}
    whole = {name: value if name.endswith("_s") else int(value) for name, value in changes.items()}
    return replace(usual, **whole)  # type: ignore[arg-type]


def _digest(program: str, tests: Sequence[Test], *how: object) -> bytes:
    """Of all that decides a grade; equal for equal data, with integers of any length."""
    told = [
        (type(test).__name__, [_plain(getattr(test, f.name)) for f in fields(test)])
        for test in tests
    ]
    return blake2b(f"{dumps([program, told])}\n{how!r}".encode()).digest()


def _plain(value: object) -> object:
    """A field of a test, whatever mapping or sequence holds it."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    return value


def _failed(reason: str) -> Grade:
    return Grade(reward=0.0, passed=False, parts={"tests": 0.0}, reason=reason)


def _grade_of(results: Sequence[Result], num_tests: int, reward: Reward) -> Grade:
    num_passed = sum(result.is_passed for result in results)
    is_passed, share = num_passed == num_tests, num_passed / num_tests
    reason = f"{num_passed} of {num_tests} tests passed"
    for number, result in enumerate(results, 1):
        if not result.is_passed:
            reason = f"{reason}; test {number}: {result.reason}"
            break
    return Grade(
        reward=share if reward == "fraction" else float(is_passed),
        passed=is_passed,
        parts={"tests": share},
        reason=reason,
    )


_default_lock = threading.Lock()
_default: CodeGrader | None = None
_default_pid = 0


def configure(config: RewardsConfig) -> None:
    """Choose sandbox and limits of `run_tests` in this process: before its first use, or anew."""
    global _default, _default_pid
    with _default_lock:
        if _default is not None and _default_pid == os.getpid():
            _default.close()
        _default, _default_pid = CodeGrader(config), os.getpid()


def run_tests(
    program: str,
    tests: Sequence[Test],
    language: str = "python",
    limits: Limits | Mapping[str, float] | None = None,
    *,
    reward: Reward = "all",
    run_all: bool = False,
) -> Grade:
    """Grade a program by its tests. Synchronous, and safe from any thread; equal programs with
    equal tests are run once.

    Args:
        program: source, as `extract` finds it in a reply.
        tests: `Case`, `Call` and `Check`, of one kind or mixed.
        language: a name of `LANGUAGES`.
        limits: of each single test: whole, or by name those that differ from the sandbox's own
            (the wall time then follows the CPU time).
        reward: "all": 1 if every test passes, else 0; "fraction": the share that passes.
        run_all: go on after the first failure; always so for "fraction". The part "tests" of the
            grade is the share of tests that were run and passed.

    Raises:
        ValueError: no such language, no tests, or tests that this language cannot have.
        SandboxError: the sandbox failed, or there is none.
        GraderError: the tests are broken, or the sandbox lacks the language's tool chain.

    Example:
        run_tests("print(int(input()) * 2)", [Case(stdin="21", stdout="42")]).passed       # True
        run_tests("def add(a, b): return a + b", [Check(source="assert add(1, 2) == 3")]).passed
    """
    return _grader().run_tests(program, tests, language, limits, reward=reward, run_all=run_all)


def require(language: str) -> None:
    """Make sure that `run_tests` can run programs in `language`.

    Raises:
        ValueError: no language is called that, or the sandbox lacks its tool chain.
        SandboxError: there is no sandbox.
    """
    _grader().require(language)


def close() -> None:
    """Close the sandbox of `run_tests`; a later call opens a new one."""
    global _default
    with _default_lock:
        grader, _default = _default, None
    if grader is not None and _default_pid == os.getpid():
        grader.close()


def _grader() -> CodeGrader:
    global _default, _default_pid
    with _default_lock:
        # a forked process has the parent's object, but not its sandbox
        if _default is None or _default_pid != os.getpid():
            _default, _default_pid = CodeGrader(), os.getpid()
        return _default
