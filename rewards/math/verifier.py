"""Checking mathematical answers: `verify(reply, gold)`.

    reply --extract--> answer --rules, a small grammar--> Grade              here, bounded
                         |
                         +-- cache --> child process: LaTeX grammar, SymPy --> Grade
                                            |
                                            +-- undecided, and there is a judge --> Grade

Nothing that a model wrote is evaluated. Numbers, choice letters, words, formulas, lists, sets and
equations are decided here (`munro.rewards.math.answers`). The rest is parsed by the ANTLR grammar
of latex2sympy2_extended and compared by Math-Verify, in a child process with limits on wall time,
CPU time and memory; what it takes for equal must be confirmed (`munro.rewards.math.proof`), or the
verdict is "unsure". Math-Verify's reader of plain text is left out because it ends in `eval`;
`munro.rewards.math.plain` writes plain text as LaTeX instead, and `munro.rewards.math.equivalence`
makes the child refuse `eval` altogether (see there).

A check that runs out of time or memory, or crashes its child, is the answer's fault: failed, with
that reason. A reference answer that cannot be read is ours: `GraderError`. Where a judge is
configured these two are its to settle, as are answers that no grammar reads, and other words or
units than the reference's (report, section 3.2: SymPy, otherwise an AI judge). What was decided
here it never sees.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from munro.rewards.config import RewardsConfig
from munro.rewards.errors import GraderError
from munro.rewards.math.answers import (
    MAX_ANSWER_CHARS,
    MAX_DEPTH,
    Reference,
    clean,
    depth,
    extract,
    read,
)
from munro.rewards.types import Grade
from munro.rewards.workers import Status, WorkerPool

__all__ = [
    "BadReference",
    "MathVerifier",
    "close",
    "configure",
    "extract",
    "verify",
    "verify_group",
]

CHECK = "munro.rewards.math.equivalence:check"
PREPARE = "munro.rewards.math.equivalence:prepare"

_Answer = tuple[str, str]


class BadReference(GraderError):
    """The reference answer cannot be read, and nobody was there to settle it."""


class EquivalenceJudge(Protocol):
    """Who is asked where no rule decides; `munro.rewards.judge.Judge` is one."""

    def equivalent(self, question: str, reference: str, responses: Sequence[str]) -> list[Grade]:
        """Whether each response means the same as the reference. Blocks."""
        ...


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the rules say of an answer: the grade without a judge, and whether one may be asked."""

    grade: Grade | None
    """None where the reference cannot be read, which nobody but a judge can settle."""
    is_decided: bool = True


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
        judge: EquivalenceJudge | None = None,
        cache_size: int = 8192,
        cpu_s: float | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            config: `workers`, `timeout_s` and `memory_mb` are read.
            judge: asked where no rule decides; not closed with this. Nobody is asked without one.
            cache_size: verdicts remembered; the least recently used go first.
            cpu_s: CPU seconds that one check may take; `timeout_s` where not given.
        """
        self._config = config or RewardsConfig()
        self._judge = judge
        self._cache_size = cache_size
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[_Answer, Future[_Verdict]] = OrderedDict()
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

    def verify(self, reply: str, gold: str, question: str = "") -> Grade:
        """Grade one reply against the reference answer. A judge is shown the question, if given.

        Raises:
            BadReference: the reference cannot be read.
            GraderError: no worker could be started or had any time on a busy machine, or a judge
                that was asked gave no verdict.
        """
        return self.verify_group([reply], gold, question)[0]

    def verify_group(self, replies: Sequence[str], gold: str, question: str = "") -> list[Grade]:
        """Grade all attempts at one problem; equal answers cost one check.

        Raises:
            GraderError: as `verify`.
        """
        reference = reference_in(gold)
        answers = [extract(reply) for reply in replies]
        read = Reference(reference)
        at_once = {answer: _at_once(answer, read) for answer in dict.fromkeys(answers)}
        verdicts = {answer: verdict for answer, verdict in at_once.items() if verdict is not None}
        hard = [answer for answer in at_once if answer is not None and answer not in verdicts]
        if len(hard) == 1:
            verdicts[hard[0]] = self._remembered(clean(hard[0]), reference)
        elif hard:
            with ThreadPoolExecutor(self._config.workers, "verify-group") as threads:
                checked = threads.map(lambda each: self._remembered(clean(each), reference), hard)
                verdicts.update(zip(hard, checked, strict=True))
        grades = self._settled(verdicts, reference, question)
        return [grades[answer] for answer in answers]

    def _settled(
        self, verdicts: Mapping[str | None, _Verdict], reference: str, question: str
    ) -> dict[str | None, Grade]:
        """The grade of each answer: by the rules, or by the judge where they leave it open."""
        grades = {answer: each.grade for answer, each in verdicts.items() if each.grade is not None}
        if self._judge is not None:
            open_ones = [
                answer
                for answer, each in verdicts.items()
                if answer is not None and not each.is_decided
            ]
            judged = self._judge.equivalent(question, reference, open_ones) if open_ones else []
            grades.update(zip(open_ones, judged, strict=True))
        if len(grades) < len(verdicts):
            raise BadReference(f"the reference answer cannot be read: {reference[:200]!r}")
        return grades

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

    def _remembered(self, answer: str, gold: str) -> _Verdict:
        """The verdict from the cache, from a check already under way, or from one of our own."""
        ours: Future[_Verdict] = Future()
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

    def _check(self, answer: str, gold: str) -> _Verdict:
        with self._lock:
            self.num_checks += 1
        outcome = self._pool.run(CHECK, answer, gold)
        if outcome.was_idle:  # algebra never waits
            raise GraderError(f"the machine is too busy to check answers: {outcome.detail}")
        if outcome.status is not Status.DONE:
            reason = f"checking the answer: {outcome.status} ({outcome.detail})"
            return _Verdict(Grade.of(False, reason), is_decided=False)
        if outcome.value == "bad gold":
            # what the smaller grammar reads is a reference, though only it can compare
            reason = f"unsure whether this is the reference: {answer[:80]!r}"
            grade = Grade.of(False, reason) if read(gold) else None
            return _Verdict(grade, is_decided=False)
        if outcome.value == "unsure":
            reason = f"unsure whether this is the reference: {answer[:80]!r}"
            return _Verdict(Grade.of(False, reason), is_decided=False)
        if outcome.value == "unreadable":
            reason = f"the answer cannot be read: {answer[:80]!r}"
            return _Verdict(Grade.of(False, reason), is_decided=False)
        return _Verdict(_grade_of(outcome.value == "equal", answer))


def _at_once(answer: str | None, gold: Reference) -> _Verdict | None:
    """The verdict on an answer that needs no algebra, None for one that does."""
    if answer is None:
        return _Verdict(Grade.of(False, "no final answer"))
    if len(answer) > MAX_ANSWER_CHARS:
        return _Verdict(Grade.of(False, f"answer too long ({len(answer):,} characters)"))
    answer = clean(answer)
    if not answer:
        return _Verdict(Grade.of(False, "the final answer is empty"))
    if depth(answer) > MAX_DEPTH:
        return _Verdict(Grade.of(False, "answer nested too deeply"))
    verdict = gold.decide(answer)
    if verdict is None:
        return None
    is_decided = verdict or not gold.leaves_open(answer)
    return _Verdict(_grade_of(verdict, answer), is_decided=is_decided)


def _grade_of(is_equal: bool, answer: str) -> Grade:
    return Grade.of(is_equal, "equal" if is_equal else f"not equal: {answer[:80]!r}")


def reference_in(gold: str) -> str:
    """The reference answer, out of the marks that data sets put around it.

    Raises:
        BadReference: there is none, or it is too long or too deep.
    """
    marked = gold.rpartition("####")[2]
    if any(mark in marked for mark in ("<answer>", "\\boxed", "final answer is")):
        marked = extract(marked) or ""
    reference = clean(marked)
    if not reference or len(reference) > MAX_ANSWER_CHARS or depth(reference) > MAX_DEPTH:
        raise BadReference(f"the reference answer is empty, too long or too deep: {gold[:200]!r}")
    return reference


_default_lock = threading.Lock()
_default: MathVerifier | None = None
_default_pid = 0


def configure(config: RewardsConfig, judge: EquivalenceJudge | None = None) -> None:
    """Choose workers, limits and judge of `verify` in this process: before its use, or anew."""
    global _default, _default_pid
    with _default_lock:
        if _default is not None and _default_pid == os.getpid():
            _default.close()
        _default, _default_pid = MathVerifier(config, judge=judge), os.getpid()


def verify(reply: str, gold: str, question: str = "") -> Grade:
    """Grade a reply by its final answer: 1 and passed, or 0 and failed, with the reason.

    Synchronous and safe from any thread; worker processes start by themselves when an answer
    needs algebra. `gold` is the reference answer alone (in `\\boxed{}`, `$..$` or after `####`).
    `question` is for the judge, where one is configured.

    Raises:
        BadReference: the reference cannot be read.
        GraderError: no worker could be started, or a judge that was asked gave no verdict.

    Example:
        verify("<answer>1,024</answer>", "2^{10}").passed        # True
    """
    return _verifier().verify(reply, gold, question)


def verify_group(replies: Sequence[str], gold: str, question: str = "") -> list[Grade]:
    """`verify` for all attempts at one problem, in order; equal answers cost one check."""
    return _verifier().verify_group(replies, gold, question)


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
