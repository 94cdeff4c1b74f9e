"""A card says what the run recorded, its secrets stay, and the hub gets whole files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from munro.base_model.checkpoint import Checkpoint
from munro.machine.cli.main import main
from munro.machine.climb.origin import origin_of
from munro.machine.climb.start import raw
from munro.machine.config import RunConfig
from munro.machine.run.folder import RunFolder, Status
from munro.rl.state import ClimbState
from tests.hub import FakeHub, serving, use
from tests.rl.builders import make_model, save_model

COMMIT = "0123456789" * 4
RECORDED = f"own/base@{COMMIT} sha256:{'ab' * 32}"
SECRETS = ("/home/someone", "10.0.0.7", "MY_KEY_NAME", "someone/.cache")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of four steps with one restart, on a named and a private environment."""
    config = RunConfig.model_validate(
        {
            "name": "stem", "num_steps": 4, "seed": 7, "model": {"path": "own/base"},
            "env": [
                {"path": "arithmetic", "args": {"digits": 2}},
                {"path": "qa", "args": {"path": "/home/someone/rows|x.jsonl"}},
            ],
            "judge": {
                "j": {
                    "model": "m", "base_url": "http://10.0.0.7:80/v1", "api_key_env": "MY_KEY_NAME"
                }
            },
            "rollout": {"template": "r1_zero"}, "eval": {"num_tasks": 50, "runs": 2},
        }
    )  # fmt: skip
    run = RunFolder(tmp_path / "runs" / "stem")
    models = {"model": "/home/someone/.cache/x", "model.path": RECORDED}
    with run.held():
        run.begin(raw(config), seed=7, provenance=models)
        for step, rate in ((0, 0.25), (2, 0.5), (4, 0.75)):
            run.metrics.append(step, rates(rate))
        provenance = {
            "run": "stem", "step": 4, "began_from": "/home/someone/.cache/x", "models": models,
            "climb_state": ClimbState.first(config.clip).to_json(),
            "config": json.dumps(raw(config)), "template": "r1_zero",
        }  # fmt: skip
        save_model(tmp_path / "plain")
        Checkpoint.write(
            run.checkpoint(4),
            model=make_model(),
            tokenizer=AutoTokenizer.from_pretrained(tmp_path / "plain"),
            trainer_state={"step": 4},
            provenance=provenance,
        )
        run.note_saved(4)
        info = run.read_info()
        assert info is not None
        restart = {"step": 2, "cause": "every 2 steps", "base": "/home/someone/.cache/x"}
        run.write_info(replace(info, restarts=(restart,)))
        run.end(Status.FINISHED)
    return run


def rates(rate: float) -> dict[str, float]:
    return {
        "eval/pass_rate": rate, "eval/pass_rate_low": rate - 0.1, "eval/pass_rate_high": rate + 0.1
    }  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serving() as hub:
        use(monkeypatch, hub, tmp_path / "cache")
        yield hub


def munro(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The command's exit status."""
    monkeypatch.setattr(sys, "argv", ["munro", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code or 0))


def test_the_card_says_where_it_comes_from_and_how_good_it_is(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    assert munro(monkeypatch, "push", str(run.path), "me/stem", "--to", str(out)) == 0
    card = ModelCard.load(out / "README.md")
    assert card.data.base_model == "own/base"
    assert card.data.library_name == "transformers"
    result = card.data.eval_results[0]
    assert (result.metric_type, result.metric_value) == ("pass@1", 0.75)
    for said in (
        f"| base | own/base@{COMMIT} |",
        "| environments | arithmetic (digits = 2), qa (path = rows\\|x.jsonl) |",
        "| optimizer steps | 4 |",
        "| seed | 7 |",
        "| restarts by self-distillation | step 2 (every 2 steps), onto x |",
        "| held-out pass rate | 0.750 \\[0.650, 0.850\\] (95% interval; 50 tasks, 2 attempts ",
        "| before | 0.250 \\[0.150, 0.350\\] |",
        "munro eval --model me/stem",
        "AutoModelForCausalLM.from_pretrained('me/stem')",
    ):
        assert said in card.text, said


def test_what_is_written_loads_without_what_stays_here(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    munro(monkeypatch, "push", str(run.checkpoint(4)), "me/stem", "--to", str(out))
    whole = AutoModelForCausalLM.from_pretrained(out).state_dict()
    before = AutoModelForCausalLM.from_pretrained(run.checkpoint(4)).state_dict()
    assert all((whole[name] == before[name]).all() for name in before)
    assert not (out / "trainer_state.pt").exists()
    for file in ("README.md", "provenance.json"):
        text = (out / file).read_text()
        assert not [secret for secret in SECRETS if secret in text]
    origin = origin_of(out)
    assert origin is not None
    assert (origin.template, origin.step, origin.config["env"][0]["path"]) == (
        "r1_zero", 4, "arithmetic",
    )  # fmt: skip


def test_the_hub_gets_every_file_in_one_commit(
    run: RunFolder, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
):
    assert munro(monkeypatch, "push", str(run.path), "me/stem", "--private") == 0
    sent = hub.pushed["me/stem"]
    assert {"README.md", "config.json", "tokenizer.json", "provenance.json"} <= sent.keys()
    assert sent["model.safetensors"] == (run.checkpoint(4) / "model.safetensors").read_bytes()
    assert len([path for path in hub.asked if "/commit/" in path]) == 1


def test_a_dry_run_shows_it_and_sends_nothing(
    run: RunFolder,
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    assert munro(monkeypatch, "push", str(run.path), "me/stem", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "held-out pass rate | 0.750" in shown
    assert "MB  model.safetensors" in shown
    assert not hub.asked


@pytest.mark.parametrize(
    ("source", "repo", "more", "why"),
    [
        ("{run}", "stem", (), "REPO = 'stem' is no name on the hub: give owner/name"),
        ("{run}/checkpoints/step-000009", "me/a", (), "the folder itself missing"),
        ("{plain}", "me/a", (), "does not say where it comes from"),
        ("{run}", "me/a", ("--to", "{run}"), "something is there already"),
        ("{empty}", "me/a", (), "has no checkpoint yet"),
    ],
)
def test_what_cannot_be_pushed_is_told_in_a_sentence(
    run: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    repo: str,
    more: tuple[str, ...],
    why: str,
):
    empty = RunFolder(tmp_path / "runs" / "empty")
    with empty.held():
        empty.begin({"name": "empty"}, seed=0, provenance={})
    places = {"run": run.path, "plain": tmp_path / "plain", "empty": empty.path}
    words = [word.format(**places) for word in (source, repo, *more)]
    assert munro(monkeypatch, "push", *words) == 2
    assert why in capsys.readouterr().err


def test_a_hub_that_is_out_of_reach_is_told_in_a_sentence(
    run: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    use(monkeypatch, FakeHub(url="http://127.0.0.1:9"), tmp_path / "cache")
    assert munro(monkeypatch, "push", str(run.path), "me/stem") == 2
    told = capsys.readouterr().err
    assert "munro: model me/stem: the hub cannot be reached; --to FOLDER" in told
    use(monkeypatch, FakeHub(url="http://127.0.0.1:9"), tmp_path / "cache", offline=True)
    assert munro(monkeypatch, "push", str(run.path), "me/stem") == 2
    assert "munro: model me/stem: " in capsys.readouterr().err


def test_a_distillation_names_its_runs_and_its_base(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = Checkpoint(run.checkpoint(4)).provenance()
    provenance = {
        "distillation": {
            "onto": "/home/someone/.cache/x", "hub": RECORDED,
            "runs": [{"name": "stem", "run": "/home/someone/runs/stem"}],
        },
        "base": whole,
    }  # fmt: skip
    Checkpoint.write(
        tmp_path / "merged",
        model=make_model(),
        tokenizer=AutoTokenizer.from_pretrained(tmp_path / "plain"),
        provenance=provenance,
    )
    out = tmp_path / "out"
    assert munro(monkeypatch, "push", str(tmp_path / "merged"), "me/all", "--to", str(out)) == 0
    card = (out / "README.md").read_text()
    assert f"| base | own/base@{COMMIT} |" in card
    assert "by fine-tuning on passed attempts" in card
    assert "| distilled from | stem |" in card
    assert "| optimizer steps" not in card
    assert "| seed" not in card
    shown = card + (out / "provenance.json").read_text()
    assert not [secret for secret in SECRETS if secret in shown]


def test_a_checkpoint_that_says_little_gets_a_card_that_says_no_more(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Checkpoint.write(
        tmp_path / "other",
        model=make_model(),
        tokenizer=AutoTokenizer.from_pretrained(tmp_path / "plain"),
        provenance={"recipe": {"name": "tiny"}, "phase": "mid"},
    )
    out = tmp_path / "out"
    assert munro(monkeypatch, "push", str(tmp_path / "other"), "me/other", "--to", str(out)) == 0
    card = (out / "README.md").read_text()
    assert "Made with Munro." in card
    assert "| base |" not in card
    assert "model-index" not in card
