"""Climbs that train an adapter, through the real command: resumed, evaluated, merged, distilled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.base_model.checkpoint import Checkpoint
from munro.rollout.store.store import RolloutStore
from tests.machine.climbing import kill_hard, munro, rows, start, wait_for_step, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

LORA = """
[learner.lora]
rank = 4
alpha = 8
"""


def recipe_of(folder: Path, name: str, more: str = LORA) -> str:
    recipe = write_recipe(folder, name)
    text = recipe.read_text().replace("learning_rate = 1e-3", "learning_rate = 1e-2")
    recipe.write_text(text + more)
    return str(recipe)


def climbed(folder: Path, name: str, *options: str) -> Path:
    done = munro("climb", recipe_of(folder, name), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    return climbed(folder, "straight")


@pytest.mark.climb
def test_every_update_is_proven_and_says_how_far_the_adapter_is_from_its_base(straight: Path):
    found = [row for row in rows(straight) if "sync/adapter" in row]
    assert [row["step"] for row in found] == [0, 1, 2, 3, 4]
    assert max(row["sync/proof"] for row in found) < 1e-4
    assert found[0]["sync/adapter"] == 0
    assert found[-1]["sync/adapter"] > 1e-3


@pytest.mark.climb
def test_its_checkpoints_are_adapters_of_its_base(straight: Path, folder: Path):
    saved = Checkpoint(straight / "checkpoints" / "step-000004").require()
    assert saved.is_adapter
    assert saved.base() == folder / "model"
    assert not (saved.path / "model.safetensors").exists()


@pytest.mark.slow
def test_killed_with_9_and_run_again_the_metrics_are_the_same_bit_by_bit(straight, folder):
    recipe = recipe_of(folder, "killed")
    process = start("climb", recipe)
    wait_for_step(folder / "runs" / "killed", 3, process, within_s=500)
    kill_hard(process)
    done = munro("climb", recipe)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(folder / "runs" / "killed") == rows(straight)


@pytest.mark.climb
def test_a_stored_step_replays_to_the_same_numbers(straight: Path):
    for step in ("2", "4"):
        done = munro("replay", str(straight), "--step", step)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_an_evaluation_of_an_adapter_and_of_the_merged_model_are_that_of_the_climb(
    straight: Path, folder: Path
):
    saved = str(straight / "checkpoints" / "step-000004")
    done = munro("merge", saved, str(folder / "whole"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "e-07 nats" in done.stdout or "e-06 nats" in done.stdout, done.stdout
    said = f"pass@1           {rows(straight)[-1]['eval/pass_rate']:.3f} "
    for model in (saved, str(folder / "whole")):
        out = str(folder / "evals" / Path(model).name)
        done = munro("eval", "--model", model, "--tasks", "4", "--out", out)
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
    again = munro("merge", saved, str(folder / "whole"))
    assert again.returncode == 2
    assert "exists already" in again.stderr
    nothing = munro("merge", str(folder / "model"), str(folder / "other"))
    assert "it is a whole model" in nothing.stderr


@pytest.mark.slow
def test_a_climb_goes_on_from_an_adapter_with_it_or_with_whole_weights(straight, folder):
    saved = str(straight / "checkpoints" / "step-000004")
    on = climbed(folder, "on", "--model", saved, "--num_steps", "2")
    # the adapter that it began with is proven too
    assert rows(on)[0]["sync/adapter"] == rows(straight)[-1]["sync/adapter"] or (
        rows(on)[0]["sync/adapter"] > 1e-3
    )
    assert Checkpoint(on / "checkpoints" / "step-000002").base() == folder / "model"
    plain = write_recipe(folder, "plain")
    done = munro("climb", str(plain), "--model", saved, "--num_steps", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not Checkpoint(folder / "runs/plain/checkpoints/step-000002").is_adapter


BAD = {
    "a layer that is not there": ('modules = ["q_prj"]', "Did you mean q_proj?"),
    "no width": ("rank = 0", "learner.lora.rank = 0: input should be greater than or equal to 1"),
    "dropout of everything": ("dropout = 1.0", "learner.lora.dropout = 1.0: input should be less"),
    "dropout below nothing": ("dropout = -0.1", "learner.lora.dropout = -0.1: input should be"),
    "a key that is none": ("rnak = 4", "unknown key learner.lora.rnak. Did you mean"),
    "four bits on a CPU": ("base_bits = 4", "learner.lora.base_bits = 4 needs a GPU"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BAD)
def test_one_line_says_what_is_wrong(folder: Path, what: str):
    text, said = BAD[what]
    done = munro("climb", recipe_of(folder, f"bad-{len(said)}", f"\n[learner.lora]\n{text}\n"))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_weights_are_not_swapped_under_requests_that_keep_their_adapter(folder: Path):
    recipe = recipe_of(folder, "swapped")
    done = munro("climb", recipe, "--sync.max_staleness", "1", "--sync.in_flight", "true")
    assert done.returncode == 2
    assert "they keep their adapter to the end" in done.stderr


@pytest.mark.slow
def test_a_distillation_onto_its_base_trains_a_new_adapter_and_the_climb_goes_on_with_it(
    folder: Path,
):
    small = (
        "--num_steps", "4", "--distill.every", "2",
        "--distill.filters.truncated", "false",
        "--distill.filters.foreign_words", "1000",
        "--distill.filters.repetition", "1.0",
        "--distill.select.outcomes", "all",
        "--distill.training.batch_rows", "1",
        "--distill.training.row_tokens", "64",
        "--distill.training.epochs", "8",
        "--distill.training.threads", "1",
        "--distill.training.optimizer.learning_rate", "1e-3",
    )  # fmt: skip
    run = climbed(folder, "distilled", *small)
    made = Checkpoint(run / "distilled" / "step-000002").require()
    assert made.is_adapter
    assert made.base() == folder / "model"
    assert json.loads((run / "run.json").read_text())["restarts"][0]["step"] == 2
    found = {row["step"]: row for row in rows(run) if "sync/adapter" in row}
    assert found[3]["sync/adapter"] > 0
    assert Checkpoint(run / "checkpoints" / "step-000004").base() == folder / "model"


@pytest.mark.vllm
@pytest.mark.slow
def test_off_policy_in_vllm_every_adapter_is_proven_and_no_sample_knows_two(folder: Path):
    run = climbed(
        folder, "vllm",
        "--rollout.engine", "vllm",
        "--rollout.cpu_kv_cache_gb", "0.1",
        "--rollout.max_context", "128",
        "--sync.max_staleness", "2",
        "--num_steps", "5",
    )  # fmt: skip
    found = [row for row in rows(run) if "sync/adapter" in row]
    assert len(found) == 6
    assert max(row["sync/proof"] for row in found) < 1e-4
    assert found[-1]["sync/adapter"] > 1e-3
    store = RolloutStore(run / "rollouts")
    for step in range(1, 6):
        for group in store.read(step):
            for attempt in group.attempts:
                versions = attempt.trajectory.versions
                assert len(set(versions[versions >= 0].tolist())) == 1
