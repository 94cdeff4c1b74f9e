"""What is written into shards is read from them, and what is broken is said in one line."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.base_model.data.errors import DataError
from munro.base_model.data.shards.files import ShardFolder, write_manifest, write_shard

VOCAB_SIZES = st.sampled_from([300, 1 << 16, (1 << 16) + 1, 200_000])


def write(
    folder: Path, shards: list[list[tuple[list[int], list[bool] | None]]], vocab: int
) -> None:
    written = [
        write_shard(folder, f"{number:05d}", documents, vocab_size=vocab)
        for number, documents in enumerate(shards)
    ]
    write_manifest(folder, written, source="some", vocab_size=vocab, tokenizer="none")


@given(st.data(), VOCAB_SIZES)
def test_documents_and_masks_come_back_as_they_were(data: st.DataObject, vocab_size: int) -> None:
    ids = st.lists(st.integers(0, vocab_size - 1), max_size=6)
    one = ids.flatmap(
        lambda some: st.tuples(
            st.just(some),
            st.none() | st.lists(st.booleans(), min_size=len(some), max_size=len(some)),
        )
    )
    shards = data.draw(st.lists(st.lists(one, max_size=4), min_size=1, max_size=3))
    expected = [document for shard in shards for document in shard if document[0]]
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), shards, vocab_size)
        folder = ShardFolder(name)
        assert folder.num_documents == len(expected)
        assert folder.num_tokens == sum(len(ids) for ids, _ in expected)
        for number, (token_ids, learned) in enumerate(expected):
            found, mask = folder.document(number)
            assert found.tolist() == token_ids
            assert (learned is None or all(learned)) if mask is None else mask.tolist() == learned
        with pytest.raises(IndexError):
            folder.document(len(expected))


def test_a_shard_cut_short_is_named_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, [[([1, 2, 3], None)], [([4, 5], None)]], 300)
    file = tmp_path / "00001.tokens"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"00001\.tokens is cut short: .* 3 bytes of 4\. Delete"):
        ShardFolder(tmp_path)


def test_a_missing_mask_is_a_shard_cut_short(tmp_path: Path) -> None:
    write(tmp_path, [[([1, 2, 3], [False, True, True])]], 300)
    (tmp_path / "00000.learned").unlink()
    with pytest.raises(DataError, match=r"learned is cut short: it has 0 bytes of 3"):
        ShardFolder(tmp_path)


def test_a_folder_without_shards_says_how_they_are_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="munro data build"):
        ShardFolder(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        ShardFolder(tmp_path / "nowhere")


def test_shards_of_another_format_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, [[([1], None)]], 300)
    manifest = tmp_path / "shards.json"
    manifest.write_text(re.sub(r'"format": 1', '"format": 9', manifest.read_text()))
    with pytest.raises(DataError, match="format 9"):
        ShardFolder(tmp_path)


def test_writing_a_shard_again_leaves_no_mask_of_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, [[([1, 2], [False, True])]], 300)
    write(tmp_path, [[([1, 2], None)]], 300)
    assert not (tmp_path / "00000.learned").exists()
    token_ids, learned = ShardFolder(tmp_path).document(0)
    assert np.array_equal(token_ids, [1, 2])
    assert learned is None
