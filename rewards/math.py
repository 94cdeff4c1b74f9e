"""Checking mathematical answers: `verify(reply, gold)`.

    reply --extract--> answer --plain numbers, choices, words--> Grade       in this process, exact
                         |
                         +-- cache --> child process: LaTeX grammar, SymPy --> Grade

Nothing that a model wrote is evaluated. Numbers, choice letters and words are decided here by
regular expressions and exact fractions. The rest is parsed by the ANTLR grammar of
latex2sympy2_extended and compared by Math-Verify, in a child process with limits on wall time, CPU
time and memory. Math-Verify's reader of plain text is left out because it ends in `eval`;
`rewards.plain` writes plain text as LaTeX instead, and `rewards.equivalence` makes the child refuse
`eval` altogether (see there).

A check that runs out of time or memory, or crashes its child, is the answer's fault: failed, with
that reason. A reference answer that cannot be read is ours: `GraderError`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from rewards.answers import MAX_ANSWER_CHARS, MAX_DEPTH, clean, decide, depth, extract
from rewards.config import RewardsConfig
from rewards.errors import GraderError
from rewards.types import Grade
from rewards.workers import Status, WorkerPool

__all__ = ["MathVerifier", "close", "configure", "extract", "verify", "verify_group"]

CHECK = "rewards.equivalence:check"
PREPARE = "rewards.equivalence:prepare"

_Answer = tuple[str, str]


class MathVerifier:
    """Grades answers, with worker processes of its own that start when first needed.

    Safe to use from many threads. Use as a context manager, or close it; at exit it closes itself.

    Example:
        with MathVerifier(RewardsConfig(workers=4)) as verifier:
            verifier.verify(r"so it is \\boxed{\\frac{2}{4}}", "0.5").passed     # True
    """

    def __init__(
        self,
        config: RewardsConfig | None = None,
        *,
        cache_size: int = 8192,
        cpu_s: float | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            config: `workers`, `timeout_s` and `memory_mb` are read.
            cache_size: verdicts remembered; the least recently used go first.
            cpu_s: CPU seconds that one check may take; `timeout_s` where not given.
        """
        self._config = config or RewardsConfig()
        self._cache_size = cache_size
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[_Answer, Future[Grade]] = OrderedDict()
        self.num_checks = 0
        """Checks that went to a child process."""
        self._pool = WorkerPool(
            size=self._config.workers,
            timeout_s=self._config.timeout_s,
            memory_mb=self._config.memory_mb,
            cpu_s=cpu_s,
            preload=(PREPARE,),
            max_input_bytes=8 * MAX_ANSWER_CHARS,
        )

    def verify(self, reply: str, gold: str) -> Grade:
        """Grade one reply against the reference answer.

        Raises:
            GraderError: the reference cannot be read, or no worker could be started.
        """
        return self.verify_group([reply], gold)[0]

    def verify_group(self, replies: Sequence[str], gold: str) -> list[Grade]:
        """Grade all attempts at one problem; equal answers cost one check.

        Raises:
            GraderError: as `verify`.
        """
        reference = _reference(gold)
        answers = [extract(reply) for reply in replies]
        grades = {answer: _grade_at_once(answer, reference) for answer in dict.fromkeys(answers)}
        hard = [answer for answer, grade in grades.items() if answer is not None and grade is None]
        if len(hard) == 1:
            grades[hard[0]] = self._remembered(clean(hard[0]), reference)
        elif hard:
            with ThreadPoolExecutor(self._config.workers, "verify-group") as threads:
                checked = threads.map(lambda each: self._remembered(clean(each), reference), hard)
                grades.update(zip(hard, checked, strict=True))
        graded = [grades[answer] for answer in answers]
        return [grade for grade in graded if grade is not None]

    def warm(self) -> None:
        """Start the worker processes now and return when they are ready.

        Raises:
            GraderError: one could not be started.
        """
        self._pool.warm()

    def forget(self) -> None:
        """Empty the cache of verdicts."""
        with self._lock:
            self._verdicts.clear()

    def close(self) -> None:
        """End the worker processes. Safe to call twice."""
        self._pool.close()

    def __enter__(self) -> MathVerifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _remembered(self, answer: str, gold: str) -> Grade:
        """The verdict from the cache, from a check already under way, or from one of our own."""
        ours: Future[Grade] = Future()
        with self._lock:
            verdict = self._verdicts.setdefault((answer, gold), ours)
            self._verdicts.move_to_end((answer, gold))
            if len(self._verdicts) > self._cache_size:
                self._verdicts.popitem(last=False)
        if verdict is not ours:
            return verdict.result()
        try:
            ours.set_result(self._check(answer, gold))
        except BaseException as failure:
            with self._lock:
                self._verdicts.pop((answer, gold), None)
            ours.set_exception(failure)
            raise
        return ours.result()

    def _check(self, answer: str, gold: str) -> Grade:
        with self._lock:
            self.num_checks += 1
        outcome = self._pool.run(CHECK, answer, gold)
        if outcome.status is not Status.DONE:
            return Grade.of(False, f"checking the answer: {outcome.status} ({outcome.detail})")
        if outcome.value == "bad gold":
            raise GraderError(f"the reference answer cannot be read: {gold[:200]!r}")
        if outcome.value == "unreadable":
            return Grade.of(False, f"the answer cannot be read: {answer[:80]!r}")
        return _grade_of(outcome.value == "equal", answer)


def _grade_at_once(answer: str | None, gold: str) -> Grade | None:
    """The grade of an answer that needs no algebra, None for one that does."""
    if answer is None:
        return Grade.of(False, "no final answer")
    if len(answer) > MAX_ANSWER_CHARS:
        return Grade.of(False, f"answer too long ({len(answer):,} characters)")
    answer = clean(answer)
    if not answer:
        return Grade.of(False, "the final answer is empty")
    if depth(answer) > MAX_DEPTH:
        return Grade.of(False, "answer nested too deeply")
    verdict = decide(answer, gold)
    return None if verdict is None else _grade_of(verdict, answer)


def _grade_of(is_equal: bool, answer: str) -> Grade:
    return Grade.of(is_equal, "equal" if is_equal else f"not equal: {answer[:80]!r}")


def _reference(gold: str) -> str:
    """The reference answer, out of the marks that data sets put around it."""
    marked = gold.rpartition("####")[2]
    if "<answer>" in marked or "\\boxed" in marked:
        marked = extract(marked) or ""
    reference = clean(marked)
    if not reference or len(reference) > MAX_ANSWER_CHARS or depth(reference) > MAX_DEPTH:
        raise GraderError(f"the reference answer is empty, too long or too deep: {gold[:200]!r}")
    return reference


_default_lock = threading.Lock()
_default: MathVerifier | None = None
_default_pid = 0


def configure(config: RewardsConfig) -> None:
    """Choose workers and limits of `verify` in this process: before its first use, or anew."""
    global _default, _default_pid
    with _default_lock:
        if _default is not None and _default_pid == os.getpid():
            _default.close()
        _default, _default_pid = MathVerifier(config), os.getpid()


def verify(reply: str, gold: str) -> Grade:
    """Grade a reply by its final answer: 1 and passed, or 0 and failed, with the reason.

    Synchronous and safe from any thread; worker processes start by themselves when an answer
    needs algebra. `gold` is the reference answer alone (in `\\boxed{}`, `$..$` or after `####`).

    Raises:
        GraderError: the reference cannot be read, or no worker could be started.

    Example:
        verify("<answer>1,024</answer>", "2^{10}").passed        # True
    """
    return _verifier().verify(reply, gold)


def verify_group(replies: Sequence[str], gold: str) -> list[Grade]:
    """`verify` for all attempts at one problem, in order; equal answers cost one check."""
    return _verifier().verify_group(replies, gold)


def close() -> None:
    """End the worker processes of `verify`; a later call starts new ones."""
    global _default
    with _default_lock:
        verifier, _default = _default, None
    if verifier is not None and _default_pid == os.getpid():
        verifier.close()


def _verifier() -> MathVerifier:
    global _default, _default_pid
    with _default_lock:
        # a forked process has the parent's object, but neither its threads nor its children
        if _default is None or _default_pid != os.getpid():
            _default, _default_pid = MathVerifier(), os.getpid()
        return _default
