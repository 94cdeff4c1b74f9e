"""`munro grade`: a file of responses in, a table and a file of grades out, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from munro.machine.cli.main import munro
from munro.machine.loading import BadConfig
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
