"""Is an answer the stored one, and are two one? By rules; what they leave open, by a judge.

Rules decide numbers, formulas, choices. Other words and other units are left open: a judge, where
there is one, is asked once for each pair of classes, and says the same both ways round.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType

from munro.questions.answers.classes import at_a_glance, classes_of, equal, tagged
from munro.rewards.errors import GraderError
from munro.rewards.judge import prompts, worth
from munro.rewards.judge.access import Access
from munro.rewards.judge.verdicts import EquivalenceVerdict
from munro.rewards.math import BadReference, MathVerifier, verify_group
from munro.rewards.math.answers import clean
from munro.rewards.types import Grade


class Equality:
    """Compares answers. Safe to use from many threads; use as a context manager."""

    def __init__(self, judge: Access | None, samples: int = 1) -> None:
        """
        Args:
            judge: asked where rules decide nothing; rules alone without one.
            samples: verdicts on each pair, of which most decide.
        """
        self._judge, self._samples = judge, samples
        self._verifier = MathVerifier(judge=self) if judge is not None else None
        self._said: dict[tuple[str, frozenset[str]], bool] = {}
        self._lock = threading.Lock()
        self.has_judge = judge is not None
        self.asked = self.failed = 0
        """Pairs that a judge was asked about, and those of them without a verdict."""

    def passed(self, question: str, answers: Sequence[str], gold: str) -> list[bool]:
        """Which of the attempts' answers are the stored one.

        Raises:
            BadReference: the stored one cannot be read.
            GraderError: no grade could be had.
        """
        by_rules = [False] * len(answers)
        try:
            grades = verify_group([tagged(answer) for answer in answers], gold)
            by_rules = [bool(grade.passed) for grade in grades]
        except BadReference:
            if self._verifier is None:
                raise
        if self._verifier is None:
            return by_rules
        passed = list(by_rules)
        for members in classes_of(answers, equal):
            if any(by_rules[place] for place in members):
                continue
            one = self._verifier.verify(tagged(answers[members[0]]), gold, question)
            for place in members:
                passed[place] = bool(one.passed)
        return passed

    def same(self, question: str, one: str, other: str) -> bool:
        """Whether an answer is another one; to be asked both ways round.

        Raises:
            GraderError: it could not be found out.
        """
        if self._verifier is None or at_a_glance(one, other) is not None:
            return equal(one, other)
        try:
            return bool(self._verifier.verify(tagged(one), other, question).passed)
        except BadReference:
            return False

    def equivalent(self, question: str, reference: str, responses: Sequence[str]) -> list[Grade]:
        """What the judge says: `munro.rewards.math.EquivalenceJudge`, as the verifier asks it."""
        return [
            Grade.of(self._one(question, reference, response), reason="judged")
            for response in responses
        ]

    def forget(self) -> None:
        """Let go of what the judge said: of questions that will not come again."""
        with self._lock:
            self._said.clear()

    def close(self) -> None:
        """End the worker processes. Safe to call twice."""
        if self._verifier is not None:
            self._verifier.close()

    def __enter__(self) -> Equality:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _one(self, question: str, reference: str, response: str) -> bool:
        pair = (question, frozenset((clean(reference), clean(response))))
        with self._lock:
            known = self._said.get(pair)
            self.asked += known is None
        if known is not None:
            return known
        judge = self._judge
        assert judge is not None
        prompt = prompts.equivalence(
            judge.material(question, "QUESTION"), judge.clean(reference), judge.shown(response)
        )

        async def verdicts() -> list[EquivalenceVerdict]:
            return await judge.asked(prompt, self._samples)

        try:
            grade = worth.of_equivalence(judge.wait(verdicts()), response)
        except GraderError:
            with self._lock:
                self.failed += 1
            raise
        with self._lock:
            self._said[pair] = bool(grade.passed)
        return bool(grade.passed)
