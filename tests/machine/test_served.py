"""`munro serve`, `munro eval --harness` and `munro eval likelihood`, as a person types them."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from munro.base_model.checkpoint import Checkpoint
from munro.evaluation import serve
from munro.evaluation.results import Results
from munro.evaluation.serve import Address
from munro.machine.cli.main import munro
from munro.machine.evaluating.manner import manner_of
from munro.rl.clip import Clip
from munro.rl.state import ClimbState
from tests.evaluation.addresses import recording, stand_in
from tests.rollout.builders import make_tokenizer
from tests.rollout.tiny_llama import tiny_llama


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama(tied=False).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def address(monkeypatch):
    """Served in the place of a checkpoint; `asked` says how."""
    with recording() as place:

        @contextmanager
        def served(folder, **asked):
            place.served = [*getattr(place, "served", []), asked]
            yield Address(base_url=place.base_url, model="tiny", key=place.key, notes=("a note",))

        monkeypatch.setattr(serve, "served", served)
        yield place


def say(*words):
    done = CliRunner().invoke(munro, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_serve_prints_the_address_and_the_key_once_and_serves_until_it_ends(
    checkpoint, address, monkeypatch
):
    waited = []
    monkeypatch.setattr(serve, "until_it_ends", waited.append)
    done = say("serve", checkpoint, "--template", "r1_zero", "--port", 0)
    lines = done.output.splitlines()
    assert lines[0].startswith("template r1_zero: the checkpoint does not say")
    assert lines[1] == "note: a note"
    assert f"base_url  {address.base_url}" in lines
    assert done.output.count(address.key) == 1
    assert "top_p 0.97" in done.output
    assert len(waited) == 1
    (asked,) = address.served
    assert (asked["template"], asked["port"]) == ("r1_zero", 0)


def test_a_checkpoint_of_a_climb_is_asked_as_it_was_climbed(tmp_path, checkpoint):
    config = {
        "rollout": {"template": "plain", "temperature": 0.8, "top_p": 0.9},
        "length": {"stages": [64]},
        "distill": {"template": "keep"},
    }
    told = {
        "config": json.dumps(config),
        "climb_state": ClimbState(clip=Clip()).to_json(),
        "run": "mine",
        "step": 40,
    }
    folder = Checkpoint.write(
        tmp_path / "climbed",
        model=tiny_llama(tied=False),
        tokenizer=make_tokenizer(),
        provenance=told,
    ).path
    manner = manner_of(folder, None)
    assert (manner.template, dict(manner.sampling)) == ("plain", {"temperature": 0.8, "top_p": 0.9})
    assert manner.said == "template plain, as mine at step 40"
    assert manner_of(folder, "chat").said.endswith("climbed in plain: other prompts than it knows")
    assert manner_of(checkpoint, None).template == "chat"


def test_a_harnesss_attempts_are_kept_and_the_same_command_asks_nothing_again(
    tmp_path, checkpoint, address
):
    out = tmp_path / "kept"
    command = ["eval", "--harness", "lm-eval", "--model", checkpoint, "--tasks", "a,b"]
    command += ["--runs", 2, "--harness-python", stand_in(tmp_path), "--out", out]
    done = say(*command)
    assert done.exit_code == 0
    assert done.output.count("4 held out, 2 attempts each") == 2
    assert "pass@1           1.000 [" in done.output
    rows = Results(out).rows()
    assert {(row.entry, row.run) for row in rows} == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    assert len(rows) == len(address.asked) == 16
    assert (out / "page.html").is_file()
    assert {row.num_tokens for row in rows} == {len(row.reply) for row in rows}  # a token a byte
    assert {row.ending for row in rows} == {"answered"}
    asked = Results(out).asked("a")
    assert asked["harness"] == "lm-eval"
    assert asked["sampling"] == {"temperature": 1.0, "top_p": 0.97, "max_tokens": 1024}
    again = say(*command)
    assert "pass@1" in again.output
    assert len(address.asked) == 16
    assert len(address.served) == 1


def test_copied_runs_end_in_a_sentence_and_keep_nothing(tmp_path, checkpoint, address):
    address.says = "42"
    command = ["eval", "--harness=lm-eval", "--model", checkpoint, "--tasks", "a"]
    command += ["--harness-python", stand_in(tmp_path), "--out", tmp_path / "kept"]
    with pytest.raises(ValueError, match="a: all 4 runs are byte for byte the same") as caught:
        say(*command)
    assert type(caught.value).is_sentence
    assert Results(tmp_path / "kept").rows() == []


def test_a_likelihood_is_told_and_is_a_reference_for_the_next(tmp_path, checkpoint):
    (tmp_path / "a.txt").write_text("one two three four five")
    suite = tmp_path / "suite.toml"
    suite.write_text('[[sets]]\nname = "code/a"\ncategory = "code"\nfiles = "a.txt"\n')
    figures = tmp_path / "evaluation.json"
    done = say("eval", "likelihood", suite, "--model", checkpoint, "--out", figures)
    assert "code/a" in done.output
    (told,) = json.loads(figures.read_text())
    assert (told["num_bytes"], told["num_tokens"]) == (23, 23)
    done = say("eval", "likelihood", suite, "--model", checkpoint, "--reference", figures)
    assert "target (Eq. 3)               1.0000 of the reference's" in done.output
