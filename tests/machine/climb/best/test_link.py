"""RUN/checkpoints/best wherever a checkpoint is named: what it points to when it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import locate
from munro.evaluation.config import EntryConfig
from munro.machine.climb.models import in_place, settle
from munro.machine.climb.origin import origin_of
from munro.machine.climb.start import raw
from munro.machine.config import RunConfig
from munro.machine.evaluating.plan import planned
from munro.machine.run.best import best_checkpoint, link_best
from munro.machine.run.folder import RunFolder, Status
from munro.machine.verbs.distill import _run_and_step
from munro.machine.verbs.push import contents_of, found
from munro.rl.config import WHOLE
from munro.rl.state import ClimbState
from tests.rl.builders import make_model, save_model

CONFIG = RunConfig.model_validate(
    {"name": "stem", "num_steps": 6, "env": "arithmetic", "rollout": {"template": "plain"}}
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """A climb that collapsed after its fourth step; its checkpoints of steps 4 and 6 are left."""
    folder = tmp_path_factory.mktemp("best")
    save_model(folder / "base")
    run = RunFolder(folder / "runs" / "stem")
    run.begin(raw(CONFIG), seed=0, provenance={"model": str(folder / "base")})
    for step, rate in ((2, 0.3), (4, 0.6), (6, 0.1)):
        figures = {"eval/pass_rate": rate, "eval/pass_rate_low": rate - 0.1}
        run.metrics.append(step, figures | {"eval/pass_rate_high": rate + 0.1})
        Checkpoint.write(
            run.checkpoint(step),
            model=make_model(seed=step),
            tokenizer=AutoTokenizer.from_pretrained(folder / "base"),
            provenance={
                "run": "stem", "step": step, "began_from": str(folder / "base"),
                "climb_state": ClimbState.first(CONFIG.clip).to_json(),
                "config": json.dumps(raw(CONFIG)), "template": "plain",
            },
        )  # fmt: skip
        run.note_saved(step)
    link_best(run, WHOLE)
    run.prune_checkpoints(1, spare=best_checkpoint(run, WHOLE))
    run.end(Status.FINISHED)
    return run


@pytest.fixture
def best(run: RunFolder) -> Path:
    return run.checkpoints / "best"


def test_it_is_the_one_before_the_collapse_and_outlives_pruning(run, best):
    assert [step for step, _ in run.list_checkpoints()] == [4, 6]
    assert best.resolve() == run.checkpoint(4).resolve()
    # a run resumes from its newest checkpoint, whatever is best
    newest = run.newest_checkpoint()
    assert newest is not None
    assert newest[0] == 6


def test_a_climb_from_there_keeps_to_what_it_began_from(best, run):
    config = CONFIG.model_copy(
        update={"model": CONFIG.model.model_copy(update={"path": str(best)}), "name": "again"}
    )
    loads = in_place(config, settle(config))
    assert loads.model.path == str(run.checkpoint(4).resolve())
    assert config.model.path == str(best)
    # a better one has come since: who began from the old one goes on from that
    other = best.with_name("elsewhere")
    other.symlink_to("step-000006")
    moved = config.model_copy(
        update={"model": config.model.model_copy(update={"path": str(other)})}
    )
    before = {"model": loads.model.path}
    assert in_place(moved, settle(moved, before)).model.path == loads.model.path
    other.unlink()


def test_an_evaluation_knows_what_it_was_climbed_on_and_which_step_it_is(best):
    folder = locate(str(best)).folder
    assert folder.name == "step-000004"
    origin = origin_of(folder)
    assert origin is not None
    assert (origin.run, origin.step, origin.template) == ("stem", 4, "plain")
    asked = planned(folder, EntryConfig(), "", {"num_tasks": 3, "runs": 4}, None, [])
    assert (asked.asked.name, len(asked.tasks)) == ("arithmetic", 3)


def test_a_card_is_that_of_its_step(best, run):
    checkpoint, of = found(str(best))
    assert of is not None
    assert of.path.resolve() == run.path.resolve()
    card = bytes(contents_of(checkpoint, of, "me/stem")["README.md"]).decode()
    assert "| optimizer steps | 4 |" in card
    assert "| held-out pass rate | 0.600" in card


def test_a_distillation_from_there_takes_the_traces_up_to_it(best, run):
    assert _run_and_step(str(best)) == (run.path.resolve(), 4)
    assert _run_and_step(str(run.path)) == (run.path, None)
