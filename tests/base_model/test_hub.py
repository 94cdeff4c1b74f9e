"""A model by its name: which files are fetched, what is recorded, and what is told instead."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import HubError, cached, glance, identity, is_hub_name, locate
from munro.base_model.training.inputs import missing
from munro.base_model.training.phases import START, _located
from tests.base_model.phased import recipe, write_texts
from tests.hub import FakeHub, serving, use
from tests.rl.builders import make_model, save_model


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """One model, `own/tiny`, beside whose weights lie others in other forms."""
    folder = tmp_path / "made"
    save_model(folder)
    for name in ("README.md", "pytorch_model.bin", "consolidated.safetensors", "tiny.gguf"):
        (folder / name).write_text("not fetched")
    with serving() as hub:
        hub.add("own/tiny", folder)
        use(monkeypatch, hub, tmp_path / "cache")
        yield hub


def newer(tmp_path: Path) -> Path:
    """Other weights under the same names."""
    folder = tmp_path / "newer"
    save_model(folder, make_model(seed=1))
    return folder


def test_a_name_becomes_a_folder_that_holds_what_is_read_and_nothing_else(hub: FakeHub):
    found = locate("own/tiny")
    assert sorted(hub.fetched) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    assert Checkpoint(found.folder).prove().path == found.folder
    assert (found.repo, found.commit) == ("own/tiny", hub.refs["own/tiny"]["main"])
    assert found.recorded == f"own/tiny@{found.commit} sha256:{found.digest}"


def test_what_was_recorded_is_found_again_after_the_branch_has_moved_and_asks_nobody(
    hub: FakeHub, tmp_path: Path
):
    before = locate("own/tiny")
    hub.add("own/tiny", newer(tmp_path))
    hub.asked.clear()
    assert locate("own/tiny", recorded=before.recorded) == before
    assert not hub.asked
    after = locate("own/tiny")
    assert (after.commit, after.digest) != (before.commit, before.digest)


def test_a_record_of_another_name_does_not_hold(hub: FakeHub):
    other = f"own/other@{'0' * 40} sha256:{'0' * 64}"
    assert locate("own/tiny", recorded=other).repo == "own/tiny"


def test_files_that_changed_in_the_cache_are_not_taken_for_the_recorded_ones(hub: FakeHub):
    found = locate("own/tiny")
    weights = load_file(found.folder / "model.safetensors")
    (found.folder / "model.safetensors").unlink()
    save_file({k: w + 1 for k, w in weights.items()}, found.folder / "model.safetensors")
    with pytest.raises(HubError, match="not those that were used before"):
        locate("own/tiny", recorded=found.recorded)


def test_a_branch_and_a_commit_are_taken_behind_the_name_or_beside_it(hub: FakeHub, tmp_path: Path):
    commit = hub.add("own/tiny", newer(tmp_path), branch="v2")
    assert locate("own/tiny@v2").commit == commit
    assert locate("own/tiny", revision="v2").commit == commit
    assert locate(f"own/tiny@{commit}").commit == commit
    assert locate("own/tiny").commit != commit
    with pytest.raises(HubError, match="its name asks for v2, and the key revision for main"):
        locate("own/tiny@v2", revision="main")


def test_a_folder_of_that_name_wins(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "own" / "tiny")
    found = locate("own/tiny")
    assert (found.folder, found.repo, found.recorded) == (tmp_path / "own" / "tiny", "", "")
    assert not hub.asked


@pytest.mark.parametrize(
    ("name", "could_be"),
    [
        ("Qwen/Qwen3-0.6B", True), ("gpt2", True), ("Qwen/Qwen3-0.6B@v1.0", True),
        ("./ckpt", False), ("/data/base", False), ("~/base", False), ("runs/a/checkpoints", False),
        ("a//b", False), ("a/../b", False), ("a b", False), ("", False), ("a/b@", False),
        ("https://huggingface.co/a/b", False), ("x" * 97, False),
    ],
)  # fmt: skip
def test_what_could_be_a_name_on_the_hub(name: str, could_be: bool):
    assert is_hub_name(name) is could_be


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("own/none", "model own/none: there is no such folder here, and no such model on the hub"),
        ("own/tiny@v9", "model own/tiny: it has no revision 'v9'"),
        ("own/tiny@" + "0" * 40, "it has no revision '0000"),
        ("own/gated", "those who have accepted its terms: do so at https://huggingface.co/own/gat"),
        ("own/login", "the hub does not know your login (HTTP 401): log in anew (hf auth login)"),
    ],
)
def test_what_cannot_be_had_is_told_in_a_sentence(hub: FakeHub, name: str, why: str):
    hub.gated.add("own/gated")
    hub.unknown_login.add("own/login")
    for asked in (locate, glance):
        with pytest.raises(HubError) as told:
            asked(name)
        assert why in str(told.value)
        assert "\n" not in str(told.value)


def test_without_network_the_cache_serves_and_what_is_not_in_it_is_told(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = locate("own/tiny")
    use(monkeypatch, hub, tmp_path / "cache", offline=True)
    hub.asked.clear()
    assert locate("own/tiny") == found
    assert cached("own/tiny") == found.folder
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set, and it is not in .*cache/hub"):
        locate("own/other")
    assert "not looked at (no network)" in glance("own/other")
    assert not hub.asked


def test_a_hub_that_cannot_be_reached_is_told_in_a_sentence(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gone = FakeHub(url="http://127.0.0.1:9")
    use(monkeypatch, gone, tmp_path / "cache")
    with pytest.raises(HubError, match="the hub cannot be reached, and it is not in"):
        locate("own/tiny")
    assert "not looked at (no network)" in glance("own/tiny")


def test_half_of_a_model_in_the_cache_is_not_taken_for_it(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found = locate("own/tiny")
    (found.folder / "model.safetensors").unlink()
    use(monkeypatch, hub, tmp_path / "cache", offline=True)
    assert cached("own/tiny") is None
    with pytest.raises(HubError, match=r"HF_HUB_OFFLINE is set, and .* only a part of it"):
        locate("own/tiny")


def test_shards_are_fetched_by_whatever_names_their_index_gives(hub: FakeHub, tmp_path: Path):
    folder = tmp_path / "sharded"
    save_model(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "part-a.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "part-a.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.add("own/sharded", folder)
    assert Checkpoint(locate("own/sharded").folder).prove()


def test_weights_in_another_form_are_told_by_their_form(hub: FakeHub, tmp_path: Path):
    folder = tmp_path / "other"
    shutil.copytree(tmp_path / "made", folder)
    (folder / "model.safetensors").unlink()
    hub.add("own/pickled", folder)
    with pytest.raises(HubError, match=r"no model.safetensors but pytorch_model.bin \(PyTorch's"):
        locate("own/pickled")


def test_a_glance_says_the_size_and_fetches_nothing(hub: FakeHub):
    assert "own/tiny, of the hub at commit" in glance("own/tiny")
    assert not hub.fetched
    assert cached("own/tiny") is None


def test_a_pre_training_starts_from_a_name_and_stays_with_its_commit(hub: FakeHub, tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    before = _located("own/tiny", folder)
    hub.add("own/tiny", newer(tmp_path))
    assert _located("own/tiny", folder) == before
    assert (folder / START).read_text().startswith(f"own/tiny@{before.name} sha256:")


def test_a_pre_training_says_what_it_lacks_of_the_hub(hub: FakeHub, tmp_path: Path):
    plan = recipe(tmp_path / "texts")
    write_texts(tmp_path / "texts")
    for name, said in (
        ("own/tiny", []),
        ("own/none", ["model.start = own/none: there is no such"]),
    ):
        start = plan.model.model_copy(update={"start": name})
        found = missing(plan.model_copy(update={"model": start}))
        assert [line[: len(said[0])] for line in found] == said


def test_a_folder_of_the_cache_knows_what_it_is(hub: FakeHub, tmp_path: Path):
    found = locate("own/tiny")
    assert identity(found.folder) == found.recorded
    assert identity(tmp_path / "made") == ""


def test_a_cache_that_was_put_there_by_hand_serves_offline(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commit, place = "c" * 40, tmp_path / "by-hand" / "hub" / "models--own--laid"
    shutil.copytree(tmp_path / "made", place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    use(monkeypatch, hub, tmp_path / "by-hand", offline=True)
    found = locate("own/laid")
    assert (found.folder, found.commit) == (place / "snapshots" / commit, commit)
    assert locate("own/laid", recorded=found.recorded) == found
