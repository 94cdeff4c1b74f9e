"""Where rules find exercises and answers, and what does not lead them astray."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.questions.mark.outline import outlined
from munro.questions.types import pieces_of, text_of
from tests.questions.reading import asked, flat, marks_of, page_of_html, pages_of, pairs_of

SUMS = "1. What is 2 + 3?\n2. What is 4 + 4?\n3. What is 9 + 7?\n"
KEY = "1. 5\n2. 8\n3. 16\n"
PAIRS = {"What is 2 + 3?": "5", "What is 4 + 4?": "8", "What is 9 + 7?": "16"}


@pytest.mark.parametrize(
    "exercises", ["Exercises", "3.4 Review Problems", "PROBLEMS", "## Questions"]
)
@pytest.mark.parametrize("answers", ["Answers", "ANSWER KEY", "Solutions to the exercises:", "Key"])
def test_headings_in_their_usual_words(exercises: str, answers: str) -> None:
    assert asked(pairs_of(pages_of(f"{exercises}\n{SUMS}{answers}\n{KEY}"))) == PAIRS


@pytest.mark.parametrize(
    "form",
    ["{n}) {q}", "({n}) {q}", "Exercise {n}. {q}", "Problem {n}: {q}", "**{n}.** {q}", "Q{n}. {q}"],
)
def test_numbers_in_their_usual_forms(form: str) -> None:
    lines = [form.format(n=n, q=question) for n, question in enumerate(PAIRS, 1)]
    assert asked(pairs_of(pages_of("\n".join(["Exercises", *lines, "Answers", KEY])))) == PAIRS


def test_answers_before_the_questions() -> None:
    assert asked(pairs_of(pages_of(f"Answers\n{KEY}Exercises\n{SUMS}"))) == PAIRS


def test_the_same_number_in_three_chapters_is_three_exercises() -> None:
    book, key, expected = "", "Answers\n", {}
    for chapter in (1, 2, 3):
        sums = [(f"What is {chapter} + {n}?", str(chapter + n)) for n in (20, 30, 40)]
        expected |= dict(sums)
        numbered = "".join(f"{n}. {question}\n" for n, (question, _) in enumerate(sums, 1))
        book += f"Chapter {chapter}\nSome text.\nExercises\n{numbered}"
        key += f"Chapter {chapter}\n" + "".join(f"{n}. {a}\n" for n, (_, a) in enumerate(sums, 1))
    assert asked(pairs_of(pages_of(book + key))) == expected


def test_two_books_in_one_file_keep_their_own_keys() -> None:
    other = "1. What is 11 + 22?\n2. What is 30 + 3?\n3. What is 50 + 5?\n"
    one = f"Chapter 1\nText of the one.\nExercises\n{SUMS}Answers\n{KEY}"
    two = f"Chapter 1\nText of the other.\nExercises\n{other}Answers\n1. 33\n2. 33\n3. 55\n"
    found = asked(pairs_of(pages_of(one + two)))
    assert {key: found[key] for key in PAIRS} == PAIRS
    assert found["What is 50 + 5?"] == "55"


def test_a_list_inside_an_exercise_is_part_of_it() -> None:
    inner = "2. Put these in order:\n1. ice\n2. steam\n"
    text = f"Exercises\n1. What is 2 + 3?\n{inner}3. What is 9 + 7?\n"
    spans = [span for span in marks_of(pages_of(text)).kept if span.role == "question"]
    assert [span.label for span in spans] == ["1", "2", "3"]
    whole = text_of([text])
    assert flat(pieces_of(whole, spans[1].pieces)) == "Put these in order: 1. ice 2. steam"


def test_years_and_decimals_at_the_start_of_a_line_begin_nothing() -> None:
    text = f"Exercises\n1. A comet came in the year\n1910. What is 2 + 3?\n{SUMS[18:]}"
    spans = [span for span in marks_of(pages_of(text)).kept if span.role == "question"]
    assert [span.label for span in spans] == ["1", "2", "3"]


def test_several_answers_on_a_line_and_a_sentence_that_only_looks_so() -> None:
    found = pairs_of(pages_of(f"Exercises\n{SUMS}Answers\n1. 5   2. 8   3. 16"))
    assert asked(found) == PAIRS
    text = "Answers\n1. The value of the whole sum is then found to be 2. Therefore 5\n2. 8\n"
    spans = [span for span in marks_of(pages_of(text)).kept if span.role == "answer"]
    assert [span.label for span in spans] == ["1", "2"]


def test_running_heads_are_told_by_what_they_do() -> None:
    body = "A line of text here.\nAnother of them.\nA third one.\nA fourth one.\n"
    texts = [
        f"{n} Waves and Light\n{body.replace('line', f'line {n}')}{n + 10}" for n in range(1, 7)
    ]
    lines = outlined(pages_of(*texts)).kept
    whole = text_of(texts)
    running = [whole[line.begin : line.end] for line in lines if line.kind == "running"]
    assert sum("Waves" in one for one in running) == 6
    assert sum(one.isdigit() for one in running) == 6


def test_a_line_of_many_exercises_is_no_running_head_and_short_pages_have_theirs() -> None:
    end = "of 10 m/s per second. Find the work that is done."
    texts = [
        f"A Book {n}\n1. One.\n{end}\n2. Two.\n{end}\n3. Three.\n{end}\n{n}" for n in range(1, 6)
    ]
    texts.append("A Book 6\nthe last line\n6")
    whole = text_of(texts)
    lines = outlined(pages_of(*texts)).kept
    running = [whole[line.begin : line.end] for line in lines if line.kind == "running"]
    assert running == [one for n in range(1, 7) for one in (f"A Book {n}", str(n))]


def test_two_pages_are_enough_for_what_counts_them_and_not_for_lines_that_go_on_counting() -> None:
    body = "One.\nTwo.\nThree.\nFour.\n"
    texts = [f"A Book {n}\n{body}{n}" for n in (7, 8)]
    counted = [f"A title\n{body}{n}\n" for n in (7, 9)]  # no page numbers: they count by two
    goes_on = [f"First\n{body}41", f"42\n{body}last"]
    for pages, expected in (
        (texts, [one for n in (7, 8) for one in (f"A Book {n}", str(n))]),
        (counted, []),
        (goes_on, []),
    ):
        whole = text_of(pages)
        lines = outlined(pages_of(*pages)).kept
        assert [whole[one.begin : one.end] for one in lines if one.kind == "running"] == expected


def test_what_stands_across_a_page_without_text_is_left_out() -> None:
    outcome = marks_of(pages_of("Exercises\n1. What is\n", "", "2 + 3?\n2. What is 4 + 4?\n"))
    assert [span.label for span in outcome.kept] == ["2"]
    (dropped,) = outcome.dropped
    assert (dropped.reason, dropped.evidence) == ("a page inside it has no text", "page 2")


def test_html_keeps_mathematics_as_latex_and_leaves_menus_out(tmp_path: Path) -> None:
    html = """<html><head><title>t</title></head><body><nav>Home</nav><script>x = "1. no"</script>
    <h2>Exercises</h2><ol><li>Find <math><mfrac><mn>1</mn><msqrt><mi>x</mi></msqrt></mfrac></math>.
    <li value="2">Simplify <math><semantics><mi>y</mi><annotation encoding="application/x-tex">y^{2}
    </annotation></semantics></math> and <script type="math/tex">z_1 &lt; 3</script></li></ol>
    <p>Then <img class="mwe-math" alt="\\alpha + 1"><span aria-hidden="true">twice</span>
    10<sup>6</sup><footer>About us</footer></body></html>"""
    page = page_of_html(html, tmp_path)
    text = flat(page.text)
    assert r"1. Find \(\frac{1}{\sqrt{x}}\)." in text
    assert r"2. Simplify \(y^{2}\) and \(z_1 &lt; 3\)" in text
    assert r"Then \(\alpha + 1\)" in text
    assert "10^6" in text
    assert not [word for word in ("Home", "no", "twice", "About") if word in text]
    assert page.text[page.headings[0] : page.headings[1]] == "Exercises"


def test_hostile_markup_is_read_to_its_end(tmp_path: Path) -> None:
    deep = "<div>" * 10_000 + "<math>" + "<mrow>" * 10_000 + "1. What is 2 + 3?"
    assert "What is 2 + 3?" in page_of_html(deep, tmp_path).text
