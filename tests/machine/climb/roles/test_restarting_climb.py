"""A climb that distils itself and goes on from that: real command, engine, learner and training."""

from __future__ import annotations

import json
import time

import pytest

from munro.base_model.model.tokenizer import train_tokenizer
from munro.rl.control.journal import audit
from munro.rollout.store.store import RolloutStore
from tests.machine.climbing import kill_hard, munro, rows, start, write_recipe
from tests.rollout.tiny_llama import CONTEXT, VOCAB, tiny_llama

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]

SMALL = (
    "--num_steps", "5",
    # a random model ends nothing and says anything
    "--distill.filters.truncated", "false",
    "--distill.filters.foreign_words", "1000",
    "--distill.filters.repetition", "1.0",
    "--distill.select.outcomes", "all",
    "--distill.training.batch_rows", "1",
    "--distill.training.row_tokens", "64",
    "--distill.training.epochs", "8",
    "--distill.training.threads", "1",
    "--distill.training.checkpoint_every", "1",
    "--distill.training.log_every", "1",
)  # fmt: skip
EVERY_2 = (*SMALL, "--distill.every", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a model whose every token the tokenizer can read: what it says is to be learned."""
    folder = tmp_path_factory.mktemp("restarts")
    tokenizer = train_tokenizer([json.__doc__], vocab_size=VOCAB, max_context=CONTEXT)
    assert len(tokenizer) == VOCAB
    tiny_llama(tied=True).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def straight(folder):
    """A climb with two distillations in it that nothing interrupted."""
    done = munro("climb", str(write_recipe(folder, "straight")), *EVERY_2, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "straight", done.stdout


def restarts(run):
    return json.loads((run / "run.json").read_text())["restarts"]


def told(run):
    """What run.json says of the restarts, but for the run's own name."""
    return [{**made, "checkpoint": ""} for made in restarts(run)]


def test_it_restarts_on_schedule_from_its_own_traces_onto_its_own_base(straight, folder):
    run, said = straight
    assert [(made["step"], made["cause"]) for made in restarts(run)] == [
        (2, "every 2 steps"),
        (4, "every 2 steps"),
    ]
    assert {made["base"] for made in restarts(run)} == {str(folder / "model")}
    assert said.count("★") == 2
    taken = [(made["first_step"], made["last_step"]) for made in restarts(run)]
    assert taken == [(2, 2), (3, 4)]


def test_the_step_counter_goes_on_and_k_and_the_optimizer_are_new(straight):
    run, _ = straight
    lines = {row["step"]: row for row in rows(run)}
    assert sorted(lines) == [0, 1, 2, 3, 4, 5]
    assert lines[3]["policy/k"] == lines[5]["policy/k"] == 0
    assert "restart/pass_rate" in lines[3]
    assert "eval/pass_rate" in lines[2]
    assert "restart/pass_rate" not in lines[4]
    found = audit(run / "journal.jsonl")
    assert found.trained_twice == found.skipped == ()


def test_metrics_journal_and_page_say_so(straight):
    run, _ = straight
    events = {row["step"]: row["event"] for row in rows(run) if "event" in row}
    assert [step for step, told in events.items() if "distilled" in told[0]] == [2, 4]
    journal = (run / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in journal if '"distilled"' in line] == [2, 4]
    assert (run / "report.html").read_text().count("★ step ") == 2


def wait_until(found, process, within_s=300):
    end = time.monotonic() + within_s
    while not found():
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"it did not come to that: {process.communicate()[0]}")
        time.sleep(0.02)


@pytest.mark.parametrize("moment", ["training", "written", "going on"])
def test_killed_around_a_distillation_it_ends_with_the_same_bits(moment, straight, folder):
    recipe, name = str(write_recipe(folder, f"killed-{moment[0]}")), f"killed-{moment[0]}"
    run = folder / "runs" / name
    moments = {
        "training": lambda: any((run / "distilled").glob("*.distilling-*/metrics.jsonl")),
        "written": lambda: (run / "distilled" / "step-000002").exists(),
        "going on": lambda: any(row["step"] == 3 for row in rows(run)),
    }
    process = start("climb", recipe, *EVERY_2)
    wait_until(moments[moment], process)
    kill_hard(process)
    done = munro("climb", recipe, *EVERY_2, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(run) == rows(straight[0])
    assert told(run) == told(straight[0])
    left = sorted(path.name for path in (run / "distilled").glob("[!.]*"))
    assert left == ["step-000002", "step-000004"]
    found = audit(run / "journal.jsonl")
    assert found.trained_twice == found.skipped == ()


def test_a_collapse_is_answered_from_traces_before_it(folder):
    recipe = str(write_recipe(folder, "collapsed"))
    done = munro(
        "climb", recipe, *SMALL, "--num_steps", "8", "--distill.on", '["collapse"]',
        "--collapse.patience", "1", "--collapse.pass_rate_drop", "0.01",
        "--collapse.entropy_high", "0", timeout_s=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first = restarts(folder / "runs" / "collapsed")[0]
    assert first["is_collapse"]
    assert first["cause"].startswith("collapse: pass_rate/sampled under")
    assert first["last_step"] == first["step"] - 1


NEVER = '''
from munro.envs import Grade, SingleTurn, Task


class Mine(SingleTurn):
    """Passes now and then for the first tasks, and never for any other."""

    def tasks(self, split):
        return [Task(id=f"{split}-{i}", prompt=f"say {i}") for i in range(4)]

    def grade(self, task, reply):
        from pathlib import Path
        from tempfile import mkstemp

        # a file for each grading: several processes grade at once
        counted = Path(__file__).with_suffix(".counted")
        counted.mkdir(exist_ok=True)
        mkstemp(dir=counted)
        count = len(list(counted.iterdir()))
        return Grade.of(count < 24 and count % 2 == 0)
'''


def test_a_climb_without_any_signal_left_distils_once_and_then_says_what_is_wrong(folder):
    recipe = str(write_recipe(folder, "never", env=NEVER))
    done = munro(
        "climb", recipe, *SMALL, "--distill.on", '["collapse"]', "--eval.every_steps", "0",
        "--rollout.early_pass_rate", "[0.01, 1.0]", "--rollout.pass_rate", "[0.01, 1.0]",
        "--batch.patience", "2", timeout_s=500,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no task passed the gates" in done.stderr
    # some of the replies are told, and all that were kept lie beside what was trained on
    assert done.stdout.count("    reply  ") >= 3
    assert done.stdout.count("    grade  0, failed") >= 3
    assert RolloutStore(folder / "runs" / "never" / "dropped").steps()
    (made,) = restarts(folder / "runs" / "never")
    assert made["cause"].startswith("collapse: no task passed the gates")


def foreign(path):
    tiny_llama(tied=True).save_pretrained(path)
    texts = ["quite another text, with other words"] * 4
    train_tokenizer(texts, vocab_size=VOCAB, max_context=CONTEXT).save_pretrained(path)
    return path


def test_a_new_base_is_taken_up_by_a_stopped_climb_and_a_foreign_one_refused(folder):
    recipe = str(write_recipe(folder, "rebased"))
    run = folder / "runs" / "rebased"
    process = start("climb", recipe, *SMALL, "--num_steps", "400", "--eval.every_steps", "0")
    wait_until(lambda: any(row["step"] == 2 for row in rows(run)), process)
    kill_hard(process)
    stopped = max(row["step"] for row in rows(run))
    refused = munro("rebase", str(run), "--onto", str(foreign(folder / "foreign")))
    assert refused.returncode == 2
    assert "has another vocabulary than" in refused.stderr
    newer = folder / "newer"
    tiny_llama(tied=True).save_pretrained(newer)
    for file in (folder / "model").glob("*token*"):
        (newer / file.name).write_bytes(file.read_bytes())
    asked = munro("rebase", str(run), "--onto", str(newer))
    assert "when it is started again" in asked.stdout
    more = ("--num_steps", str(stopped + 2), "--force")
    done = munro("climb", recipe, *SMALL, *more, timeout_s=500)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = restarts(run)
    assert stopped - 2 <= made["step"] <= stopped + 1  # its last checkpoint's, of every other step
    assert (made["cause"], made["base"]) == ("a new base", str(newer))
    assert not (run / "rebase.json").exists()


def test_a_running_climb_takes_a_new_base_up_after_its_present_step(folder):
    recipe = str(write_recipe(folder, "running"))
    run = folder / "runs" / "running"
    process = start("climb", recipe, *SMALL, "--num_steps", "40", "--eval.every_steps", "0")
    wait_until(lambda: any(row["step"] == 2 for row in rows(run)), process)
    asked = munro("rebase", str(run), "--onto", str(folder / "model"))
    assert "after its present step" in asked.stdout, asked.stderr
    wait_until(lambda: bool(restarts(run)), process)
    kill_hard(process)
    (made,) = restarts(run)
    assert made["cause"] == "a new base"
    assert made["step"] < 40
