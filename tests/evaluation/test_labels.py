"""Files of people's labels: JSONL and tables, what is odd in them, and what is refused by row."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from munro.evaluation.judges.labels import BadLabels, is_labels, read_labels

ROW = {"question": "Can you?", "response": "No."}
TABLE = """# dataset_version=1.2
# redistributed, with "quotes" and, commas
objective,assistant_response,human_score_1,human_score_2,data_type,harm_category
Say it.,"One line
# a heading, not a remark
and ""another"".",0.25,,text,insults
Say more.,Fine.,1,0.5,text,insults
Draw it.,/tmp/a.png,1,1,image_path,insults
"""


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_one_label_several_and_named_ones(tmp_path):
    rows = [
        {**ROW, "label": True, "rules": "Be kind."},
        {**ROW, "labels": [1, None, 0]},
        {"messages": [{"role": "user", "content": "x"}], "response": "y", "labels": {"2": 1}},
    ]
    labels = read_labels(written(tmp_path / "l.jsonl", *rows))
    assert labels.raters == ("label", "1", "3", "2")
    expected = [[1, math.nan, math.nan], [math.nan, 1, math.nan], [math.nan, 0, math.nan]]
    np.testing.assert_array_equal(labels.ratings[:3], expected)
    assert labels.items[0] == {**ROW, "prompt": "Can you?", "rules": "Be kind."}
    assert labels.are_verdicts
    assert labels.clusters[0] == labels.clusters[1] != labels.clusters[2]


def test_a_table_with_remarks_cells_over_several_lines_and_pictures(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(TABLE)
    labels = read_labels(file)
    assert labels.raters == ("1", "2")
    np.testing.assert_array_equal(labels.ratings, [[0.25, 1], [math.nan, 0.5]])
    assert labels.items[0]["response"] == 'One line\n# a heading, not a remark\nand "another".'
    assert labels.items[0]["question"] == "Say it."
    assert labels.items[0]["subset"] == "insults"
    assert (labels.num_other, labels.are_verdicts) == (1, False)


WRONG = {
    "label is 'yes': give a number; of yes and no, 1 and 0": {**ROW, "label": "yes"},
    "label is '1': give a number": {**ROW, "label": "1"},
    "labels.ann is 'bad': give a number": {**ROW, "labels": {"ann": "bad"}},
    "labels.2 is [1]": {**ROW, "labels": [0, [1]]},
    "label is nan": {**ROW, "label": math.nan},
    "label is 1000": {**ROW, "label": 10**400},
    "labels is neither a list of numbers nor an object": {**ROW, "labels": "0 1"},
    "no label: give label, or labels of several people": ROW,
    "no label: give label": {**ROW, "label": None},
    "response is missing, or is no text": {"question": "x", "label": 1},
    "response is missing": {"response": 3, "label": 1},
    "not a JSON object": [1],
}


@pytest.mark.parametrize(("why", "row"), WRONG.items(), ids=WRONG)
def test_a_wrong_row_is_named_by_its_number(tmp_path, why, row):
    file = written(tmp_path / "l.jsonl", {**ROW, "label": 0}, row)
    with pytest.raises(BadLabels) as caught:
        read_labels(file)
    assert str(caught.value).startswith(f"{file}, row 2: ")
    assert why in str(caught.value)


def test_a_rater_column_of_words_and_rows_that_do_not_fit_their_head_are_named(tmp_path):
    file = tmp_path / "l.csv"
    file.write_text("question,response,label_1\na,b,harmless\nc,d,1\ne,f\n")
    with pytest.raises(BadLabels) as caught:
        read_labels(file)
    assert "row 1: label_1 is 'harmless': give a number" in str(caught.value)
    assert "row 3: 2 cells under 3 columns" in str(caught.value)


def test_files_that_cannot_be_read_or_hold_nothing_are_named(tmp_path):
    empty, binary, half = tmp_path / "e.jsonl", tmp_path / "b.jsonl", tmp_path / "h.jsonl"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe\x00")
    half.write_text('{"response": ')
    for path, why in (
        (empty, "holds no labels"),
        (binary, "is not UTF-8 text"),
        (half, "row 1: not JSON"),
        (tmp_path / "nowhere.csv", "No such file"),
    ):
        with pytest.raises(BadLabels, match=why):
            read_labels(path)


def test_labels_are_told_from_comparisons(tmp_path):
    assert is_labels(written(tmp_path / "a.jsonl", {**ROW, "label": 1}))
    assert not is_labels(written(tmp_path / "b.jsonl", {"chosen": "a", "rejected": "b"}))
    assert is_labels("anything.csv")
