"""A machine's file: its phases, what each takes, what is done and what would be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.machine.loading import BadConfig
from munro.machine.pipeline.config import MachineConfig
from munro.machine.pipeline.machine import plan, run_machine
from munro.machine.pipeline.plan import MANIFEST, ORDERS, Standing, load_machine, merged
from munro.machine.pipeline.report import write_machine_report
from munro.machine.pipeline.resources import Room, gpus_of, room_for
from munro.machine.pipeline.scores import at_gate, gates
from munro.machine.pipeline.scores_table import table
from munro.machine.run.files import RunError
from munro.machine.run.lock import held
from tests.evaluation.kept import kept

FILE = """
name = "mine"
folder = "{folder}"

[climb]
num_steps = 3

[climb.rollout]
engine = "transformers"

[phases.final]
kind = "climb"
model = "merged"
set.env = "arithmetic"

[phases.sums]
kind = "climb"
model = "base"
set.env = {{ path = "arithmetic", args = {{ digits = 2 }} }}

[phases.words]
kind = "climb"
model = "base"
set = {{ env = {{ path = "instructions", args = {{ level = 1 }} }}, num_steps = 4 }}

[phases.base]
kind = "base"
tasks_of = ["sums", "words"]

[phases.merged]
kind = "consolidate"
onto = "base"
weights = {{ sums = 0.6, words = 0.4 }}
set.training.epochs = 2.0

[phases.scores]
kind = "evaluate"
models = ["base", "sums", "words", "merged", "final"]
tasks_of = ["sums", "words"]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(FILE.format(folder=tmp_path / "machines"))
    return path


def changed(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def finish(phase, **made):
    """What a finished phase leaves."""
    phase.folder.mkdir(parents=True, exist_ok=True)
    (phase.folder / MANIFEST).write_text(json.dumps(phase.plain | {"seconds": 61.0} | made))


def phases_of(file):
    return {phase.name: phase for phase in load_machine(str(file))[1]}


def test_phases_come_in_an_order_in_which_they_can_be_made(file):
    order = list(phases_of(file))
    assert order[0] == "base"
    assert order[-1] == "scores"
    assert order.index("merged") > max(order.index("sums"), order.index("words"))
    assert order.index("final") > order.index("merged")


def test_a_climbs_recipe_is_its_own_keys_over_those_that_all_share(file):
    phases = phases_of(file)
    assert phases["sums"].orders["recipe"]["num_steps"] == 3
    assert phases["words"].orders["recipe"]["num_steps"] == 4
    assert phases["words"].orders["recipe"]["rollout"]["engine"] == "transformers"
    assert phases["merged"].orders["distill"]["training"]["epochs"] == 2.0
    assert phases["merged"].orders["distill"]["training"]["final"] == 0.5


def test_an_evaluation_gives_an_episode_the_room_that_any_phase_gives_it(file):
    changed(file, "args = {{ level = 1 }} }}".format(), "budget = { turns = 5 } }")
    changed(file, "num_steps = 4", "rollout.max_turns = 9, rollout.grade_deadline_s = 300")
    changed(file, "[climb.rollout]", "[climb.rollout]\nobservation_tokens = 64")
    orders = phases_of(file)["scores"].orders
    rollout = orders["recipe"]["rollout"]
    # the first phase's alone let an episode of the second one fail by its deadline
    assert (rollout["max_turns"], rollout["grade_deadline_s"]) == (9, 300)
    assert (rollout["reply_deadline_s"], rollout["observation_tokens"]) == (300, 64)
    assert orders["env"]["words"][0]["budget"]["turns"] == 5


def test_the_plan_says_what_is_done_what_goes_on_and_what_would_run(file):
    phases = phases_of(file)
    finish(phases["base"], model="model")
    phases["sums"].folder.mkdir(parents=True)
    (phases["sums"].folder / ORDERS).write_text(json.dumps(phases["sums"].plain))
    said = plan(str(file))
    assert "base    base -> " in said
    assert "base/model: done, not done again" in said
    assert "sums/checkpoints: goes on" in said
    assert "climb from merged -> " in said
    assert "final/checkpoints: would run" in said


def test_a_change_reaches_all_that_builds_on_it_and_nothing_else(file):
    before = phases_of(file)
    after = phases_of(changed(file, "num_steps = 4", "num_steps = 5"))
    different = {name for name in before if before[name].digest != after[name].digest}
    assert different == {"words", "merged", "final", "scores"}


def test_changed_inputs_are_told_and_refused_without_force(file):
    for phase in phases_of(file).values():
        finish(phase)
    changed(file, "num_steps = 4", "num_steps = 5")
    assert "needs --force, for it was made from other inputs (recipe.num_steps: 4 -> 5)" in plan(
        str(file)
    )
    with pytest.raises(BadConfig, match=r"phase words was made from other inputs .*: 4 -> 5"):
        run_machine(str(file))


def test_another_process_at_the_machine_is_named(file, tmp_path):
    folder = tmp_path / "machines" / "mine"
    folder.mkdir(parents=True)
    with (
        held((folder / ".lock").resolve(), "it", "wait"),
        pytest.raises(RunError, match="already in use"),
    ):
        run_machine(str(file))


WRONG = {
    "a phase that is none": ('model = "merged"', 'model = "nothing"', "neither a phase"),
    "a circle": ('onto = "base"', 'onto = "final"', "phases need each other"),
    "an unknown kind": ('kind = "evaluate"', 'kind = "measure"', "phases.scores"),
    "an unknown key of a phase": ('onto = "base"', 'onto = "base"\nonn = 1', "unknown key .*onn"),
    "an unknown key of a recipe": ("num_steps = 4", "num_step = 4", "Did you mean num_steps"),
    "tasks of what does not climb": (
        'tasks_of = ["sums", "words"]\n\n[phases.merged]',
        'tasks_of = ["sums", "merged"]\n\n[phases.merged]',
        "not a phase that climbs",
    ),
    "a model from an evaluation": ('model = "merged"', 'model = "scores"', "makes no model"),
    "a weight for no run": ("words = 0.4", "wrds = 0.4", "'wrds', which is neither"),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_line_says_what_is_wrong_with(what, file):
    old, new, said = WRONG[what]
    with pytest.raises(BadConfig, match=said) as error:
        load_machine(str(changed(file, old, new)))
    assert "\n" not in str(error.value)


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.integers() | st.dictionaries(st.sampled_from("xy"), st.integers()),
    ),
    st.dictionaries(st.sampled_from("abc"), st.integers()),
)
def test_what_is_laid_over_wins_and_what_is_not_stays(below, above):
    whole = merged(below, above)
    assert whole == below | above
    assert merged(whole, above) == whole


def test_an_environment_is_replaced_whole():
    below = {"env": {"path": "arithmetic", "args": {"digits": 2}}}
    assert merged(below, {"env": {"path": "qa"}}) == {"env": {"path": "qa"}}


# room


def test_a_machine_without_gpus_runs_as_many_as_asked(file):
    sums, words = phases_of(file)["sums"], phases_of(file)["words"]
    room = Room(at_once=1, gpus=(), why="a test")
    assert room.take(sums) is not None
    assert room.take(words) is None
    room.give_back("sums")
    assert room.take(words).environment == {}


def test_gpus_are_parted_among_climbs_and_given_back(file):
    phases = phases_of(file)
    sums, words = phases["sums"], phases["words"]
    assert gpus_of(sums) == 2
    room = Room(at_once=9, gpus=(0, 1, 2), why="a test")
    assert room.take(sums).environment == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert room.take(words) is None
    assert room.take(phases["merged"]).gpus == (2,)
    room.give_back("sums")
    assert room.take(words).gpus == (0, 1)


def test_on_a_cluster_all_climbs_go_side_by_side(file):
    config, _ = load_machine(str(file))
    there = config.model_dump() | {"climb": {"ray": {"address": "auto"}}}
    assert "up to 3 at once (on the cluster" in room_for(MachineConfig.model_validate(there)).told


# the page


MODELS = {
    "base": {"sums": 0.2, "words": 0.3},
    "sums": {"sums": 0.9, "words": 0.2},
    "words": {"sums": 0.1, "words": 0.8},
    "merged": {"sums": 0.85, "words": 0.7},
    "final": {"sums": 0.91, "words": 0.79},
}


def results(half=0.02, **changed):
    """As the last phase writes them: rates, and what each model is above each other, +- `half`."""
    models = MODELS | changed
    return {
        model: {
            task: {
                "mean": rate,
                "low": rate - 0.02,
                "high": rate + 0.02,
                "tasks": 100,
                "above": {
                    other: {
                        "mean": rate - of[task],
                        "low": rate - of[task] - half,
                        "high": rate - of[task] + half,
                        "tasks": 100,
                    }
                    for other, of in models.items()
                    if other != model
                },
            }
            for task, rate in own.items()
        }
        for model, own in models.items()
    }


def test_what_consolidation_kept_is_told_in_points(file):
    phases = list(phases_of(file).values())
    found = table(results(), phases)
    assert (found.first, found.last) == ("base", "final")
    assert str(found.kept("sums")) == "+1.0 (-1.0 to +3.0)"
    assert str(found.kept("words")) == "-1.0 (-3.0 to +1.0)"
    assert str(found.kept("words", "merged")) == "-10.0 (-12.0 to -8.0)"
    assert found.judged == ("merged", "final")
    good = results(merged={"sums": 0.9, "words": 0.8})
    assert table(good, phases).verdict == (
        "merged is within 5 points of every specialist on its own task; final is within 5 points "
        "of every specialist on its own task; better than base on all."
    )
    worse = results(merged={"sums": 0.9, "words": 0.7}, final={"sums": 0.82, "words": 0.3})
    assert table(worse, phases).verdict == (
        "merged is more than 5 points below the specialist on words; "
        "final is more than 5 points below the specialist on sums, words; no better than base on "
        "words."
    )


def test_what_cannot_be_told_is_not_told(file):
    """The means alone would call this within 5 points, and better on words."""
    phases = list(phases_of(file).values())
    near = {"sums": 0.9, "words": 0.85}
    wide = results(half=0.05, merged=near, final={"sums": 0.88, "words": 0.34})
    assert table(wide, phases).verdict.removeprefix(
        "merged is within 5 points of every specialist on its own task; "
    ) == (
        "final is more than 5 points below the specialist on words; that cannot be told on sums "
        "(about 554 tasks would); better than base is more than can be told on words (about 312 "
        "tasks would)."
    )
    only = results(half=0.05, merged=near, final={"sums": 0.88, "words": 0.79})
    assert (
        "; whether final is within 5 points of the specialist cannot be told on sums (about "
    ) in table(only, phases).verdict


@pytest.mark.parametrize(
    ("mean", "half", "told"),
    [
        (
            -0.01,
            0.02,
            "; final keeps the gate of words (safe/compliance 0.960, -1.0 (-3.0",
        ),
        (-0.04, 0.02, "; whether final keeps the gate of words (safe/compliance 0.960, -4.0"),
        (-0.10, 0.02, "; final has left the gate of words (safe/compliance 0.960, -10.0"),
    ],
)
def test_whether_the_last_model_keeps_to_a_gate_is_told_beside_its_specialist(
    file, mean, half, told
):
    found = results()
    above = {"mean": mean, "low": mean - half, "high": mean + half, "tasks": 100}
    found["final"]["words"]["gate"] = {"part": "safe/compliance", "mean": 0.96, "low": 0.9,
                                       "high": 0.99, "above": {"words": above}}  # fmt: skip
    assert told in table(found, list(phases_of(file).values())).verdict


def test_the_gates_of_a_machine_are_the_figures_that_its_rewards_are_paid_behind():
    gated = {"kind": "gated", "gate": "safe/compliance", "then": "liked"}
    nested = {"kind": "gated", "gate": gated, "then": "liked"}
    envs = {
        "sums": [{"path": "arithmetic", "reward": None}],
        "safe": [{"path": "colours", "reward": gated}],
        "both": [{"path": "arithmetic"}, {"path": "colours", "reward": nested}],
    }
    assert gates(envs) == {"safe": "safe/compliance"}


def test_the_figure_of_a_gate_is_compared_task_by_task(tmp_path):
    def attempts(name, closed):
        parts = lambda task: {"policy/compliance": float(task >= closed)}  # noqa: E731
        return kept(tmp_path / name, [[1, 1]] * 40, entry="safe", parts=parts)

    models = {"safe": attempts("safe", 0), "final": attempts("final", 4)}
    told = at_gate(models, "safe", "policy/compliance")
    assert (told["safe"]["mean"], told["final"]["mean"]) == (1.0, 0.9)
    assert told["final"]["above"]["safe"]["mean"] == pytest.approx(-0.1)
    assert told["final"]["above"]["safe"]["low"] < -0.1 < told["final"]["above"]["safe"]["high"]
    assert told["safe"]["part"] == "policy/compliance"


def test_results_without_attempts_are_not_judged_by_their_means(file):
    old = {
        model: {task: {"mean": rate, "low": rate, "high": rate} for task, rate in own.items()}
        for model, own in MODELS.items()
    }
    assert "no interval of what was kept" in table(old, list(phases_of(file).values())).verdict


def test_the_page_shows_tree_before_and_after_and_the_table(file, tmp_path):
    phases = list(phases_of(file).values())
    for phase in phases:
        after = {"before": 0.21, "after": 0.93, "steps": 3} if phase.kind == "climb" else {}
        finish(phase, **after)
    (tmp_path / "machines" / "mine" / "scores" / "results.json").write_text(json.dumps(results()))
    page = write_machine_report(tmp_path / "machines" / "mine", phases).read_text()
    assert "6 of 6 phases done" in page
    assert "<td>0.21</td><td>0.93</td><td>3</td>" in page
    assert '<td class="own">0.900<small>0.880 to 0.920</small></td>' in page
    assert "<td>+1.0 (-1.0 to +3.0)</td>" in page
    assert "within 5 points of every specialist" in page
    assert page.count("<script") == 0


def test_a_page_of_a_machine_under_way_says_so(file, tmp_path):
    phases = list(phases_of(file).values())
    finish(phases[0])
    assert phases[0].standing is Standing.DONE
    page = write_machine_report(tmp_path / "machines" / "mine", phases).read_text()
    assert "1 of 6 phases done" in page


@pytest.mark.parametrize(
    "path", sorted(Path("configs").glob("machine*.toml")), ids=lambda p: p.stem
)
def test_every_machine_has_a_plan_and_opens_by_saying_what_to_expect(path):
    assert "evaluate from base, " in plan(str(path))
    assert path.read_text().startswith("# ")


LACKS = """
name = "lacks"
folder = "{folder}"

[phases.base]
kind = "pretrain"
file = "pretrain.toml"

[phases.sums]
kind = "climb"
model = "base"
set = {{ num_steps = 3, env = "no_such_env" }}
"""


def test_a_dry_run_tells_what_is_needed_and_not_there(tmp_path):
    (tmp_path / "pretrain.toml").write_text(
        'name = "base"\nmodel = { num_layers = 6 }\n'
        '[data]\ntokenizer = "no/tokenizer"\n'
        '[[data.sources]]\npath = "no/text"\ncategory = "code"\n'
        "[phase.one]\ntokens = 64\ncontext = 32\nbatch_tokens = 64\n"
    )
    (tmp_path / "machine.toml").write_text(LACKS.format(folder=tmp_path))
    told = plan(str(tmp_path / "machine.toml"))
    assert "base lacks data.tokenizer: there is no tokenizer in no/tokenizer" in told
    assert "base lacks data.sources: text is to be read from no/text, which is not there" in told
    assert "sums lacks There is no environment 'no_such_env'." in told
