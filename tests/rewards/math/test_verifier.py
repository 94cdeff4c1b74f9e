"""Mathematical answers: extraction, exact numbers, agreement with references, sharing of checks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro import rewards
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import GraderError
from munro.rewards.math import MathVerifier, extract
from munro.rewards.math.answers import clean, decide, quantity
from munro.rewards.math.verifier import PREPARE
from munro.rewards.workers import Status, WorkerPool
from tests.rewards.hostile import injections

JOBS = "tests.rewards.jobs"
CONFIG = RewardsConfig(workers=1, timeout_s=20)


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    with MathVerifier(CONFIG) as verifier:
        yield verifier


REPLIES = [
    ("<think>7</think><answer>42</answer>", "42"),
    ("<answer>1</answer> no, <answer> 2 </answer>", "2"),
    (r"<answer>\boxed{5}</answer>", "5"),
    (r"so \boxed{\frac{1}{2}} and \boxed{\sqrt{\frac{3}{4}}}.", r"\frac{1}{2}, \sqrt{\frac{3}{4}}"),
    (r"a step is \boxed{5} and the answer is \boxed{\sqrt{\frac{3}{4}}}.", r"\sqrt{\frac{3}{4}}"),
    (r"\boxed{3} then cut off \boxed{\frac{1}{2", "3"),
    (r"\fbox{9}", "9"),
    (r"\boxed {8}", "8"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    ("The answer is 12.", "12"),
    ("Answer: $x^2 + 1$ as wished", "x^2 + 1"),
    ("the final answer is: -7", "-7"),
    ("we get 3 apples and 1,234.5 pears", "1,234.5"),
    ("therefore $a+b$", "a+b"),
    ("then $a+b$ equals 5", "5"),
    ("half, 1/2", "1/2"),
    ("loss of -3%", "-3%"),
    ("<think>the answer is 5</think>", None),
    ("I do not know", None),
    ("", None),
    ("<answer></answer>", None),
]


@pytest.mark.parametrize(("reply", "answer"), REPLIES)
def test_the_final_answer_is_found(reply, answer):
    assert extract(reply) == answer


# reference, answer, whether a careful reader takes them for the same
PAIRS = [
    ("42", "42", True),
    ("42", "42.0", True),
    ("42", "43", False),
    ("1000", "1,000", True),
    ("1,234,567", "1234567", True),
    ("12 345", "12345", True),
    ("-5", "\u22125", True),
    ("-5", "5", False),
    ("7", "\uff17", True),
    ("7", "\u0667", True),
    ("7", "\u200b7\u200e", True),
    ("+3", "3", True),
    ("0.5", "1/2", True),
    ("0.5", ".5", True),
    (r"\frac{1}{2}", "0.50", True),
    (r"\frac12", "2/4", True),
    (r"\dfrac{3}{4}", r"\tfrac{6}{8}", True),
    ("7/2", r"3\frac{1}{2}", True),
    ("7/2", "3 1/2", True),
    ("1/3", "0.333333", True),
    ("1/3", "0.33", False),
    ("1/3", "33/100", False),
    ("1500", "1.5e3", True),
    ("1500", r"1.5 \times 10^3", True),
    ("0.0000001", "0.0000002", False),
    ("50%", "0.5", True),
    ("50%", "50", True),
    (r"50\%", "1/2", True),
    ("50%", "5", False),
    ("12", "12 cm", True),
    ("12 cm", "12", True),
    (r"12\text{ cm}", "12 centimeters", True),
    ("12 cm", "12 m", False),
    (r"5\text{ cm}^2", "5 cm²", True),
    ("12.50", "$12.50", True),
    ("90", "90°", True),
    (r"90^\circ", "90 degrees", True),
    (r"45^\circ", "54", False),
    ("B", "(B)", True),
    ("B", r"\textbf{(B)}", True),
    ("(C)", "C. because", True),
    ("B", "A", False),
    ("(B)", "B or C", False),
    ("Paris", "paris", True),
    ("Paris", r"\text{Paris}", True),
    ("Paris", "London", False),
    ("no solution", "No  solution.", True),
    ("yes", "no", False),
    ("12:30", "12:30", True),
    ("12:30", "12:31", False),
    ("5", "x = 5", True),
    ("x = 5", "5", True),
    ("x=5", "x=6", False),
    (r"2\sqrt{2}", "sqrt(8)", True),
    (r"\sqrt{2}", "√2", True),
    (r"\sqrt{2}", "1.5", False),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
    ("x^2+2x+1", "(x+1)^2", True),
    ("x^2+2x+1", "(x+1)**2", True),
    ("x^2+2x+1", "x^2+1", False),
    ("2^{10}", "1024", True),
    ("5!", "120", True),
    (r"\pi r^2", "pi*r^2", True),
    (r"2\pi", "2π", True),
    (r"\sin(x)^2+\cos(x)^2", "1", True),
    (r"\ln 8", r"3\ln 2", True),
    (r"\binom{5}{2}", "10", True),
    ("e^{2x}", "exp(2x)", True),
    ("[0,1)", "[0, 1)", True),
    ("[0,1)", "[0, 1]", False),
    ("[0,1)", r"0 \le x < 1", True),
    (r"(-\infty,3]", "x <= 3", True),
    (r"(-\infty,3]\cup[4,\infty)", "(-inf, 3] U [4, oo)", True),
    ("(1, 2)", "(1,2)", True),
    ("(1, 2)", "(2, 1)", False),
    (r"\left(1, \frac{1}{2}\right)", "(1, 0.5)", True),
    (r"\{1,2,3\}", "{3, 2, 1}", True),
    (r"\{1,2,3\}", "{1, 2}", False),
    ("1, 2", "2 and 1", True),
    (
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        r"\begin{bmatrix}1 & 2 \\ 3 & 4\end{bmatrix}",
        True,
    ),
    (
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        r"\begin{pmatrix}1&3\\2&4\end{pmatrix}",
        False,
    ),
    ("2+3i", "3i + 2", True),
    (r"\emptyset", r"\varnothing", True),
    ("#### 18", "18", True),
    (r"$\boxed{7}$", "7", True),
]


@pytest.mark.parametrize(("gold", "answer", "is_equal"), PAIRS)
def test_answers_and_references_agree_as_a_careful_reader_says(verifier, gold, answer, is_equal):
    grade = verifier.verify(f"<answer>{answer}</answer>", gold)
    assert grade.passed is is_equal, grade.reason
    assert grade.reward == float(is_equal)


def test_the_table_is_as_long_as_it_is_meant_to_be():
    assert len(PAIRS) >= 60
    assert sum(not is_equal for *_, is_equal in PAIRS) >= 15


numbers = st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6)


@given(numbers, numbers)
def test_fractions_agree_exactly_when_they_are_equal(a, b):
    latex = rf"\frac{{{abs(b.numerator)}}}{{{b.denominator}}}"
    signed = f"-{latex}" if b < 0 else latex
    assert decide(f"{a.numerator}/{a.denominator}", signed) is (a == b)
    assert decide(f"{b.numerator * 7}/{b.denominator * 7}", signed) is True


@given(st.integers(-(10**30), 10**30))
def test_integers_are_read_with_and_without_separators(n):
    assert quantity(str(n)).value == n
    assert decide(f"{n:,}", str(n)) is True
    assert decide(str(n + 1), f"{n:,}") is False


@given(st.decimals(min_value=-(10**6), max_value=10**6, places=4))
def test_decimals_are_read_exactly(number):
    assert quantity(f"{number:f}").value == Fraction(number)


@given(st.text())
def test_cleaning_and_extraction_take_any_text(text):
    extract(text)
    assert clean(clean(text)) == clean(clean(clean(text)))
    decide(clean(text), "5")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("nothing here", "no final answer"),
        ("<answer>" + "9" * 5000 + "</answer>", "answer too long"),
        ("<answer>\u200b.</answer>", "empty"),
        ("<answer>" + "(" * 60 + "</answer>", "nested too deeply"),
        (r"<answer>\frac{}</answer>", "cannot be read"),
    ],
)
def test_an_answer_that_cannot_be_judged_is_failed_with_its_reason(verifier, reply, reason):
    grade = verifier.verify(reply, "x+1")
    assert grade.passed is False
    assert reason in grade.reason


@pytest.mark.parametrize("gold", [r"\frac{1}{", "", "  ", "1" * 5000, "{" * 60, r"\boxed{}"])
def test_a_reference_that_cannot_be_read_is_our_error_and_not_a_grade(verifier, gold):
    with pytest.raises(GraderError, match="reference answer"):
        verifier.verify("<answer>x+1</answer>", gold)


def test_the_child_evaluates_numbers_and_refuses_whatever_else_sympy_would_run(tmp_path):
    """The second line: SymPy's own reader, called on purpose inside a sealed and prepared child."""
    canary = tmp_path / "canary"
    with WorkerPool(size=1, timeout_s=60, memory_mb=512, preload=[PREPARE]) as workers:
        assert workers.run(f"{JOBS}:sympify", "12").value == "12"
        for text in [*injections(str(canary)), "open", "x.__class__", "(lambda: 5)()"]:
            outcome = workers.run(f"{JOBS}:sympify", text)
            is_mere_literal = text[0] in "'\"" and str(outcome.value) in text
            assert outcome.status is Status.RAISED or is_mere_literal
    assert not canary.exists()


def test_equal_answers_of_a_group_cost_one_check_and_keep_their_order(verifier):
    before = verifier.num_checks
    replies = [r"\boxed{\int_0^2 3x^2 dx}", r"\boxed{\int_0^2 x dx}", "no"] * 40
    grades = verifier.verify_group(replies, "8")
    assert [grade.passed for grade in grades] == [True, False, False] * 40
    assert verifier.num_checks == before + 2


def test_threads_that_ask_the_same_at_once_share_one_check(verifier):
    before = verifier.num_checks
    start = threading.Barrier(16)

    def ask(_: int) -> bool | None:
        start.wait()
        return verifier.verify(r"\boxed{\int_0^1 2x dx}", "1").passed

    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(16))) == [True] * 16
    assert verifier.num_checks == before + 1


def test_the_cache_forgets_the_least_recently_used():
    with MathVerifier(CONFIG, cache_size=2) as verifier:
        for exponent in (2, 3, 2, 4, 2, 3):
            verifier.verify(rf"\boxed{{\int_0^{exponent} x dx}}", "y+1")
        assert verifier.num_checks == 4


def test_the_module_s_verifier_starts_by_itself_and_again_after_it_was_closed():
    rewards.math.configure(CONFIG)
    assert rewards.math.verify(r"\boxed{\sqrt{4}}", r"\sqrt{4} + 0").passed
    rewards.math.close()
    try:
        assert rewards.math.verify("<answer>3</answer>", "3").passed
        assert [g.passed for g in rewards.math.verify_group(["is 3", "is 4"], "3")] == [True, False]
    finally:
        rewards.math.close()


def test_a_closed_verifier_still_knows_numbers_and_says_so_for_the_rest():
    verifier = MathVerifier(CONFIG)
    verifier.close()
    assert verifier.verify("is 3", "3").passed
    with pytest.raises(GraderError, match="closed"):
        verifier.verify(r"\boxed{\int_0^1 x dx}", "1/2")


def test_a_plain_script_without_a_main_guard_verifies_and_ends_in_silence():
    script = (
        "from munro.rewards.math import verify\n"
        "print(verify('<answer>sqrt(18)</answer>', '3' + chr(92) + 'sqrt{2}').passed)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


IN_AN_ACTOR = r"""
import ray
from munro.rewards.config import RewardsConfig
from munro.rewards.math import MathVerifier

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)

@ray.remote(num_cpus=1)
class Grader:
    def grade(self):
        self.verifier = MathVerifier(RewardsConfig(workers=1, timeout_s=20))
        grade = self.verifier.verify(r"\boxed{\int_0^1 2x dx}", "1")
        return grade.passed, self.verifier._pool.pids

passed, pids = ray.get(Grader.remote().grade.remote(), timeout=600)
ray.shutdown()
print(passed, *pids)
"""


@pytest.mark.ray
def test_verification_works_inside_a_ray_actor_and_its_children_end_with_it():
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_AN_ACTOR],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}/src"},
        check=True,
    )
    passed, *pids = done.stdout.split()
    assert passed == "True"
    assert pids
    children = [psutil.Process(int(pid)) for pid in pids if psutil.pid_exists(int(pid))]
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
