"""Clean questions of many kinds, and the faults that are planted in them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.questions.books import exercises

Asked = tuple[str, str]
"""Question and answer."""
GYM = (
    *("aiw", "base_conversion", "basic_arithmetic", "calendar_arithmetic", "chain_sum"),
    *("coin_flip", "complex_arithmetic", "count_bits", "count_primes", "decimal_arithmetic"),
    *("decimal_chain_sum", "dice", "family_relationships", "fraction_simplification", "gcd"),
    *("lcm", "leg_counting", "letter_counting", "number_filtering", "number_sequence"),
    *("prime_factorization", "products", "simple_equations", "simple_geometry", "spell_backward"),
    *("syllogism", "time_intervals", "caesar_cipher", "knights_knaves", "bitwise_arithmetic"),
)
"""Generators of reasoning-gym whose questions ask one thing and hold all that it takes."""
WORDED = "gsm_symbolic"
"""A hundred templates of word problems."""


def clean(count: int, seed: int = 0, *, gym: bool = True) -> list[Asked]:
    """Hand-written ones, such as made books have, and reasoning-gym's, none twice."""
    file = Path(__file__).with_name("clean.txt")
    found = dict(line.split("\t", 1) for line in file.read_text().splitlines())
    made = count // 10 if gym else count - len(found)
    found |= dict(exercises(random.Random(f"clean {seed}"), made))
    if not gym:
        return list(found.items())
    left = count - len(found)
    found |= dict(_of_gym(WORDED, left // 3, seed))
    each = -(-(count - len(found)) // len(GYM))
    for name in GYM:
        found |= dict(_of_gym(name, each, seed))
    return list(found.items())[:count]


def _of_gym(name: str, count: int, seed: int) -> list[Asked]:
    from reasoning_gym.factory import create_dataset

    entries = create_dataset(name, size=2 * count, seed=seed)
    both = {entry["question"].strip(): str(entry["answer"]) for entry in entries}
    return list(both.items())[:count]


TWICE, SENTINEL, LETTER = "two questions in one", "sentinel answers", "letter only"
FORMS: dict[str, Sequence[str]] = {
    "answer in the question": (
        *("{q} (Answer: {a})", "{q} Answer: {a}", "{q} [Ans. {a}]", "{q} The answer is {a}."),
        *("The correct answer is {a}. {q}", "{q} Solution: {a}", "{q} (Result: {a})"),
        *("{q} Hint: the final result is {a}.", "{q} Final answer: {a}", "{q} (ans: {a})"),
        *("{q} It turns out that the answer equals {a}.", "{q}\nAnswer. {a}"),
        *("{q} [{a}]", "{q} (correct: {a})", "{q} You should get {a}.", "{q} Key: {a}"),
        *("{q} A: {a}", "You should find that the answer will be {a}. {q}", "{q} Sol. {a}"),
        *(
            "{q} Correct answer: {a}",
            "{q} **Answer:** {a}",
            "{q} ANSWER = {a}",
            "{q} Response: {a}",
        ),
    ),
    "phone and e-mail": (
        *("Write to {n}@uni.example if unsure. {q}", "{q} ({n}@mail.example.org)"),
        *("{q} Call 555-{d}-{e}.", "{q} Tel. (030) {d} {e}", "{q} Phone +44 20 7{d} {e}"),
        *("{q} Fax: +1-202-{d}-{e}", "{q} Contact: 555.{d}.{e}", "{q} My mobile is 0{d}5{e}{d}."),
        *("{q} WhatsApp +49 170 {e}{d}", "{q} mailto:{n}@school.example.net"),
        *("{q} Reach me at 0207 {d} {e}", "{q} questions to {n}@physics.example.edu"),
        *("Text 07700 9{d}{e} for help. {q}", "{q} {n} [at] school.example"),
        *("{q} T: +33 1 23 45 67 89", "{q} (c) J. Doe, 1-800-{d}-{e}", "{q} Helpline 0800 {d} {e}"),
    ),
    "see Fig. 3": (
        *("{q} See Fig. {k}.", "{q} (see figure {k})", "Look at the diagram below. {q}"),
        *("As shown in Figure {k}, things are so. {q}", "{q} Use the graph above."),
        *("{q} Take what is missing from Table {k}.", "Refer to the accompanying figure. {q}"),
        *("{q} Use the result of Problem {k}.", "{q} Proceed as in Example {k}."),
        *(
            "{q} Start from Eq. (17).",
            "As in the previous exercise: {q}",
            "{q} By Theorem {k} it can.",
        ),
        *("The circuit is shown below. {q}", "{q} The data are in the table below."),
        *("{q} Use the picture.", "With the values of the following table: {q}", "{q} See p. 34."),
        *("{q} (Fig 7)", "The following sketch shows it. {q}", "{q} The setup is as pictured."),
        *("{q} Take the lengths from the plot.", "Consider the triangle drawn above. {q}"),
        *(
            "{q} Use your answer to part (b).",
            "{q} Use the data of Problem 3-12.",
            "{q} cf. Sec. 4.2",
        ),
        *("{q} Read the values off the chart.", "Refer to Plate II. {q}"),
    ),
    "prove": (
        *("Prove that the answer to this cannot be another one: {q}", "{q} Prove your result."),
        *("{q} Show that there is only one such value.", "Verify that it is so: {q}"),
        *("{q} Give a proof.", "Demonstrate that this has a solution: {q}"),
        *("{q} Show why this holds in general.", "Disprove that this is impossible: {q}"),
        *("{q} Deduce that it is unique.", "Establish that a solution exists. {q}"),
        *("{q} Provide a rigorous proof.", "Show, by induction, that it is so. {q}", "{q} Proof?"),
        *("{q} Argue that no other value will do.", "Conclude that it is so: {q}"),
        *("{q} Show there is no other.", "Write out a complete proof. {q}"),
    ),
    SENTINEL: (
        *("proof", "Proof.", "notfound", "not found", "N/A", "n/a", "NA", "None", "-", "unknown"),
        *(
            "see solution",
            "Answers will vary.",
            r"\text{{N/A}}",
            r"\text{{proof}}",
            "(proof)",
            "N.A.",
        ),
        *(
            "NaN",
            "null",
            "[omitted]",
            "not applicable",
            "no solution given",
            "See text.",
            "*",
            "...",
        ),
        *("No answer provided", "Not Available", r"\textbf{{Proof}}", "see the back of the book"),
        *("Answers may vary", "No final answer", "proof below", "to be determined", "?"),
    ),
    LETTER: ("A", "B.", "(C)", "d", "(e)", "D)", "Option B", "C. "),
    TWICE: (
        *("{q} {o}", "(a) {q} (b) {o}", "a) {q}\nb) {o}", "1. {q} 2. {o}", "i) {q} ii) {o}"),
        *("{q} Also: {o}", "{q}\n\n{o}", "First: {q} Second: {o}", "{q} Then {o}", "{q} -- {o}"),
        *("Q1: {q} Q2: {o}", "(1) {q} (2) {o}", "A) {q} B) {o}", "{q} Moreover, {o}"),
    ),
}
"""Faults that the filters were made for. {q} is the question, {a} its answer, {o} another one."""
UNSEEN: dict[str, Sequence[str]] = {
    "answer in the question": (
        *("{q} ({a})", "{q} -> {a}", "{q} Ans = {a}", "{q} Correct result: {a}", "{q} Soln: {a}"),
        *("The solution is {a}. {q}", "{q} The result should be {a}.", "{q} We get {a}."),
        *("{q} Answer key: {a}", "{q} Note: the answer is {a}", "{q} Reply: {a}", "{q} ~ {a}"),
    ),
    "phone and e-mail": (
        *(
            "{q} E-mail: {n}@lab.example.ac.uk",
            "{q} ({d}) {d}-{e}",
            "Ring us on 01632 9{d}{e}. {q}",
        ),
        *("{q} Mob: 07{d} {d} {e}", "{q} +1 ({d}) {d}-{e}", "{q} {n} (at) uni (dot) example"),
        *("{q} Questions? Dial {d}-{e}", "{q} Tel/Fax: 0{d}/{e}{d}", "{q} <{n}@books.example>"),
    ),
    "see Fig. 3": (
        *(
            "{q} Figure {k} may help.",
            "{q} The diagram shows how.",
            "{q} Use the values in the graph.",
        ),
        *("The graph at right shows it. {q}", "{q} (Compare Exercise {k}.)", "Using the map, {q}"),
        *("{q} Use Newton's law from Section {k}.", "The figure gives the details. {q}"),
        *("{q} The picture on the left shows this.", "In the last problem this was prepared. {q}"),
        *("{q} Take the values from Appendix B.", "{q} (Recall Definition {k}.)"),
    ),
    "prove": (
        *("{q} Justify that no smaller one works.", "{q} Prove it.", "{q} Show this rigorously."),
        *("{q} Explain why there can be no other.", "Prove by contradiction that it is so. {q}"),
        *(
            "{q} Include a formal proof.",
            "{q} Show also that it is unique.",
            "{q} Derive this result.",
        ),
    ),
    SENTINEL: (
        *("no answer available", "not-found", "Solution not found", "(no answer)", "unanswered"),
        *(
            "<none>",
            "N / A",
            "Proof is omitted",
            "Left as an exercise",
            "varies by student",
            "#N/A",
        ),
        *("See figure 3", "cannot be determined from the text", "answer missing", "[proof]", "TBA"),
    ),
    LETTER: ("b)", "Answer: C", "[D]", "choice (a)", "E", r"\text{{B}}", "**A**", "option c"),
    TWICE: (
        *("{q} And {o}", "{q}; {o}", "{q} After that: {o}", "Question 1. {q} Question 2. {o}"),
        *("I. {q} II. {o}", "{q} In addition, {o}", "- {q}\n- {o}", "{q} Finally: {o}"),
    ),
}
"""Written when the filters stood; nothing was mended for them."""


def planted(
    asked: Sequence[Asked], forms: Mapping[str, Sequence[str]] = FORMS, seed: int = 0
) -> dict[str, list[Asked]]:
    """Each fault in each of these questions."""
    rng = random.Random(f"planted {seed}")
    found: dict[str, list[Asked]] = {name: [] for name in forms}
    others = [*asked[1:], *asked[:1]]
    for name, worded in forms.items():
        for (question, answer), (other, second) in zip(asked, others, strict=True):
            form = rng.choice(worded)
            given = {"q": question, "a": answer, "o": other} | _drawn(rng)
            if name in (SENTINEL, LETTER):
                found[name].append((question, form.format(**given)))
            elif name == TWICE:
                joined = f"{answer}{rng.choice(('; ', ' and ', ', '))}{second}"
                found[name].append((form.format(**given), joined))
            else:
                found[name].append((form.format(**given), answer))
    return found


def _drawn(rng: random.Random) -> dict[str, str]:
    """A name, three and four digits, the number of a figure."""
    digits = "".join(rng.choices("23456789", k=7))
    return {
        "n": rng.choice(("j.doe", "prof_smith", "help+maths", "a-b.c")),
        "d": digits[:3],
        "e": digits[3:],
        "k": f"{rng.randint(1, 12)}{rng.choice(('', '.3', 'a'))}",
    }
