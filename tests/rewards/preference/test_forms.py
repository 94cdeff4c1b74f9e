"""Preferences in the forms in which people keep them; a wrong row is named by its number."""

from __future__ import annotations

import gzip
import json

import pytest

from munro.rewards.preference.comparisons import (
    BadComparisons,
    parse_comparisons,
    read_comparisons,
)
from munro.rewards.preference.form import FORMS, forms, stretched
from munro.rewards.preference.forms.helpsteer3 import BY_MARGIN

USER = {"role": "user", "content": "What is a cairn?"}
STONES = {"role": "assistant", "content": "A heap of stones."}
DOG = {"role": "assistant", "content": "A dog."}
SYSTEM = {"role": "system", "content": "Be brief."}
ASKED, GOOD, BAD = USER["content"], STONES["content"], DOG["content"]


def read(**row):
    return parse_comparisons(json.dumps(row))


@pytest.mark.parametrize(
    ("row", "context"),
    [
        ({"prompt": ASKED, "chosen": GOOD, "rejected": BAD, "score_chosen": 8.5}, ASKED),
        ({"prompt": [USER], "chosen": [STONES], "rejected": [DOG]}, ASKED),
        ({"chosen": [USER, STONES], "rejected": [USER, DOG]}, ASKED),
        ({"prompt": [USER], "chosen": [USER, STONES], "rejected": [USER, DOG]}, ASKED),
        ({"prompt": ASKED, "chosen": [USER, STONES], "rejected": [USER, DOG]}, ASKED),
        ({"prompt": ASKED, "chosen": [STONES], "rejected": [DOG]}, ASKED),
        (
            {"prompt": [SYSTEM, USER], "chosen": [STONES], "rejected": [DOG]},
            f"system: Be brief.\n\nuser: {ASKED}",
        ),
        (
            {"chosen": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, STONES],
             "rejected": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}, DOG]},
            ASKED,
        ),
        (
            {"chosen": f"\n\nHuman: {ASKED}\n\nAssistant: A heap of stones.",
             "rejected": f"\n\nHuman: {ASKED}\n\nAssistant: A dog."},
            f"\n\nHuman: {ASKED}\n\nAssistant:",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)  # fmt: skip
def test_trl_pairs_as_texts_and_messages_with_and_without_a_prompt(row, context):
    (found,) = read(**row)
    assert found.context == context
    assert found.candidates == (GOOD, BAD)
    assert found.scores == (5, 2)


def test_an_implicit_prompt_of_texts_ends_before_the_first_word_that_differs():
    (found,) = read(chosen="The sky is blue.", rejected="The sky is bright green.")
    assert (found.context, found.candidates) == ("The sky is", ("blue.", "bright green."))


def test_replies_of_several_turns_keep_their_roles_and_what_came_before_them():
    more = {"role": "user", "content": "And a loch?"}
    (found,) = read(prompt=ASKED, chosen=[STONES, more, STONES], rejected=[STONES, more, DOG])
    assert found.context.startswith(f"user: {ASKED}\n\nassistant: {GOOD}\n\nuser: And a loch?")
    assert found.candidates == (GOOD, BAD)
    (split,) = read(prompt=ASKED, chosen=[STONES, more, STONES], rejected=[DOG])
    assert split.candidates[0] == f"assistant: {GOOD}\n\nuser: And a loch?\n\nassistant: {GOOD}"


@pytest.mark.parametrize("preference", range(-3, 4))
def test_helpsteer3_says_how_much_better_and_scores_differ_by_as_much(preference):
    (found,) = read(
        context=[SYSTEM, USER],
        response1=GOOD,
        response2=BAD,
        overall_preference=preference,
        individual_preference=[{"score": preference, "reasoning": "x"}],
        domain="general",
    )
    assert found.scores[1] - found.scores[0] == preference
    assert found.context == f"system: Be brief.\n\nuser: {ASKED}"
    assert found.subset == "general"
    assert len(found.pairs) == (preference != 0)


def test_the_margins_of_helpsteer3_stay_above_an_answer_to_another_question():
    assert all(worse > 1 and better - worse == by for by, (better, worse) in BY_MARGIN.items())


def test_ultrafeedback_scores_on_either_scale_and_as_lists():
    completions = [{"response": GOOD, "overall_score": 10}, {"response": BAD, "overall_score": 1.5}]
    (found,) = read(instruction=ASKED, completions=completions, source="evol_instruct")
    assert (found.scores, found.subset) == ((5, 1), "evol_instruct")
    fine = [{"response": GOOD, "fine-grained_score": 4.75, "overall_score": 2},
            {"response": BAD, "fine-grained_score": 1.25, "overall_score": 9}]  # fmt: skip
    assert read(instruction=ASKED, completions=fine)[0].scores == (5, 1)
    (lists,) = read(prompt=ASKED, responses=[GOOD, BAD, "No."], scores=[4.6, 2.4, 2.4])
    assert lists.scores == (5, 2, 2)
    assert read(input=ASKED, generations=[GOOD, BAD], ratings=[5, 3])[0].candidates == (GOOD, BAD)
    assert stretched([1, 5.5, 10], low=1, high=10) == (1, 3, 5)


def test_rewardbench_one_is_pairs_by_subset_and_two_is_the_best_of_four():
    (one,) = read(prompt=ASKED, chosen=GOOD, rejected=BAD, subset="refusals-offensive", id=3)
    assert one.subset == "refusals-offensive"
    (two,) = read(
        prompt=ASKED, chosen=[GOOD], rejected=[BAD, "A fish.", "No."], subset="Factuality",
        num_correct=1, total_completions=4,
    )  # fmt: skip
    assert two.scores == (5, 2, 2, 2)
    assert two.pairs == [(0, 1), (0, 2), (0, 3)]
    (ties,) = read(prompt=ASKED, chosen=[GOOD, "Stones."], rejected=[BAD], subset="Ties")
    assert ties.pairs == [(0, 2), (1, 2)]


SAFE = {
    "prompt": ASKED, "response_0": GOOD, "response_1": BAD,
    "is_response_0_safe": False, "is_response_1_safe": True, "response_0_severity_level": 2,
    "better_response_id": 0, "safer_response_id": 1,
}  # fmt: skip


def test_pku_saferlhf_answers_two_questions_and_one_is_chosen(tmp_path):
    better, safer = read(**SAFE)
    assert (better.question, better.scores) == ("better", (5, 2))
    assert (safer.question, safer.scores) == ("safer", (2, 5))
    file = tmp_path / "safe.jsonl"
    file.write_text(json.dumps(SAFE) + "\n")
    assert read_comparisons(file, question="safer") == [safer]
    with pytest.raises(BadComparisons, match=r"question 'safest': there are better and safer"):
        read_comparisons(file, question="safest")


def test_every_form_has_a_file_and_mixed_files_are_read_line_by_line(tmp_path):
    assert set(FORMS.names()) == set(forms()) == {
        "helpsteer3", "rewardbench2", "safe_rlhf", "scored", "trl", "ultrafeedback",
    }  # fmt: skip
    file = tmp_path / "mixed.jsonl.gz"
    rows = [SAFE, {"prompt": ASKED, "chosen": GOOD, "rejected": BAD}]
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert len(read_comparisons(file)) == 3


WRONG = {
    "chosen equals rejected": {"prompt": "p", "chosen": "a", "rejected": "a"},
    "chosen equals rejected ": {"chosen": [USER, DOG], "rejected": [USER, DOG]},
    "chosen equals rejected  ": {"context": "p", "chosen": "a", "rejected": "a"},
    "candidates 1 and 3 are the same text, with scores 5 and 1": {
        "context": "p", "candidates": ["a", "b", "a"], "scores": [5, 3, 1]},
    "rejected missing: the form nearest to these columns has prompt, chosen, rejected": {
        "prompt": "p", "chosen": "a"},
    "prompt is missing, and chosen and rejected begin with nothing alike": {
        "chosen": "Yes", "rejected": "No"},
    "are not alike: give two texts or two lists": {
        "prompt": "p", "chosen": "a", "rejected": [DOG]},
    "chosen is not a text": {"prompt": "p", "chosen": 3, "rejected": "a"},
    "message 1 of chosen is no {role, content} with a role of": {
        "prompt": "p", "chosen": [{"role": "robot", "content": "x"}], "rejected": [DOG]},
    "the content of a message is no text": {
        "prompt": "p", "chosen": [{"role": "assistant", "content": [{"type": "image"}]}],
        "rejected": [DOG]},
    "rejected ends where the other one goes on": {"chosen": [USER, DOG], "rejected": [USER]},
    "overall_preference is 4: give a number from -3 to 3": {
        "context": [USER], "response1": "a", "response2": "b", "overall_preference": 4},
    "overall_preference is '1'": {
        "context": [USER], "response1": "a", "response2": "b", "overall_preference": "1"},
    "overall_preference is 1.5: give a whole number": {
        "context": [USER], "response1": "a", "response2": "b", "overall_preference": 1.5},
    "safer_response_id is 2: give 0 or 1": {
        "prompt": "p", "response_0": "a", "response_1": "b", "safer_response_id": 2},
    "overall_score is 11: give a number from 1 to 10": {
        "instruction": "p", "completions": [{"response": "a", "overall_score": 11}]},
    "not every completion has a score": {
        "instruction": "p", "completions": [{"response": "a", "overall_score": 1},
                                            {"response": "b"}]},
    "ratings must hold 2 numbers": {"prompt": "p", "generations": ["a", "b"], "ratings": [1]},
    "rejected is not a list of texts, at least one": {
        "prompt": "p", "chosen": ["a"], "rejected": []},
    "these columns are no preferences. There are: helpsteer3 (context, response1": {
        "completion": "a", "label": True},
    "one candidate: at least 2": {"prompt": "p", "responses": ["a"], "scores": [3]},
}  # fmt: skip


@pytest.mark.parametrize(("why", "row"), WRONG.items(), ids=WRONG)
def test_a_wrong_row_is_named_by_its_number(tmp_path, why, row):
    file = tmp_path / "wrong.jsonl"
    good = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"})
    file.write_text(f"{good}\n\n{json.dumps(row)}\n{good}\n")
    with pytest.raises(BadComparisons) as caught:
        read_comparisons(file)
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert why.strip() in str(caught.value)
    told = []
    assert len(read_comparisons(file, on_wrong=lambda number, _: told.append(number))) == 2
    assert told == [3]


def test_many_wrong_rows_are_named_together(tmp_path):
    file = tmp_path / "wrong.jsonl"
    file.write_text("{}\n" * 7)
    with pytest.raises(BadComparisons, match=r"line 1: .*; line 5: .* \(2 more\)$"):
        read_comparisons(file)
    with pytest.raises(BadComparisons, match="holds wrong lines alone"):
        read_comparisons(file, on_wrong=lambda *_: None)
