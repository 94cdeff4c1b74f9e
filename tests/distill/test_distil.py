"""From runs to a checkpoint: resumed bit for bit, never done twice, every mistake a sentence."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
import torch

from munro.base_model.checkpoint import Checkpoint
from munro.distill.distil import CannotDistill, distil, look
from munro.rollout.store.store import RolloutStore
from tests.distill.runs import make_attempt, make_base, make_run, quick, source, sum_task


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base").path


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "sums", steps=8)


class Killed(Exception):
    pass


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return checkpoint.model().state_dict()


def assert_same_weights(one: Checkpoint, other: Checkpoint) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", ["dense", "moe"])
def test_a_killed_distillation_ends_with_the_same_weights(tmp_path, run, kind):
    onto = make_base(tmp_path / "base", kind).path
    straight = distil([source(run)], onto, tmp_path / "straight", quick())

    def kill(metrics) -> None:
        if metrics.step == 5:
            raise Killed

    with pytest.raises(Killed):
        distil([source(run)], onto, tmp_path / "killed", quick(), on_progress=kill)
    assert not (tmp_path / "killed").exists()
    steps: list[int] = []
    resumed = distil(
        [source(run)],
        onto,
        tmp_path / "killed",
        quick(),
        on_progress=lambda metrics: steps.append(metrics.step),
    )
    assert steps[0] == 5
    assert_same_weights(straight, resumed)
    before = weights(Checkpoint(onto))
    assert any(not torch.equal(before[name], now) for name, now in weights(resumed).items())
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [
        "base",
        "killed",
        "straight",
    ]


def test_dropout_is_taken_up_again_after_a_kill_and_makes_a_difference(tmp_path, base, run):
    with_it = distil([source(run)], base, tmp_path / "with", quick())
    without = distil([source(run)], base, tmp_path / "without", quick(training={"dropout": 0.0}))
    ours, theirs = weights(with_it), weights(without)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)
    configs = [(made.path / "config.json").read_text() for made in (with_it, without)]
    assert configs[0] == configs[1]


def test_a_finished_distillation_is_returned_and_another_is_refused(tmp_path, base, run):
    out = tmp_path / "out"
    made = distil([source(run)], base, out, quick())
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert distil([source(run)], base, out, quick()) == made
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(CannotDistill, match="exists already and was not made from these"):
        distil([source(run)], base, out, quick(select={"seed": 1}))


def test_provenance_says_runs_steps_filters_counts_and_seeds(tmp_path, base, run):
    config = quick(filters={"duplicates": True}, select={"seed": 4}, training={"batch_rows": 1})
    made = distil([source(run)], base, tmp_path / "out", config).provenance()
    told = made["distillation"]
    (taken,) = told["runs"]
    assert (taken["first_step"], taken["last_step"], taken["stored"]) == (5, 8, 48)
    assert taken["passed"] == 24
    assert taken["dropped"] == {"duplicate": 12}
    assert taken["traces"] == told["traces"] == 12
    assert told["config"]["select"]["seed"] == 4
    assert told["config"]["filters"]["foreign_words"] == 10
    assert made["base"] == {"made": "here"}
    assert made["training"]["optimizer"]["weight_decay"] == 0.001


def test_later_steps_do_not_change_a_distillation_of_earlier_ones(tmp_path, base, run):
    growing = make_run(tmp_path / "growing", steps=3)
    asked = [source(growing, first_step=1, last_step=3)]
    one = distil(asked, base, tmp_path / "one", quick())
    store = RolloutStore(growing / "rollouts")
    store.write(9, store.read(1), [[0.0] * 4] * 3)
    store.pack()
    assert distil(asked, base, tmp_path / "one", quick()) == one
    assert_same_weights(one, distil(asked, base, tmp_path / "two", quick()))


def test_several_runs_are_mixed_by_weight_each_with_its_own_filters(tmp_path, base, run):
    loops = make_run(tmp_path / "loops", steps=8, reply=lambda n, at: "1 " * 18 + f"{sum(n)}")
    config = quick(
        select={"window": [0.0, 1.0]},
        teachers={"loops": {"repetition": 1.0, "duplicates": False}},
        training={"row_tokens": 64},
    )
    account = look([source(run, weight=3.0), source(loops, weight=1.0)], base, config)
    by_name = {taken.name: taken for taken in account.runs}
    assert by_name["sums"].traces == 3 * by_name["loops"].traces == 48
    with pytest.raises(CannotDistill, match=r"traces of .*loops .* filters dropped repetitive 96"):
        look([source(run), source(loops)], base, quick(select={"window": [0.0, 1.0]}))


def test_more_is_read_where_filters_take_more_than_was_to_spare(tmp_path, base):
    def reply(numbers, attempt: int) -> str:
        return f"7+5=12 {sum(numbers)}" if attempt == 0 else "1 " * 18 + f"{sum(numbers)}"

    run = make_run(tmp_path / "mostly-loops", steps=10, reply=reply)
    account = look([source(run)], base, quick(select={"window": [0.0, 1.0], "most_traces": 20}))
    assert account.traces == 20
    assert account.runs[0].read > 25


def test_a_trace_longer_than_a_row_is_dropped_and_counted(base, run):
    lengths = [row["num_tokens"] for row in RolloutStore(run / "rollouts").scan(["num_tokens"])]
    account = look([source(run)], base, quick(training={"row_tokens": max(lengths) - 1}))
    assert account.runs[0].dropped["too_long"] > 0
    assert account.traces == account.runs[0].passed - account.runs[0].dropped["too_long"]


def test_failed_traces_can_be_taken_too(base, run):
    account = look([source(run)], base, quick(select={"outcomes": "all"}))
    assert account.traces == account.runs[0].stored == 48


def test_what_the_base_was_trained_on_can_be_mixed_in(tmp_path, run):
    from tests.base_model.builders import small_base

    made = make_base(tmp_path / "base")
    told = {"base": small_base().model_dump(mode="json")}
    (made.path / "provenance.json").write_text(json.dumps(told))
    steps: list[int] = []
    for share in (0.0, 0.5):
        out = distil(
            [source(run)], made.path, tmp_path / f"{share}", quick(replay={"share": share})
        )
        steps.append(out.provenance()["training"]["num_steps"])
    assert steps[1] == pytest.approx(2 * steps[0], abs=1)


# mistakes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"replay": {"share": 0.5}}, "does not say what it was trained on"),
        ({"training": {"batch_rows": 500}}, r"1 optimizer step of training.batch_rows = 500: set"),
        ({"template": "chat", "filters": {"least_work": 99}}, "without_work 24. Loosen the filter"),
        ({"select": {"window": [0.0, 0.05]}}, r"holds no checkpoint: .* steps 1 to 8"),
        ({"filters": {"least_reward": 2.0}}, "filters dropped poor 24"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_sentence(tmp_path, base, run, changes, told):
    with pytest.raises(CannotDistill, match=told) as raised:
        distil([source(run)], base, tmp_path / "out", quick(**changes))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_run_of_failures_says_so(tmp_path, base):
    failing = make_run(tmp_path / "failing", reply=lambda n, at: "0")
    with pytest.raises(CannotDistill, match=r"none of the 24 traces of .*failing .* passed"):
        look([source(failing)], base, quick())


def test_steps_that_are_not_there_and_runs_without_rollouts_say_so(tmp_path, base, run):
    with pytest.raises(CannotDistill, match=r"steps 20 to 30 of .* holds no checkpoint"):
        look([source(run, first_step=20, last_step=30)], base, quick())
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotDistill, match="holds no rollouts"):
        look([source(tmp_path / "empty")], base, quick())


def test_a_base_with_another_vocabulary_is_refused(tmp_path, run):
    from munro.base_model.small.quickstart import new_model
    from tests.base_model.builders import small_base
    from tests.distill.test_rewrite import other_tokenizer

    tokenizer = other_tokenizer()
    model = new_model(small_base().model, tokenizer)
    other = Checkpoint.write(tmp_path / "other", model=model, tokenizer=tokenizer).path
    with pytest.raises(CannotDistill, match="another vocabulary or template"):
        look([source(run)], other, quick())
    told_anew = look([source(run)], other, quick(template="plain"))
    assert told_anew.traces == 24


def test_a_store_that_was_cut_is_used_up_to_the_cut_and_says_so(tmp_path, base):
    run = make_run(tmp_path / "cut", steps=4)
    file = run / "rollouts" / "step-000004.parquet"
    whole = file.read_bytes()
    for end in range(len(whole) - 100, 0, -1500):
        file.write_bytes(whole[:end])
        account = look([source(run)], base, quick())
        if account.runs[0].stored < 24:
            break
    assert account.runs[0].stored in (16, 20)
    assert len(account.cut) == 1
    assert "step-000004.parquet is cut short" in account.cut[0]


def test_two_processes_do_not_make_the_same_checkpoint(tmp_path, base, run):
    with (tmp_path / ".out.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CannotDistill, match="is being made by another process"):
            distil([source(run)], base, tmp_path / "out", quick())


def test_a_full_disk_is_a_sentence_and_the_same_call_goes_on(tmp_path, base, run, monkeypatch):
    from munro.distill import prepare

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "write_taken", full)
        with pytest.raises(CannotDistill, match=r"no space is left for .*the same command goes on"):
            distil([source(run)], base, tmp_path / "out", quick())
    assert distil([source(run)], base, tmp_path / "out", quick()).exists


def test_foreign_experts_are_not_left_unbalanced_in_silence(tmp_path, run):
    from tests.base_model.builders import small_tokenizer
    from tests.rollout.tiny_llama import tiny_experts

    folder = tmp_path / "experts"
    Checkpoint.write(folder, model=tiny_experts(), tokenizer=small_tokenizer())
    with pytest.raises(CannotDistill, match="has 8 experts, and does not tell their load"):
        distil([source(run)], folder, tmp_path / "out", quick())


def test_attempts_of_other_graders_keep_their_parts():
    attempt = make_attempt(sum_task([1, 2]), "3", parts={"style": 0.5})
    assert attempt.grade.parts == {"style": 0.5}
