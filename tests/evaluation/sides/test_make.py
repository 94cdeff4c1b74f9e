"""Two sides become a study: blind, without names, and with what cannot be shown told."""

from __future__ import annotations

import json
import random

import pytest
from click.testing import CliRunner

from munro.evaluation.sides.names import Stripper
from munro.evaluation.sides.study import Asked, Key
from munro.evaluation.sides.tasks import paired, read_side
from munro.evaluation.sides.types import BadSides, Kind
from munro.machine.cli.main import munro
from tests.evaluation.kept import kept
from tests.evaluation.sides.studies import side, study, texts


def told(*words) -> str:
    """What a command says; a refusal is its sentence."""
    done = CliRunner().invoke(munro, ["sides", *map(str, words)])
    return done.output if done.exception is None or not str(done.exception) else str(done.exception)


def test_the_same_seed_makes_the_same_files_but_for_the_links(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        study(tmp_path / name, 40, checks=0.1, again=0.1)
    files = {file.name for file in (tmp_path / "one" / "study").iterdir()}
    assert files == {"study.json", "pairs.jsonl", "lists.jsonl", "raters.json", "key.json"}
    for name in files - {"raters.json", "key.json"}:
        one, two = (tmp_path / which / "study" / name for which in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    tokens = {(tmp_path / name / "study" / "raters.json").read_text() for name in ("one", "two")}
    assert len(tokens) == 2


def test_what_the_server_reads_says_nothing_of_whose_is_whose(tmp_path):
    made = study(
        tmp_path,
        400,
        a=[f"ours {at}" for at in range(400)],
        b=[f"theirs {at}" for at in range(400)],
    )
    (made / "key.json").unlink()
    asked = Asked.read(made)
    first = sum(one.startswith("ours") for one, _ in asked.texts)
    assert 160 < first < 240  # a coin's choice
    left = [
        asked.texts[pair][turned].startswith("ours")
        for pair, turned in (look for own in asked.lists.values() for look in own)
    ]
    assert abs(2 * sum(left) - len(left)) <= 3
    for name in ("study.json", "pairs.jsonl", "lists.jsonl"):
        assert "a.jsonl" not in (made / name).read_text()


def test_the_key_puts_both_back(tmp_path):
    made = study(tmp_path, 20, a=[f"ours {at}" for at in range(20)], checks=0.2)
    asked, key = Asked.read(made), Key.read(made)
    for pair, (first, second) in enumerate(asked.texts[:20]):
        ours = first if key.a_first[pair] else second
        assert ours == f"ours {key.tasks[pair].removeprefix('t')}"


def test_equal_answers_are_ties_and_lone_ones_are_named(tmp_path):
    one, other = texts(6, 1), texts(6, 2)
    other[2], other[4] = f"  {one[2]}\n", None
    a, b = side(tmp_path / "a.jsonl", one), side(tmp_path / "b.jsonl", other)
    found = paired(read_side(a), read_side(b))
    assert (found.equal, found.missing) == (("t2",), ("t4",))
    said = told("make", a, b, "--out", tmp_path / "study")
    assert "4 pairs for 3 raters" in said
    assert "1 tasks have equal answers: ties" in said
    assert "1 tasks have one answer alone (t4): left out" in said


def test_prompts_that_differ_are_refused_and_named(tmp_path):
    one = side(tmp_path / "a.jsonl", texts(4, 1))
    other = side(tmp_path / "b.jsonl", texts(4, 2), prompts=["Question 0?", "Another?", "Q", "Q"])
    why = told("make", one, other, "--out", tmp_path / "study")
    assert "3 tasks have another prompt in" in why
    assert "(t1, t2, t3)" in why
    assert "--skip-differing" in why
    assert not (tmp_path / "study").exists()
    said = told(
        "make", one, other, "--out", tmp_path / "study", "--skip-differing", "--checks", "0"
    )
    assert "1 pairs for 3 raters" in said
    assert "3 tasks have another prompt in" in said


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: not a JSON object"),
        ('{"response": "x"}', "line 1: no prompt: give prompt or messages"),
        ('{"prompt": "x"}', "line 1: no answer: give response"),
        ('{"prompt": 7, "response": "x"}', "line 1: prompt is no text"),
        ('{"messages": [{"role": "king", "content": "x"}], "response": "y"}', "message 1 of"),
        ("", "is empty: write one prompt"),
        ('{"prompt": "x", "response": "y"}\n' * 2, "line 2: the task .* is there twice"),
    ],
)
def test_a_wrong_line_is_one_sentence(tmp_path, line, why):
    (tmp_path / "a.jsonl").write_text(line)
    with pytest.raises(BadSides, match=why):
        read_side(tmp_path / "a.jsonl")


def test_no_file_no_study_and_a_taken_folder_are_one_sentence_each(tmp_path):
    assert "cannot read nothing.jsonl: No such file" in told(
        "make", "nothing.jsonl", "nothing.jsonl", "--out", tmp_path / "x"
    )
    for verb in ("serve", "report"):
        assert f"There is no study at {tmp_path}: make one" in told(verb, tmp_path)
    made = study(tmp_path)
    again = told("make", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", made)
    assert "holds a study already" in again
    (made / "pairs.jsonl").write_text("{")
    assert "is damaged" in told("serve", made)


def test_folders_of_results_are_sides_too(tmp_path):
    for name in ("a", "b"):
        kept(
            tmp_path / name,
            [[1], [0], [1]],
            prompt=lambda task: f"What is {task}?",
            reply=lambda task, name=name: f"<think>as {name}</think>It is {name}{task}.",
        )
    a, b = read_side(tmp_path / "a"), read_side(tmp_path / "b")
    found = paired(a, b)
    assert [(one.a, one.b) for one in found.pairs[:1]] == [("It is a0.", "It is b0.")]
    assert found.pairs[0].task == "sums/t0000"
    with pytest.raises(BadSides, match="has no entry 'no': there are sums"):
        read_side(tmp_path / "a", "no")


def test_names_of_models_are_taken_out_and_other_words_stay():
    bare = Stripper(["checkpoints/acme/Larch-7B", "step 40"])
    for text, shown in [
        ("I am Larch-7B.", "I am [name]."),
        ("I'm Claude, made by Anthropic.", "I'm [name], made by [name]."),
        ("As a Gemini model", "As a [name] model"),
        ("ChatGPT says so", "[name] says so"),
        ("Claude Monet painted a llama.", "Claude Monet painted a llama."),
        ("Gemini is a constellation", "Gemini is a constellation"),
        ("larch-7b", "[name]"),
        ("the larches of step 400", "the larches of step 400"),
    ]:
        assert bare(text)[0] == shown


def test_hostile_text_does_not_make_the_names_take_forever():
    chosen = random.Random(0)
    text = "".join(chosen.choice(["I am ", "a ", " the ", "Llama\t", "  "]) for _ in range(60_000))
    assert Stripper(["Larch"])(text)[1] > 0


def test_checks_of_ones_own_and_made_ones(tmp_path):
    checks = tmp_path / "checks.jsonl"
    checks.write_text(json.dumps({"prompt": "1+1?", "good": "2", "bad": "fish"}) + "\n")
    made = study(tmp_path, 30, checks=0.1, checks_file=str(checks))
    key = Key.read(made)
    assert [kinds.count(Kind.CHECK) for kinds in key.kinds.values()] == [1, 1, 1]
    assert key.tasks[30:] == ("check 1",)
    checks.write_text('{"prompt": "1+1?", "good": "2"}\n')
    (tmp_path / "again").mkdir()
    with pytest.raises(BadSides, match="line 1: bad is missing"):
        study(tmp_path / "again", 30, checks=0.1, checks_file=str(checks))


def test_a_made_check_is_of_a_prompt_that_its_rater_sees_nowhere_else(tmp_path):
    made = study(tmp_path, 40, raters=("a", "b", "c", "d"), per_pair=2, checks=0.1)
    asked, key = Asked.read(made), Key.read(made)
    for rater, own in asked.lists.items():
        pairs = [pair for pair, _ in own]
        assert len({json.dumps(asked.prompts[pair]) for pair in pairs}) == len(pairs)
        assert Kind.CHECK in key.kinds[rater]
    # who sees every prompt can have none, which is said
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    assert "no checks: every rater sees every prompt" in told("make", a, b, "--out", made / "2")
    assert "checks and what" in told("make", a, b, "--out", made / "3", "--tasks", 20)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--tasks", "99"), "only 12 tasks have two answers"),
        (("--raters", "2"), "3 raters a pair of 2 in all"),
        (("--raters", "0"), "give 1 to 1000, or names"),
        (("--raters", "ann,ann,bo"), "two raters have the same name"),
        (("--criterion", "a/b"), "is no criterion"),
        (("--criterion", "x", "--criterion", "x"), "a criterion is there twice"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(tmp_path, options, why):
    study(tmp_path)
    said = told(
        "make", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "x", *options
    )
    assert why in said
    assert not (tmp_path / "x").exists()
