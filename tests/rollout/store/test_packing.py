"""Packed steps read as loose ones did; no kill, cut or re-taken step loses or doubles a row."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from munro.rollout.store import store as store_module
from munro.rollout.store.store import RolloutStore, StoreError, field
from tests.builders import make_attempt, make_group, make_task, make_trajectory
from tests.rollout.store.test_store import assert_same, odd_group

COLUMNS = ["step", "trace", "reply", "solved", "token_ids", "task_id"]


def groups_of(step: int):
    """Three groups, one of them with everything a trajectory can have."""
    noise = np.random.default_rng(step).integers(0, 2**31, 40).tolist()
    return [
        make_group(1.0, 0.0, index=3 * step, task=make_task(f"{step}+1")),
        odd_group(),
        make_group(index=3 * step + 1, attempts=(make_attempt(trajectory=make_trajectory(noise)),)),
    ]


def fill(folder: Path, steps: int) -> RolloutStore:
    store = RolloutStore(folder)
    for step in range(1, steps + 1):
        store.write(step, groups_of(step), [[1.0, -1.0], [0.5, -0.5], [0.0]])
    return store


def rows(store: RolloutStore):
    return list(store.scan(COLUMNS))


def names(store: RolloutStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_packed_steps_come_back_bit_by_bit(tmp_path):
    store = fill(tmp_path, 6)
    before = rows(store)
    assert store.pack(keep=2) == [1, 2, 3, 4]
    assert names(store) == [
        "step-000005.parquet",
        "step-000006.parquet",
        "steps-000001-000004.parquet",
    ]
    assert store.steps() == [1, 2, 3, 4, 5, 6]
    assert rows(store) == before
    for step in range(1, 7):
        assert_same(store.read(step), groups_of(step))
    solved = [row["step"] for row in store.scan(["step"], field("solved"), steps=[2, 3, 6])]
    assert solved == [2, 2, 2, 3, 3, 3, 6, 6, 6]


def test_old_steps_are_packed_as_new_ones_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "STEPS_PACKED", 3)
    store = fill(tmp_path, 9)
    assert names(store) == [
        "step-000007.parquet",
        "step-000008.parquet",
        "step-000009.parquet",
        "steps-000001-000003.parquet",
        "steps-000004-000006.parquet",
    ]
    assert store.steps() == list(range(1, 10))


def test_an_empty_step_is_still_a_step_when_packed(tmp_path):
    store = RolloutStore(tmp_path)
    store.write(1, [], [])
    store.write(2, [make_group()], [[1.0, -1.0]])
    store.pack()
    assert store.steps() == [1, 2]
    assert store.read(1) == []
    assert len(store.read(2)) == 1


def test_large_steps_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "LARGE_BYTES", 1)
    assert fill(tmp_path, 2).pack() == []


def test_a_packed_step_that_is_taken_again_counts_anew(tmp_path):
    store = fill(tmp_path, 3)
    store.pack()
    store.write(2, [make_group(0.0, index=9)], [[0.0]])
    assert [row["trace"] for row in store.scan(["trace"], steps=[2])] == ["2/9/0"]
    store.pack()
    assert names(store) == ["steps-000001-000003.parquet"]
    assert [row["trace"] for row in store.scan(["trace"], steps=[2])] == ["2/9/0"]
    assert_same(store.read(3), groups_of(3))


@pytest.mark.parametrize(("after", "left"), [(2, [1, 2]), (4, [1, 2, 3, 4]), (0, [])])
def test_later_steps_are_dropped_from_packed_files_too(tmp_path, after, left):
    store = fill(tmp_path, 5)
    store.pack(keep=1)
    assert store.drop_after(after) == [step for step in range(1, 6) if step > after]
    assert store.steps() == left
    for step in left:
        assert_same(store.read(step), groups_of(step))


class Killed:
    """`os.replace` and `os.unlink` that end the process for good at the n-th call."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self, real):
        def call(*args, **kwargs):
            self._left -= 1
            if self._left < 0:
                os._exit(9)
            return real(*args, **kwargs)

        return call


def killed_at(call: int, work) -> bool:
    """Run `work` in a child that dies at this renaming or removal; whether it died."""
    child = os.fork()
    if child == 0:
        kill = Killed(call)
        for name in ("replace", "unlink"):
            setattr(Path, name, kill(getattr(Path, name)))
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("work", ["pack", "drop"])
def test_a_kill_anywhere_loses_nothing_and_doubles_nothing(tmp_path, work):
    calls = 0
    while True:
        store = fill(tmp_path / f"{work}{calls}", 3)
        before = rows(store)
        if work == "drop":
            store.pack(keep=1)
        does = store.pack if work == "pack" else lambda store=store: store.drop_after(1)
        died = killed_at(calls, does)
        again = RolloutStore(store.folder)
        if work == "pack":
            assert rows(again) == before
            again.pack()
            assert rows(again) == before
            assert names(again) == ["steps-000001-000003.parquet"]
        else:
            assert [row for row in rows(again) if row["step"] == 1] == before[:5]
            again.drop_after(1)
            assert rows(again) == before[:5]
            assert again.steps() == [1]
        calls += 1
        if not died:
            break
    assert calls > 3


def cut(path: Path, groups: int) -> None:
    """Cut the file a little after this many row groups."""
    metadata = pq.ParquetFile(path).metadata
    column = metadata.row_group(groups).column(0)
    path.write_bytes(path.read_bytes()[: column.data_page_offset + 30])


def test_a_file_that_lost_its_end_is_read_up_to_its_last_whole_row_group(tmp_path):
    store = fill(tmp_path, 2)
    before = rows(store)
    cut(tmp_path / "step-000002.parquet", 2)
    with pytest.raises(StoreError, match=r"000002\.parquet is cut short: of the 3 .* 2 are whole"):
        rows(store)
    with pytest.raises(StoreError, match="cut short"):
        store.read(2)
    told: list[str] = []
    found = [
        row for batch in store.batches(COLUMNS, on_cut=told.append) for row in batch.to_pylist()
    ]
    assert found == before[:9]
    assert len(told) == 1
    assert "step-000002.parquet is cut short" in told[0]
    where = field("solved")
    some = [b.num_rows for b in store.batches(["reply"], where, steps=[2], on_cut=told.append)]
    assert sum(some) == 2


def test_a_packed_file_that_lost_its_end_still_gives_the_steps_before(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "ROWS_AT_ONCE", 5)
    store = fill(tmp_path, 3)
    store.pack()
    cut(tmp_path / "steps-000001-000003.parquet", 2)
    assert_same(store.read(1), groups_of(1))
    assert_same(store.read(2), groups_of(2))
    with pytest.raises(StoreError, match="cut short"):
        store.read(3)


def test_a_file_that_lost_only_its_last_byte_is_whole(tmp_path):
    store = fill(tmp_path, 1)
    path = tmp_path / "step-000001.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert_same(store.read(1), groups_of(1))


def test_other_readers_of_parquet_read_our_files(tmp_path):
    store = fill(tmp_path, 2)
    store.pack()
    table = pq.read_table(tmp_path / "steps-000001-000002.parquet")
    assert table["trace"].to_pylist() == [row["trace"] for row in store.scan(["trace"])]


def test_a_store_that_is_packed_while_it_is_read_is_read_to_the_end(tmp_path):
    store = fill(tmp_path, 4)
    before = rows(store)
    reading = RolloutStore(tmp_path).scan(COLUMNS)
    first = next(reading)
    store.pack()
    assert [first, *reading] == before
