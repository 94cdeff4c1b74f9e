"""Rows out of public bug reports and data sets, and the pairs of Math-Verify's own suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.rewards.config import RewardsConfig
from munro.rewards.errors import GraderError
from munro.rewards.math import MathVerifier

HERE = Path(__file__).parent
ROWS: list[tuple[str, str, bool]] = json.loads((HERE / "rows.json").read_text())
SUITE: list[tuple[str, str, bool]] = json.loads((HERE / "suite.json").read_text())

OTHERWISE = {
    ("$9$", "Answer $ \n 9 \n $"): "a formula over three lines is a formula to us",
    ("$9$", "Answer \\( \n 9 \n \\)"): "the same",
    (r"$(\begin{pmatrix}\frac{1}{3}\\ \frac{1}{5} \end{pmatrix})$",
     r"$\begin{pmatrix}0.33\\0.2 \end{pmatrix}$"): "the case asks for two decimal places",
    (r"$(\frac{3}{5},\frac{8}{3}]$", "$(0.6,2.6667]$"): "the case asks for four decimal places",
    (r"$x \in [-2,7]$", r"$-2 \\le x \\le 7$"): "right, and refused only by an option of theirs",
    ("$f(x)$", "$f(y)$"): "equal only with an option by which names of variables do not count",
    (r"$1 - \frac{1}{\mathrm{e}}$", r"$1 + \frac{1}{\mathrm{e}}$"): "1 - 1/e is not 1 + 1/e",
    ("$x = 1/3$", r"$x = 5+5+1 = 1/3 \approx 11$"): "it says that 11 is 1/3",
    ("$x = 11$", "$x = 5+5+1 = 7 =11$"): "it says that 7 is 11",
    ("$z = 1 + 1 = 2$", "$z = 3+3 = 2$"): "it says that 6 is 2",
    ("$1/3$", r"$x=1/3\approx1.3$"): "it says that 1/3 is about 1.3",
}  # fmt: skip
"""Where our verdict is not that of Math-Verify's suite, and why."""


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    with MathVerifier(RewardsConfig(workers=2, timeout_s=30)) as verifier:
        yield verifier


@pytest.mark.parametrize(("gold", "reply", "is_equal"), ROWS)
def test_a_row_of_a_bug_report_has_its_right_value(verifier, gold, reply, is_equal):
    assert verifier.verify(reply, gold).passed is is_equal


def test_no_right_verdict_of_math_verify_s_own_suite_is_lost(verifier):
    lost = []
    for gold, reply, is_equal in SUITE:
        try:
            verdict = verifier.verify(reply, gold).passed
        except GraderError:
            verdict = None
        if verdict is not is_equal and (gold, reply) not in OTHERWISE:
            lost.append((gold, reply, is_equal, verdict))
    assert lost == []


def test_what_is_decided_otherwise_is_in_the_suite():
    assert set(OTHERWISE) <= {(gold, reply) for gold, reply, _ in SUITE}


MORE = [
    ("5", r"\boxed{(2+i)(2-i)}", True),
    ("-i", r"\boxed{i^3}", True),
    ("-i", r"\boxed{\frac{1}{i}}", True),
    ("2i", r"\boxed{\sqrt{-4}}", True),
    ("2i", r"\boxed{\sqrt{-5}}", False),
    ("1", r"\boxed{i}", False),
    ("6", r"\boxed{\sum_{i=1}^{3} i}", True),
    ("7", r"\boxed{\sum_{i=1}^{3} i}", False),
    (r"\frac{1}{2}", r"\boxed{\sin 30^\circ}", True),
    ("1", "\\boxed{\\tan 45°}", True),
    ("0.5", r"\boxed{\cos(\pi/3)}", True),
    (r"\frac{1}{2}", r"\boxed{\sin 30}", False),
    (r"\sqrt{2}+10^{-100}", r"\boxed{\sqrt{2}}", False),
    (r"\sqrt{2} \cdot 10^{-200}", r"\boxed{\sqrt{3} \cdot 10^{-200}}", False),
    (r"e^{-1000}", r"\boxed{e^{-1001}}", False),
    (r"e^{-1000}", r"\boxed{\frac{1}{e^{1000}}}", True),
    (r"\sin^2 x+\cos^2 x-1", r"\boxed{0}", True),
    ("x", r"\boxed{|x|}", False),
    ("3.14159265", r"\boxed{3.14159275}", False),
    ("3.14159265", r"\boxed{3.141593}", True),
    (r"\pi", r"\boxed{3.14159265}", True),
    (r"\pi", r"\boxed{3.14159275}", False),
    (r"x > 3", r"\boxed{y > 3}", False),
    (r"x < 1 \text{ or } x > 3", r"\boxed{(-\infty,1)\cup(3,\infty)}", True),
    (r"x < 1 \text{ or } x > 3", r"\boxed{(-\infty,1)\cup[3,\infty)}", False),
    (r"(-\infty,3)\cup(1,5]", r"\boxed{(-\infty,5]}", True),
    (r"[0,2] \cap [1,3]", r"\boxed{[1,2]}", True),
    ("xy=1", r"\boxed{y=\frac{1}{x}}", True),
    ("xy=1", r"\boxed{y=\frac{2}{x}}", False),
    (r"\int_0^1 N x\,dx", r"\boxed{\frac{n}{2}}", False),
    (r"6", r"\boxed{2 \cdot 4 = 6}", False),
    (r"8", r"\boxed{2 \cdot 4 = 8}", True),
    ("1, 2", r"\boxed{1} and \boxed{2}", True),
    ("2", r"\boxed{1} and \boxed{2}", False),
    ("C. 1-i", r"\boxed{C. 3-i}", False),
    ("P(X_{n}=4)=5/8", r"\boxed{P(X_{n}=6)=5/8}", False),
    ("P(X_{n}=4)=5/8", r"\boxed{5/8}", True),
    (
        r"\lim_{n \to \infty} n^{2}/(2n^{2}+1)=1/2",
        r"\boxed{\lim_{n \to \infty} n^{3}/(2n^{2}+1)=1/2}",
        False,
    ),
    (r"\lim_{x \to 0} h^{2}(\gamma^{2}+x)", r"\boxed{\lim_{x \to 0} h^{2}(\gamma^{3}+x)}", False),
    ("y_{2}=x", r"\boxed{y_{5}=x}", False),
    (r"S(t)=\sin(880\pi t)", r"\boxed{S(t)=\sin(890\pi t)}", False),
    (r"\frac{\sqrt{2}}{2}", r"\boxed{e=\frac{1}{\sqrt{2}}}", True),
    (r"e=\frac{\sqrt{2}}{2}", r"\boxed{e=\frac{\sqrt{3}}{2}}", False),
    ("5", "The answer is 5 or more.", False),
    ("1,22", r"\boxed{1.22}", True),
    ("1,2", r"\boxed{2,1}", True),
    (r"0.\overline{3}", r"\boxed{\frac{1}{3}}", True),
    (r"|x|<3", r"\boxed{(-3,3)}", True),
    (r"|x|<3", r"\boxed{(-3,4)}", False),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "reply", "is_equal"), MORE)
def test_both_sides_of_each_kind(verifier, gold, reply, is_equal):
    assert verifier.verify(reply, gold).passed is is_equal


@pytest.mark.parametrize(
    ("gold", "reply"),
    [
        (r"x=5 \text{ for } n>2", r"\boxed{x=5}"),
        (r"\int_0^1 N x\,dx", r"\boxed{\frac{n}{2}}"),
        (r"1, 2, \ldots, n", r"\boxed{1, 2, 3, \ldots, n}"),
    ],
)
def test_a_verifier_that_is_unsure_says_so(verifier, gold, reply):
    assert "unsure" in verifier.verify(reply, gold).reason
