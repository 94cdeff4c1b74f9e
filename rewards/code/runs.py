"""One test of one program, in the sandbox: did it pass, and if not, why.

Whatever the program does is a result. Raised are only `SandboxError` and `GraderError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from munro.rewards.code.compare import same_output, same_value
from munro.rewards.code.encoding import dumps, encode, parse
from munro.rewards.code.languages import Language
from munro.rewards.code.relay import Relay, not_loaded, one_line, script
from munro.rewards.code.tests_as_data import Call, Case, Check
from munro.rewards.errors import GraderError
from munro.rewards.sandbox.types import Files, Limits, Outcome, Sandbox

COMPILE_LIMITS = Limits(
    cpu_s=60, wall_s=90, memory_mb=4096, processes=128, open_files=1024, disk_mb=512
)
"""Of a compiler, which runs on hostile text too."""
CHECKER_LIMITS = Limits(cpu_s=10, wall_s=20, memory_mb=1024)
AT_FAULT = 3
"""Exit status by which a checker says that the test itself is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one test."""

    is_passed: bool
    reason: str = ""
    """Why not: one line."""


class Runner(Protocol):
    """Runs a program that is ready to run."""

    def __call__(self, *, files: Files, stdin: bytes | str, limits: Limits) -> Outcome: ...


class NotCompiled(Exception):
    """The compiler refused the program; the message is a line of what it said."""


@contextmanager
def prepared(box: Sandbox, program: str, language: Language) -> Iterator[Runner]:
    """Compile if need be, once; what is given runs the program as often as there are cases.

    An interpreted program gets an empty folder for each run. A compiled one runs where it was
    compiled, for its binary lies there: what one run leaves, the next can read.

    Raises:
        NotCompiled: the compiler refused it.
    """
    if language.name == "python":
        yield partial(_run_python, box, program)
    elif language.compile is None:
        yield partial(_run_source, box, program, language)
    else:
        with box.session(files={language.file: program}, limits=COMPILE_LIMITS) as session:
            outcome = session.run(language.compile, limits=COMPILE_LIMITS)
            if not outcome.is_ok:
                raise NotCompiled(_ending(outcome))
            yield partial(session.run, language.run)


def _run_python(
    box: Sandbox, program: str, *, files: Files, stdin: bytes | str, limits: Limits
) -> Outcome:
    return box.run_python(program, files=files, stdin=stdin, limits=limits)


def _run_source(
    box: Sandbox,
    program: str,
    language: Language,
    *,
    files: Files,
    stdin: bytes | str,
    limits: Limits,
) -> Outcome:
    whole = {**files, language.file: program}
    return box.run(language.run, files=whole, stdin=stdin, limits=limits)


def run_case(
    box: Sandbox, runner: Runner, case: Case, language: Language, limits: Limits
) -> Result:
    """Run the program on one input and judge what it wrote."""
    raised = replace(
        limits,
        memory_mb=limits.memory_mb + language.headroom_mb,
        processes=limits.processes + language.processes,
    )
    outcome = runner(files=case.files, stdin=case.stdin, limits=raised)
    if not outcome.is_ok:
        return Result(is_passed=False, reason=_ending(outcome))
    if case.checker:
        return _checked(box, case, outcome.stdout)
    if same_output(outcome.stdout, _bytes(case.stdout), case.compare, case.tolerance):
        return Result(is_passed=True)
    return Result(is_passed=False, reason=f"wrong output {_shown(outcome.stdout)}")


def run_call(box: Sandbox, program: str, call: Call, limits: Limits) -> Result:
    """Call one function of the program in a fresh process, and compare the value here."""
    lines = (dumps(program), dumps((call.function, list(call.args), dict(call.kwargs))))
    stdin = "".join(f"{line}\n" for line in lines)
    outcome = box.run_python(script("program"), stdin=stdin, limits=limits)
    if outcome.limit is not None:
        return Result(is_passed=False, reason=_ending(outcome))
    first, _, rest = outcome.stdout.partition(b"\n")
    if not first:
        return Result(is_passed=False, reason=f"the program ended early, {_ending(outcome)}")
    if reason := not_loaded(first):
        return Result(is_passed=False, reason=reason)
    if not rest:
        return Result(is_passed=False, reason=f"{call.function} ended the process")
    return _compared(rest, call)


def run_check(box: Sandbox, program: str, check: Check, limits: Limits) -> Result:
    """Run trusted tests against the program, each in a sandbox of its own."""
    is_passed, reason = Relay(box, program, check, limits).run()
    return Result(is_passed=is_passed, reason=one_line(reason, 300))


def _compared(line: bytes, call: Call) -> Result:
    """Judge the reply to a call, which the program may have written itself."""
    try:
        match parse(line):
            case {"tuple": ["returned", value, *_]}:
                if same_value(value, encode(call.expected), call.tolerance):
                    return Result(is_passed=True)
                return Result(is_passed=False, reason=f"wrong value {_shown(line)}")
            case {"tuple": ["raised", str(name), str(), str(message)]}:
                reason = f"{call.function} raised {one_line(f'{name}: {message}')}"
                return Result(is_passed=False, reason=reason)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return Result(is_passed=False, reason=f"the answer cannot be read: {one_line(str(error))}")
    return Result(is_passed=False, reason="the program wrote where only its harness should")


def _checked(box: Sandbox, case: Case, written: bytes) -> Result:
    """Let the author's checker judge. What it cannot digest is the program's fault."""
    files = {"input": case.stdin, "output": written, "answer": case.stdout}
    source = (
        "import sys\nsys.argv = ['checker', 'input', 'output', 'answer']\n"
        f"exec(compile({case.checker!r}, 'checker.py', 'exec'))\n"
    )
    outcome = box.run_python(source, files=files, limits=CHECKER_LIMITS)
    said = one_line((outcome.stdout or outcome.stderr).decode(errors="replace"))
    if outcome.status == AT_FAULT and outcome.limit is None:
        raise GraderError(f"the checker finds fault with its own test: {said}")
    if outcome.is_ok:
        return Result(is_passed=True)
    return Result(is_passed=False, reason=f"refused by the checker: {said or _ending(outcome)}")


def _ending(outcome: Outcome) -> str:
    """How a run ended, for a person: the limit, or the status and the last line of stderr."""
    if outcome.limit is not None:
        return f"hit the limit of {outcome.limit}"
    last = outcome.stderr[-2000:].decode(errors="replace").strip().rpartition("\n")[2]
    return f"status {outcome.status}{': ' if last else ''}{one_line(last)}"


def _shown(text: bytes) -> str:
    return repr(text[:60].decode(errors="replace")) + ("..." if len(text) > 60 else "")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
