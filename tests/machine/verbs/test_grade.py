"""`munro grade`: a file of responses in, a table and a file of grades out, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from munro.machine.cli.main import munro
from munro.machine.loading import BadConfig
from munro.rewards.length.usual import LengthRanges
from tests.rewards.judges import ScriptedJudge, says


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def answers(*replies):
    return [{"response": f"<answer>{reply}</answer>", "answer": "1"} for reply in replies]


def graded(*arguments):
    """Exit status of the command."""
    with pytest.raises(SystemExit) as leaving:
        munro.main(["grade", *arguments], standalone_mode=False)
    return leaving.value.code


def rows_of(path):
    return {row["line"]: row for row in map(json.loads, path.read_text().splitlines())}


def test_every_line_is_graded_and_the_table_says_how_it_went(tmp_path, capsys):
    file, out = written(tmp_path / "replies.jsonl", answers(1, 2, 1, 1)), tmp_path / "out.jsonl"
    assert graded(file, "--kind", "math", "--out", str(out)) == 0
    assert "75.0%" in capsys.readouterr().out
    assert [row["passed"] for _, row in sorted(rows_of(out).items())] == [True, False, True, True]


def test_a_second_run_grades_only_what_is_new_changed_or_failed(tmp_path, capsys):
    rows = answers(1, 2, 3)
    rows[1]["answer"] = r"\frac{"
    file, out = tmp_path / "replies.jsonl", tmp_path / "out.jsonl"
    assert graded(written(file, rows), "--kind", "math", "--out", str(out)) == 1
    said = capsys.readouterr().out
    assert "replies.jsonl:2" in said
    assert "failure" in rows_of(out)[2]

    before = rows_of(out)
    rows[1]["answer"], rows[2]["answer"] = "2", "3"
    assert graded(written(file, [*rows, *answers(4)]), "--kind", "math", "--out", str(out)) == 0
    assert "(1 before)" in capsys.readouterr().out
    after = rows_of(out)
    assert [after[n]["passed"] for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert after[1] == before[1]


def test_a_last_line_that_was_cut_short_is_graded_again(tmp_path, capsys):
    file, out = written(tmp_path / "replies.jsonl", answers(1, 1)), tmp_path / "out.jsonl"
    assert graded(file, "--kind", "math", "--out", str(out)) == 0
    whole = out.read_text()
    out.write_text(whole[:-7])
    assert graded(file, "--kind", "math", "--out", str(out)) == 0
    assert "(1 before)" in capsys.readouterr().out
    assert len(rows_of(out)) == 2


def test_another_option_is_another_grading(tmp_path, capsys):
    rows = [{"response": "a, b", "instructions": [{"id": "punctuation:no_comma"}]}]
    file, out = written(tmp_path / "replies.jsonl", rows), tmp_path / "out.jsonl"
    arguments = [file, "--kind", "instructions", "--out", str(out)]
    assert graded(*arguments) == 0
    assert graded(*arguments, "--score", "all") == 0
    assert "before" not in capsys.readouterr().out


def test_bad_lines_are_named_before_anything_is_graded(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text('{"response": "1", "answer": "1"}\n\nno\n[1]\n{"response": "1"}\n')
    with pytest.raises(BadConfig) as refusal:
        graded(str(file), "--kind", "math")
    for place in ("replies.jsonl:3: not JSON", ":4: not a JSON object", ":5: 'answer' is missing"):
        assert place in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kind", "maths"], "Did you mean 'math'"),
        (["--kind", "math", "--reward", "x"], "no option 'reward'"),
        (["--kind", "instructions", "--mode", "lax"], "give 'strict' or 'loose'"),
        (["--kind", "judge"], "--judge.model"),
        (["--kind", "code", "--sandbox.cpu_s", "-1"], "cpu_s"),
        (["--kind", "math", "--out", "{file}"], "no line that `munro grade` wrote"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, sentence, tmp_path):
    rows = [{**row, "tests": [{"stdout": "1"}]} for row in answers(1)]
    file = written(tmp_path / "replies.jsonl", rows)
    with pytest.raises(BadConfig) as refusal:
        graded(file, *(each.replace("{file}", file) for each in arguments))
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_judge_that_the_recipe_names_is_asked(tmp_path, capsys):
    with ScriptedJudge([says(verdict="yes")]) as judge:
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(
            'num_steps = 1\n[env]\npath = "arithmetic"\n'
            f'[judge.mine]\nmodel = "scripted"\nbase_url = "{judge.url}"\ncache = ""\n'
        )
        row = {"question": "1 + 1?", "response": "two", "answer": "2"}
        file = written(tmp_path / "replies.jsonl", [row])
        asked = ("--kind", "judge", "--config", str(recipe), "--judge", "mine")
        assert graded(file, *asked, "--ask", "equivalence") == 0
        assert len(judge.requests) == 1


def test_it_imports_neither_torch_nor_ray(tmp_path):
    file = written(tmp_path / "replies.jsonl", answers(1))
    program = (
        "import sys; from munro.machine.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'ray', 'vllm', 'transformers'} & {*sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "grade", file, "--kind", "math"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]")


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_a_file_without_lines_is_refused(text, tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text(text)
    with pytest.raises(BadConfig, match=r"replies.jsonl holds no lines: there is nothing to grade"):
        graded(str(file), "--kind", "math")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("true", "'answer' is not a text or a whole number or a number"),
        ("NaN", "not JSON .NaN is no number"),
        ("-Infinity", "not JSON .-Infinity is no number"),
        ("1e999", "not JSON .1e999 is no number"),
        ("null", "'answer' is not a text"),
    ],
)
def test_an_answer_that_is_none_is_refused_with_its_line(value, sentence, tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text(f'{{"response": "1", "answer": 1}}\n{{"response": "1", "answer": {value}}}\n')
    with pytest.raises(BadConfig, match=f"replies.jsonl:2: {sentence}"):
        graded(str(file), "--kind", "math")


def test_a_byte_order_mark_says_nothing(tmp_path, capsys):
    file = tmp_path / "replies.jsonl"
    file.write_text(json.dumps(answers(1)[0]) + "\n", encoding="utf-8-sig")
    assert graded(str(file), "--kind", "math") == 0
    assert "100.0%" in capsys.readouterr().out


JUDGE = ["--kind", "judge", "--judge.model", "m", "--judge.cache", ""]
UNUSABLE = {
    "equivalence": ({}, "'answer' is missing: the judge has nothing to go by"),
    "honesty": ({"answer": " "}, "'answer' is missing"),
    "rubric": ({}, "the rubric is empty"),
    "rubric, a field": (
        {"criteria": ["Names {city}."]},
        "criterion 1 of the rubric names {city}, which is no field",
    ),
    "policy": ({"target": "refuse"}, "'rules' is missing"),
    "policy, target": (
        {"rules": "x", "target": "maybe"},
        "target = 'maybe': give refuse, partial or do-not-refuse",
    ),
    "policy, severity": ({"rules": "x", "severity": 4}, "severity = 4: give a level from 0 to 3"),
    "policy, need": ({"rules": "x", "need": -1}, "need = -1: give a level"),
    "scale": ({"messages": [{"role": "bot"}]}, "message 1 of 'messages' is no {role, content}"),
}


@pytest.mark.parametrize("ask", UNUSABLE)
def test_a_line_that_a_judge_cannot_use_is_named_before_anybody_is_asked(ask, tmp_path):
    bad, sentence = UNUSABLE[ask]
    good = {"answer": "x", "criteria": ["Is kind."], "rules": "x"}
    rows = [{"response": "x", **row} for row in (good, bad)]
    file = written(tmp_path / "replies.jsonl", rows)
    asked = [*JUDGE, "--ask", ask.partition(",")[0], "--judge.base_url"]
    with ScriptedJudge([]) as judge, pytest.raises(BadConfig) as refusal:
        graded(file, *asked, judge.url)
    assert f"replies.jsonl:2: {sentence}" in str(refusal.value)
    assert judge.requests == []


def test_lengths_that_cannot_be_told_and_tests_and_instructions_that_are_none_are_named_first(
    tmp_path,
):
    ranges = tmp_path / "lengths.json"
    LengthRanges(unit="tokens", low=0.05, high=0.95, overall=(1, 9)).save(ranges)
    for options, row, sentence in (
        (["length_range", "--path", str(ranges)], {}, "'num_tokens' is missing"),
        (["brevity", "--unit", "tokens"], {}, "'num_tokens' is missing"),
        (["instructions"], {}, "there are no instructions"),
        (["instructions"], {"instructions": [{"id": "punctuation:no_coma"}]}, "no_comma"),
        (["code"], {"tests": []}, "tests = []: a program without a test"),
    ):
        file = written(tmp_path / "replies.jsonl", [{"response": "x", **row}])
        with pytest.raises(BadConfig) as refusal:
            graded(file, "--kind", *options)
        assert "replies.jsonl:1: " in str(refusal.value)
        assert sentence in str(refusal.value)
