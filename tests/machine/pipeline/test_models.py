"""Models of the hub in a machine's file: one commit from its first start to its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.base_model.hub import HubError
from munro.machine.loading import BadConfig
from munro.machine.pipeline.machine import _Machine, plan
from munro.machine.pipeline.models import could_be_of_hub, look_up, recorded
from munro.machine.pipeline.plan import ORDERS, Standing, load_machine
from munro.machine.run.files import RunError
from tests.hub import FakeHub, serving, use
from tests.rl.builders import make_model, save_model

FILE = """
name = "mine"
folder = "{folder}"

[phases.sums]
kind = "climb"
model = "own/base"
set = {{ env = "arithmetic", num_steps = 3 }}

[phases.merged]
kind = "consolidate"
onto = "own/base"
weights = {{ sums = 1.0 }}
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    save_model(tmp_path / "made")
    with serving() as hub:
        hub.add("own/base", tmp_path / "made")
        use(monkeypatch, hub, tmp_path / "cache")
        yield hub


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(FILE.format(folder=tmp_path / "machines"))
    return str(path)


def test_a_plan_fetches_nothing(hub: FakeHub, file: str):
    assert "sums" in plan(file)
    assert not hub.fetched


def test_a_machine_that_goes_on_stays_with_its_commit(hub: FakeHub, file: str, tmp_path: Path):
    config, _ = load_machine(file)
    config.path.mkdir(parents=True)
    look_up(config.path, ["own/base", "sums"])
    _, phases = load_machine(file)
    before = recorded(config.path)["own/base"]
    machine = _Machine(config, {phase.name: phase for phase in phases})
    folder = machine._path("model", "own/base")
    (phases[0].folder).mkdir(parents=True)
    (phases[0].folder / ORDERS).write_text(f'{{"digest": "{phases[0].digest}"}}')

    save_model(tmp_path / "newer", make_model(seed=1))
    hub.add("own/base", tmp_path / "newer")
    look_up(config.path, ["own/base"])
    _, again = load_machine(file)
    assert recorded(config.path)["own/base"] == before
    assert machine._path("model", "own/base") == folder
    assert again[0].standing is Standing.BEGUN


def test_other_weights_under_the_name_make_another_phase(hub: FakeHub, file: str, tmp_path: Path):
    config, _ = load_machine(file)
    config.path.mkdir(parents=True)
    look_up(config.path, ["own/base"])
    digests = [phase.digest for phase in load_machine(file)[1]]
    (config.path / "models.json").unlink()
    save_model(tmp_path / "newer", make_model(seed=1))
    hub.add("own/base", tmp_path / "newer")
    look_up(config.path, ["own/base"])
    assert not set(digests) & {phase.digest for phase in load_machine(file)[1]}


def test_a_word_without_an_owner_is_a_mistyped_phase(hub: FakeHub, file: str):
    assert not could_be_of_hub("base")
    text = Path(file).read_text()
    Path(file).write_text(text.replace('onto = "own/base"', 'onto = "bsae"'))
    with pytest.raises(BadConfig, match="'bsae', which is neither a phase"):
        load_machine(file)


def test_a_run_is_no_model_of_the_hub(hub: FakeHub, file: str):
    text = Path(file).read_text()
    Path(file).write_text(text.replace("sums = 1.0", '"own/base" = 1.0'))
    with pytest.raises(BadConfig, match="neither a phase"):
        load_machine(file)


def test_what_cannot_be_had_is_told_before_anything_starts(hub: FakeHub, tmp_path: Path):
    with pytest.raises(HubError, match="no such model on the hub"):
        look_up(tmp_path, ["own/none"])
    (tmp_path / "models.json").write_text("{")
    with pytest.raises(RunError, match=r"models\.json cannot be read"):
        recorded(tmp_path)
