"""The real command, end to end: Ray, an engine, a learner, an environment of the user's own."""

import signal

import pytest

from munro.evaluation.results import Results
from munro.rl.control.journal import audit
from munro.rollout.store.store import RolloutStore
from tests.machine.climbing import kill_hard, munro, rows, start, wait_for_step, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("climbs")


@pytest.fixture(scope="module")
def straight(folder):
    """A climb that nothing interrupted, in a temporary folder too long for a socket's name."""
    deep = folder / ("a-temporary-folder-as-a-cluster-makes-them-for-each-job-" + 40 * "x")
    deep.mkdir()
    done = munro("climb", str(write_recipe(folder, "straight")), env={"TMPDIR": str(deep)})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "straight"


def test_a_climb_leaves_metrics_rollouts_checkpoints_and_a_report(straight):
    steps = [row["step"] for row in rows(straight)]
    assert steps == [0, 1, 2, 3, 4]
    assert {"eval/pass_rate", "sync/proof"} <= rows(straight)[0].keys()
    assert len(list((straight / "rollouts").glob("*.parquet"))) == 4
    evaluated = list(RolloutStore(straight / "evaluated").scan(["step", "attempt", "advantage"]))
    assert {row["step"] for row in evaluated} >= {0, 4}
    assert {row["advantage"] for row in evaluated} == {None}
    best, *steps = sorted((straight / "checkpoints").iterdir())
    assert [path.name for path in steps] == ["step-000002", "step-000004"]
    assert best.name == "best"
    assert best.resolve() in steps
    assert "pass rate" in (straight / "report.html").read_text()


def test_the_checkpoint_loads_with_transformers_and_differs_from_the_start(straight, folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    saved = straight / "checkpoints" / "step-000004"
    after = AutoModelForCausalLM.from_pretrained(saved).state_dict()
    before = AutoModelForCausalLM.from_pretrained(folder / "model").state_dict()
    assert any((after[name] != before[name]).any() for name in before)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert tokenizer.decode(tokenizer("say 7").input_ids) == "say 7"


def test_an_evaluation_of_a_checkpoint_is_that_of_its_climb(straight, folder):
    saved = str(straight / "checkpoints" / "step-000004")
    mine, out = f"{folder / 'mine.py'}:Mine", str(folder / "evals" / "straight")
    done = munro("eval", "--model", saved, "--env", mine, "--tasks", "4", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{mine}; template plain; at most 8 tokens" in done.stdout
    assert "not as straight" not in done.stdout
    said = f"pass@1           {rows(straight)[-1]['eval/pass_rate']:.3f} "
    assert said in done.stdout
    # the same command tells again, and starts nothing
    again = munro(
        "eval", "--model", saved, "--env", mine, "--tasks", "4", "--out", out, timeout_s=60
    )
    assert said in again.stdout
    assert len(Results(out).rows()) == 16


def test_no_task_is_skipped_or_trained_twice(straight):
    found = audit(straight / "journal.jsonl")
    assert found.trained
    assert found.trained_twice == found.skipped == ()


def test_a_finished_run_says_so_and_starts_nothing(straight, folder):
    again = munro("climb", str(folder / "straight.toml"))
    assert again.returncode == 0
    assert "is finished" in again.stdout


def test_a_changed_config_is_shown_and_refused(straight, folder):
    changed = munro("climb", str(folder / "straight.toml"), "--learner.learning_rate", "1e-5")
    assert changed.returncode == 2
    assert "learner.learning_rate: 0.001 -> 1e-05" in changed.stderr
    assert "--force" in changed.stderr


@pytest.mark.parametrize(
    ("step", "where"), [(2, "second of all"), (3, "first after a checkpoint"), (4, "second after")]
)
def test_a_stored_step_replays_to_the_same_numbers(straight, step, where):
    done = munro("replay", str(straight), "--step", str(step))
    assert done.returncode == 0, where + done.stdout + done.stderr
    assert "differs" not in done.stdout


@pytest.mark.climb
def test_killed_with_9_and_run_again_the_metrics_are_the_same_bit_by_bit(straight, folder):
    recipe = str(write_recipe(folder, "killed"))
    run = folder / "runs" / "killed"
    process = start("climb", recipe)
    wait_for_step(run, 3, process, within_s=500)
    kill_hard(process)
    done = munro("climb", recipe)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(run) == rows(straight)
    found = audit(run / "journal.jsonl")
    assert found.trained_twice == found.skipped == ()


@pytest.mark.parametrize(
    "sent",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM],
    ids=lambda sent: sent.name,
)
def test_a_signal_saves_a_checkpoint_and_ends_cleanly(folder, sent):
    recipe = str(write_recipe(folder, f"stopped-{sent.name}"))
    run = folder / "runs" / f"stopped-{sent.name}"
    process = start("climb", recipe, "--num_steps", "1000", "--eval.every_steps", "0")
    wait_for_step(run, 3, process, within_s=500)
    process.send_signal(sent)
    said, _ = process.communicate(timeout=1000)
    assert process.returncode == 130, said
    assert "stopped at step" in said
    assert "Traceback" not in said
    assert "received at time" not in said  # a stack of Ray's C++
    last = rows(run)[-1]["step"]
    assert (run / "checkpoints" / f"step-{last:06d}").is_dir()


BROKEN = {
    "its environment raises": (
        "def grade(self, task, reply):\n        raise KeyError('the answer')",
        "KeyError",
    ),
    "its environment has no tasks": (
        "def tasks(self, split):\n        return []\n\n"
        "    def grade(self, task, reply):\n        return Grade.of(True)",
        "no tasks",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_climb_ends_with_one_line_when(what, folder):
    body, said = BROKEN[what]
    head = "from munro.envs import Grade, SingleTurn, Task\n\n\nclass Mine(SingleTurn):\n"
    listed = "[Task(id=str(i), prompt='?') for i in range(9)]"
    tasks = f"    def tasks(self, split):\n        return {listed}\n\n"
    source = head + ("" if "def tasks" in body else tasks) + "    " + body + "\n"
    name = what.replace(" ", "-")
    done = munro("climb", str(write_recipe(folder, name, env=source)))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("munro: ")
    assert said in last
    assert "Traceback" not in done.stderr
