"""Which models a config names, what they are found to be, and what is said where they are not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
from transformers import AutoTokenizer

from munro.base_model.hub import HubError
from munro.machine.cli.main import main
from munro.machine.climb.base import model_folder
from munro.machine.climb.models import foreseen, in_place, named, options_in_place, settle
from munro.machine.climb.origin import as_climbed
from munro.machine.climb.start import begin, refuse_changes
from munro.machine.config import RunConfig
from munro.machine.errors import BadConfig
from munro.machine.run.folder import RunFolder
from tests.hub import FakeHub, serving, use
from tests.machine.builders import make_run
from tests.rl.builders import make_model, save_model

BASE, JUDGE = "own/base", "own/judge"
ONTO = ("--onto", "own/none", "--out", "made")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """Two models, neither of which has a chat template."""
    with serving() as hub:
        for name in (BASE, JUDGE):
            save_model(tmp_path / "made" / name)
            hub.add(name, tmp_path / "made" / name)
        use(monkeypatch, hub, tmp_path / "cache")
        yield hub


def recipe(path: str = BASE, **more: object) -> RunConfig:
    """A recipe that names models in every place where one can be named."""
    graders = {
        "better": {"kind": "preference", "args": {"model": f"{JUDGE}@main"}},
        "same": {"kind": "judge", "args": {"judge": {"model": JUDGE}}},
        "served": {"kind": "judge", "args": {"judge": {"model": "own/x", "base_url": "http://a"}}},
        "known": {"kind": "judge", "args": {"judge": "strict"}},
    }
    reward = {"kind": "lexicographic", "parts": ["task", "better"]}
    tree: dict[str, object] = {
        "num_steps": 4,
        "model": {"path": path},
        "env": [
            {"path": "arithmetic"},
            {"path": "arithmetic", "graders": graders, "reward": reward},
        ],
        "judge": {
            "strict": {"model": JUDGE},
            "asked": {"model": "gpt-9", "base_url": "https://host/v1"},
        },
        "distill": {"onto": BASE},
        "rollout": {"template": "plain"},
    }
    return RunConfig.model_validate(tree | more)


def test_every_model_that_a_config_names_is_found_and_no_service_is(hub: FakeHub):
    config = recipe()
    models = settle(config)
    assert dict(named(config)) == {
        "model.path": BASE,
        "distill.onto": BASE,
        "judge.strict.model": JUDGE,
        "env.1.graders.better.model": f"{JUDGE}@main",
        "env.1.graders.same.judge.model": JUDGE,
    }
    assert models.found.keys() == models.provenance.keys() == dict(named(config)).keys()
    assert models.provenance["judge.strict.model"].startswith(f"{JUDGE}@{hub.refs[JUDGE]['main']}")


def test_who_loads_gets_folders_and_what_was_written_stays(hub: FakeHub):
    config = recipe()
    models = settle(config)
    loads = in_place(config, models)
    for key, name in named(loads):
        assert Path(name) == models.found[key].folder
    graders = loads.env[1].graders
    assert graders["served"].args["judge"]["model"] == "own/x"
    assert loads.judge["asked"].model == "gpt-9"
    assert loads.judge["asked"].model_fields_set == config.judge["asked"].model_fields_set
    assert (config.model.path, config.distill.onto) == (BASE, BASE)
    assert config.env[1].graders["better"].args["model"] == f"{JUDGE}@main"


def test_folders_are_left_as_they_are_written(tmp_path: Path):
    config = recipe(str(tmp_path), judge={}, env="arithmetic", distill={"onto": str(tmp_path)})
    models = settle(config)
    assert not models.provenance
    assert in_place(config, models) is config


def test_a_run_that_goes_on_keeps_every_model_where_it_was(hub: FakeHub, tmp_path: Path):
    config = recipe()
    first = settle(config)
    for name in (BASE, JUDGE):
        save_model(tmp_path / "newer" / name, make_model(seed=1))
        hub.add(name, tmp_path / "newer" / name)
    assert settle(config, first.provenance) == first
    assert settle(config).found["model.path"] != first.found["model.path"]


def test_options_of_a_grader_on_the_command_line_name_models_too(hub: FakeHub):
    options = options_in_place("preference", {"model": JUDGE, "device": "cpu"})
    assert (Path(options["model"]) / "config.json").is_file()
    assert options["device"] == "cpu"


def begun(tmp_path: Path, config: RunConfig) -> RunFolder:
    """A run that took a step from the model that the config names."""
    run, models = RunFolder(tmp_path / "run"), settle(config)
    provenance = {"model": str(models.policy), **models.provenance}
    with run.held():
        begin(run, config, provenance, force=False)
        run.metrics.append(1, {"reward/total": 0.5})
    return run


@pytest.mark.parametrize("model", [{"path": JUDGE}, {"path": BASE, "revision": "v2"}])
def test_another_model_or_revision_is_refused_once_a_step_was_taken(
    hub: FakeHub, tmp_path: Path, model: dict[str, str]
):
    run = begun(tmp_path, recipe())
    with pytest.raises(BadConfig, match="what it began from cannot be changed"):
        refuse_changes(run, recipe(model=model), force=True)


def test_the_same_model_in_other_words_is_no_other_beginning(hub: FakeHub, tmp_path: Path):
    run = begun(tmp_path, recipe())
    info = run.read_info()
    assert info is not None
    commit = hub.refs[BASE]["main"]
    for model in (
        {"path": BASE, "revision": commit},
        {"path": f"{BASE}@{commit}"},
        {"path": info.provenance["model"]},
    ):
        refuse_changes(run, recipe(model=model), force=True)


def test_a_base_without_a_chat_template_is_refused_before_anything_starts(hub: FakeHub):
    config = recipe(rollout={"template": "chat"}, judge={}, env="arithmetic")
    loads = in_place(config, settle(config))
    with pytest.raises(BadConfig, match="has no chat template, which rollout"):
        model_folder(loads, None)  # type: ignore[arg-type]


def test_a_new_run_takes_its_template_from_a_model_of_the_hub(hub: FakeHub, tmp_path: Path):
    config = recipe()
    said: list[str] = []
    assert as_climbed(config, None, said.append, settle(config).policy) == config
    assert as_climbed(config, None, said.append) == config
    assert not said


def test_what_a_template_of_the_hub_does_not_read_is_refused(hub: FakeHub, tmp_path: Path):
    folder = tmp_path / "made" / BASE
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{{ messages }}{% if enable_thinking %}think{% endif %}"
    tokenizer.save_pretrained(folder)
    told = {"template": "chat", "template_args": {"thinking": False}}
    config = recipe(rollout=told, judge={}, env="arithmetic")
    with pytest.raises(BadConfig, match=r"thinking: .*it takes enable_thinking"):
        as_climbed(config, None, print, settle(config).policy)


def test_a_dry_run_looks_and_fetches_nothing(hub: FakeHub):
    assert "of the hub at commit" in foreseen(BASE)
    assert not hub.fetched
    settle(recipe())
    assert "in the hub's cache" in foreseen(BASE)
    with pytest.raises(HubError, match="no such model"):
        foreseen("own/none")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("climb", "quickstart", "--model", "own/none"), "munro: model own/none: there is no such"),
        (("climb", "quickstart", "--dry-run", "--model", "own/none"), "munro: model own/none:"),
        (("climb", "quickstart", "--model", BASE, "--model.revision", "v9"), "no revision 'v9'"),
        (("climb", "quickstart", "--model", "own/gated"), "accepted its terms"),
        (("climb", "quickstart", "--model", BASE, "--rollout.template", "chat"), "no chat templ"),
        (("climb", "quickstart", "--model.revision", "v1"), "model.revision = 'v1' is of a model"),
        (("eval", "--model", "own/none"), "munro: model own/none:"),
        (("eval", "--model", BASE, "--model.revision", "v9"), "no revision 'v9'"),
        (("preference", "score", "own/none", "{sets}"), "munro: model own/none:"),
        (("preference", "train", "{pairs}", *ONTO), "munro: model own/none:"),
        (("distill", "{run}", *ONTO), "munro: model own/none:"),
        (("distill", "{run}", *ONTO, "--dry-run"), "munro: model own/none:"),
        (("consolidate", "{run}", *ONTO), "munro: model own/none:"),
        (("rebase", "{run}", "--onto", "own/none"), "munro: model own/none:"),
        (("grade", "{lines}", "--kind", "preference", "--model", "own/none"), "model own/none:"),
        (
            ("grade", "{lines}", "--kind", "judge", "--judge.model", "own/none"),
            "munro: model own/none:",
        ),
    ],
)
def test_what_cannot_be_had_ends_the_command_with_one_line(
    hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    why: str,
):
    hub.gated.add("own/gated")
    places = {"run": make_run(tmp_path / "runs" / "stem").path}
    for name, row in (
        ("lines", {"response": "d"}),
        ("sets", {"context": "a", "candidates": ["b", "c"]}),
        ("pairs", {"context": "a", "chosen": "b", "rejected": "c"}),
    ):
        places[name] = tmp_path / f"{name}.jsonl"
        places[name].write_text(json.dumps(row) + "\n")
    config = {"num_steps": 90, "env": "arithmetic", "model": {"path": "own/none"}}
    (places["run"] / "config.toml").write_text(tomli_w.dumps(config))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["munro", *(word.format(**places) for word in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("munro: ")]
    assert len(told) == 1
    assert why in told[0]
