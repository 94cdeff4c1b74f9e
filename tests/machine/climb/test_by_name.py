"""A climb whose model is a name: from a hub of our own, through the real command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.base_model.checkpoint import Checkpoint
from munro.machine.run.folder import RunFolder
from tests.hub import FakeHub, environment, serving
from tests.machine.climbing import munro, rows, write_recipe
from tests.rollout.tiny_llama import tiny_llama

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
NAME = "own/small"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("named")


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with serving() as hub:
        yield hub


@pytest.fixture(scope="module")
def begun(folder: Path, hub: FakeHub) -> str:
    """A climb of two steps from what the name was then; the commit."""
    recipe = write_recipe(folder)
    commit = hub.add(NAME, folder / "model")
    variables = environment(hub, folder / "cache")
    done = munro("climb", str(recipe), "--model", NAME, "--num_steps", "2", env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"model.path: {NAME} at commit {commit[:12]}" in done.stdout
    return commit


def test_the_run_and_its_checkpoint_say_which_commit_the_name_was(folder: Path, begun: str):
    run = RunFolder.existing(folder / "runs" / "small")
    info, config = run.read_info(), run.read_config()
    assert info is not None
    assert config is not None
    assert config["model"]["path"] == NAME
    assert info.provenance["model.path"].startswith(f"{NAME}@{begun} sha256:")
    assert Path(info.provenance["model"]).name == begun
    told = Checkpoint(run.checkpoint(2)).provenance()
    assert told["models"] == dict(info.provenance)
    assert json.loads(told["config"])["model"]["path"] == NAME


def test_a_run_that_goes_on_stays_with_its_commit_and_needs_no_network(
    folder: Path, hub: FakeHub, begun: str
):
    newer = folder / "newer"
    tiny_llama(tied=True, seed=1).save_pretrained(newer)
    for file in (folder / "model").glob("token*"):
        (newer / file.name).write_bytes(file.read_bytes())
    assert hub.add(NAME, newer) != begun
    hub.asked.clear()
    variables = environment(hub, folder / "cache")
    on = ("--model", NAME, "--num_steps", "3", "--force")
    done = munro("climb", str(folder / "small.toml"), *on, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunFolder.existing(folder / "runs" / "small")
    info = run.read_info()
    assert info is not None
    assert info.provenance["model.path"].startswith(f"{NAME}@{begun} sha256:")
    assert [row["step"] for row in rows(run.path)][-1] == 3
    assert not [path for path in hub.asked if NAME in path]


def test_an_evaluation_takes_the_name_too_and_says_the_commit(
    folder: Path, hub: FakeHub, begun: str
):
    mine = f"{folder / 'mine.py'}:Mine"
    asked = ("--env", mine, "--tasks", "4", "--runs", "1", "--rollout.template", "plain")
    more = ("--rollout.engine", "transformers", "--length.stages", "[8]", "--out", f"{folder}/kept")
    done = munro(
        "eval", "--model", f"{NAME}@{begun}", *asked, *more, env=environment(hub, folder / "cache")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NAME} at commit {begun}" in done.stdout
    assert "pass@1" in done.stdout
