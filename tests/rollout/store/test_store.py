"""What the store gives back is what was put in, bit by bit."""

from __future__ import annotations

import resource
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from munro.envs.budget import Budget
from munro.envs.types import CallRecord, Ending, Message, ToolCall
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rollout.store.store import RolloutStore, StoreError, field
from munro.rollout.types import Attempt
from tests.builders import make_attempt, make_group, make_task, make_trajectory


@pytest.fixture
def store(tmp_path):
    return RolloutStore(tmp_path / "rollouts")


def odd_group():
    """A group with everything a trajectory can have, in values that rounding would show."""
    rng = np.random.default_rng(0)
    told = make_trajectory(
        reply_ids=range(10, 17),
        nucleus=True,
        ending=Ending.TRUNCATED_TURNS,
        num_cut=3,
        reply="so <think> 42 \ud7ff é",
        messages=(
            Message(
                role="assistant",
                content="call",
                tool_calls=(ToolCall(id="c", name="add", arguments='{"a": '),),
            ),
            Message(role="tool", content="42\x00", tool_call_id="c"),
            Message(
                role="assistant",
                content=" 42 ",
                reasoning="so",
                raw="<think>so</think> 42 ",
                is_sampled=True,
            ),
        ),
        routed_experts=rng.integers(-1, 64, (11, 3, 2)).astype(np.int16),
        forks=((6, 2), (9, -1)),
        calls=(
            CallRecord(turn=0, id="c", name="add", arguments='{"a": ', ok=False, seconds=1 / 3),
            CallRecord(turn=1, id="d", name="", arguments="é", ok=False, seconds=0.0, error="\x00"),
        ),
    )
    told = replace(told, behaviour_logp=rng.standard_normal(11).astype(np.float32))
    odd = Attempt(
        trajectory=told,
        grade=Grade(reward=1 / 3, parts={"tests": 0.1}, reason="no verdict"),
        reward=RewardBreakdown(
            task=1 / 3, language=0.7, length=1e-300, repetition=0.1, truncation=1.0, total=2 / 3
        ),
    )
    task = make_task(
        "odd",
        payload={"answer": [1, {"x": None}]},
        tools=({"type": "function"},),
        env="odd",
        budget=Budget(turns=3, boxes="auto"),
    )
    return make_group(
        task=task,
        index=2**40,
        num_unscored=3,
        seconds={"generate": 0.1},
        attempts=(odd, make_attempt(0.0)),
    )


def assert_same(one, other):
    """Equal in every field, arrays in type and bits."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, tuple | list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif hasattr(one, "__dataclass_fields__"):
        for name in one.__dataclass_fields__:
            assert_same(getattr(one, name), getattr(other, name))
    else:
        assert one == other


def test_a_step_comes_back_bit_by_bit(store):
    groups = [odd_group(), make_group(1.0, 0.0, 1.0, index=7)]
    store.write(12, groups, [[0.5, -0.5], [1.0, -2.0, 1.0]])
    assert (store.folder / "step-000012.parquet").is_file()
    assert_same(store.read(12), groups)


def test_a_step_stored_before_repetition_was_a_part_is_still_read(store):
    path = store.write(3, [make_group(1.0, 0.0)], [[1.0, -1.0]])
    table = pq.read_table(path)
    later = ["reward_repetition", "reward_truncation", "forks", "calls"]
    pq.write_table(table.drop_columns(later), path)
    (group,) = store.read(3)
    assert [attempt.reward.repetition for attempt in group.attempts] == [0.0, 0.0]
    assert [attempt.trajectory.forks for attempt in group.attempts] == [(), ()]
    assert [attempt.trajectory.calls for attempt in group.attempts] == [(), ()]
    assert [row["forks"] for row in store.scan(["forks"])] == [None, None]
    assert [row["reward_total"] for row in store.scan(["reward_total"])] == [1.0, 0.0]


def test_floats_that_are_no_numbers_survive(store):
    told = make_trajectory()
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 1, 0, 0, 0], np.uint32)
    group = make_group(
        attempts=(make_attempt(trajectory=replace(told, behaviour_logp=bits.view(np.float32))),)
    )
    store.write(1, [group], [[0.0]])
    (back,) = store.read(1)
    assert (back.attempts[0].trajectory.behaviour_logp.view(np.uint32) == bits).all()


def test_an_empty_nucleus_and_an_empty_step_survive(store):
    group = make_group(attempts=(make_attempt(trajectory=make_trajectory(reply_ids=())),))
    store.write(1, [group], [[0.0]])
    store.write(2, [], [])
    assert_same(store.read(1), [group])
    assert store.read(2) == []


def test_a_payload_that_json_does_not_know_is_kept_as_text(store):
    group = make_group(task=make_task(payload={"answer": {1, 2}, "pair": (1, 2)}))
    store.write(1, [group], [[1.0, -1.0]])
    (back,) = store.read(1)
    assert back.task.payload == {"answer": "{1, 2}", "pair": [1, 2]}


def test_a_scan_reads_what_is_asked_for_in_order(store):
    store.write(3, [make_group(1.0, 0.0, index=5)], [[1.0, -1.0]])
    store.write(1, [odd_group()], [[0.5, -0.5]])
    rows = list(store.scan(["trace", "advantage", "passed"]))
    assert rows == [
        {"trace": f"1/{2**40}/0", "advantage": 0.5, "passed": None},
        {"trace": f"1/{2**40}/1", "advantage": -0.5, "passed": False},
        {"trace": "3/5/0", "advantage": 1.0, "passed": True},
        {"trace": "3/5/1", "advantage": -1.0, "passed": False},
    ]
    solved = store.scan(["trace"], field("solved") & (field("env") == "odd"))
    assert [row["trace"] for row in solved] == [f"1/{2**40}/0"]
    assert [row["attempt"] for row in store.scan(["attempt"], steps=[3])] == [0, 1]


def test_an_unknown_column_is_refused_with_those_there_are(store):
    with pytest.raises(StoreError, match=r"no column rewards\. It has trace, step"):
        list(store.scan(["rewards"]))


def test_a_step_that_is_taken_again_replaces_what_was_stored(store):
    store.write(1, [make_group(1.0, 0.0)], [[1.0, -1.0]])
    store.write(1, [make_group(0.0, 0.0, 1.0)], [[0.0] * 3])
    assert [len(group.attempts) for group in store.read(1)] == [3]
    assert [path.name for path in store.folder.iterdir()] == ["step-000001.parquet"]


def test_what_came_after_a_checkpoint_is_dropped(store):
    for step in (1, 2, 3, 1_000_000):
        store.write(step, [make_group()], [[1.0, -1.0]])
    assert store.steps() == [1, 2, 3, 1_000_000]
    assert store.drop_after(2) == [3, 1_000_000]
    assert store.steps() == [1, 2]


@pytest.mark.parametrize("keep", [0, 3, 2000], ids=lambda n: f"{n} bytes")
def test_a_file_that_was_cut_short_says_so(store, keep):
    path = store.write(4, [odd_group()], [[0.5, -0.5]])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"step-000004\.parquet is cut short or damaged"):
        store.read(4)
    with pytest.raises(StoreError, match=r"step-000004\.parquet is cut short or damaged"):
        list(store.scan(["reply"]))


def test_a_single_bit_that_turned_says_so(store):
    noise = np.random.default_rng(0).integers(0, 2**31, 1000).tolist()
    group = make_group(attempts=(make_attempt(trajectory=make_trajectory(noise)),))
    path = store.write(4, [group], [[0.5]])
    whole = path.read_bytes()
    at = whole.index(np.array(noise[100:104], np.int32).tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(StoreError, match="cut short or damaged"):
        store.read(4)
    with pytest.raises(StoreError, match="cut short or damaged"):
        list(store.scan(["token_ids"]))


def test_a_step_that_is_not_there_says_what_is(store):
    with pytest.raises(StoreError, match="holds no step 9: it holds nothing"):
        store.read(9)
    store.write(2, [], [])
    with pytest.raises(StoreError, match="it holds steps 2 to 2"):
        store.read(9)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "rollouts").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"could not be written: .*start the run again"):
        RolloutStore(tmp_path / "rollouts").write(1, [], [])


def test_a_full_disk_leaves_the_earlier_file_and_no_half_one(store):
    small = [make_group(1.0, 0.0)]
    store.write(1, small, [[1.0, -1.0]])
    noise = np.random.default_rng(0).integers(0, 2**31, 200_000).tolist()
    large = make_group(attempts=(make_attempt(trajectory=make_trajectory(noise)),))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StoreError, match=r"could not be written: .*Free space"):
            store.write(1, [large], [[1.0]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_same(store.read(1), small)
    assert [path.name for path in store.folder.iterdir()] == ["step-000001.parquet"]


def test_a_step_in_parts_is_there_with_its_last_one_and_reads_as_one(tmp_path):
    """As several nodes write it: each its own part, the first one last."""
    rollouts = [RolloutStore(tmp_path) for _ in range(3)]
    groups = [make_group(index=index) for index in (4, 1, 0, 3)]
    for part, own in enumerate((groups[:2], groups[2:3], groups[3:])):
        rollouts[part].draft(7, own, [[1.0, -1.0]] * len(own), part=part)
    rollouts[2].commit(7, part=2)
    rollouts[1].commit(7, part=1)
    assert rollouts[0].steps() == []
    rollouts[0].commit(7)
    reader = RolloutStore(tmp_path)
    assert [group.index for group in reader.read(7)] == [0, 1, 3, 4]
    assert sorted(row["index"] for row in reader.scan(["index"])) == [0, 0, 1, 1, 3, 3, 4, 4]
    reader.write(8, [make_group(index=9)], [[1.0, -1.0]])
    reader.pack()
    assert [path.name for path in tmp_path.iterdir()] == ["steps-000007-000008.parquet"]
    assert [group.index for group in reader.read(7)] == [0, 1, 3, 4]


def test_parts_of_a_step_that_never_was_whole_go_with_a_resume(tmp_path):
    rollouts = RolloutStore(tmp_path)
    rollouts.write(1, [make_group()], [[1.0, -1.0]])
    rollouts.draft(2, [make_group()], [[1.0, -1.0]], part=1)
    rollouts.commit(2, part=1)
    rollouts.draft(2, [make_group()], [[1.0, -1.0]])
    rollouts.drop_after(1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001.parquet"]
