"""A mixture is a pure function of the index that keeps its weights and its caps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from munro.base_model.data.config import MemorisationConfig, MixtureConfig
from munro.base_model.data.errors import DataError, SourceExhausted
from munro.base_model.data.shards.files import fingerprint, write_manifest, write_shard
from munro.base_model.data.shards.mixture import BLOCK, Mixture, Share
from munro.base_model.data.shards.opening import open_mixture
from munro.base_model.data.shards.packing import Lesson
from munro.base_model.data.shards.shuffle import shuffled
from munro.base_model.data.shards.weights import capped_weights, epoch_cap, memorisation
from tests.base_model.builders import small_tokenizer


class Numbers:
    """Documents of `length` tokens, each the document's number."""

    def __init__(self, name: str, num_documents: int, length: int) -> None:
        self.name, self.num_documents, self._length = name, num_documents, length
        self.num_tokens = num_documents * length

    def document(self, number: int) -> tuple[NDArray[np.int64], None]:
        return np.full(self._length, number, np.int64), None


def mixture(seed: int = 0, *, cap: float = 8.0) -> Mixture:
    return Mixture(
        [
            Share(source=Numbers("short", 300, 2), weight=3, max_epochs=cap),
            Share(source=Numbers("long", 200, 10), weight=1, max_epochs=1000),
        ],
        seed=seed,
    )


def first_tokens(some: Mixture, indices: range) -> list[int]:
    documents = [some.tokens(index, 0.0) for index in indices]
    return [d.token_ids[0] if isinstance(d, Lesson) else int(d[0]) for d in documents]


@given(st.integers(1, 120), st.integers(0, 1 << 63))
def test_a_shuffle_is_a_permutation(length: int, key: int) -> None:
    assert sorted(shuffled(place, length, key) for place in range(length)) == list(range(length))


def test_weights_are_shares_of_tokens_within_a_document_or_two_all_the_way() -> None:
    some = mixture(cap=1000)
    tokens: Counter[str] = Counter()
    for index in range(3000):
        tokens[some.source(index)] += len(some.tokens(index, 0.0))
        assert abs(tokens["short"] - 0.75 * tokens.total()) <= 2 * 10


def test_any_index_gives_the_same_whenever_and_by_whomever_it_is_asked() -> None:
    far = range(BLOCK - 20, BLOCK + 20)
    some = mixture(cap=1000)
    forwards = first_tokens(some, far)
    first_tokens(some, range(5))
    backwards = [first_tokens(some, range(index, index + 1))[0] for index in reversed(far)]
    assert forwards == backwards[::-1] == first_tokens(mixture(cap=1000), far)
    assert forwards != first_tokens(mixture(seed=1, cap=1000), far)


def test_every_epoch_reads_every_document_once_in_another_order() -> None:
    some = Mixture([Share(source=Numbers("only", 50, 3), weight=1)])
    epochs = [first_tokens(some, range(start, start + 50)) for start in (0, 50, 100)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_turns_go_on_over_the_end_of_a_block() -> None:
    some = Mixture(
        [Share(source=Numbers(n, 40_000, 1), weight=1, max_epochs=9) for n in ("a", "b")]
    )
    asked = [*range(300), *range(BLOCK - 300, BLOCK + 300)]
    tokens = [first_tokens(some, range(index, index + 1))[0] for index in asked]
    read = Counter((some.source(index), token) for index, token in zip(asked, tokens, strict=True))
    assert set(read.values()) == {1}


def test_a_source_read_up_to_its_cap_stops_the_run_and_is_named() -> None:
    some = mixture(cap=2)
    allowed = int(some.most_tokens)
    some.check(allowed)
    with pytest.raises(SourceExhausted, match=r"source short would be read 2\.2 times .* cap is 2"):
        some.check(1.1 * allowed)
    with pytest.raises(
        SourceExhausted, match=r"source short has been read 2 times, its cap: lower"
    ):
        first_tokens(some, range(1000))


def test_a_run_that_was_checked_does_not_stop() -> None:
    some = mixture(cap=2)
    read, index = Counter[str](), 0
    while read.total() < some.most_tokens:
        read[some.source(index)] += len(some.tokens(index, 0.0))
        index += 1
    assert read["short"] == pytest.approx(2 * 300 * 2, rel=0.05)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([], "names no source"),
        ([Share(source=Numbers("a", 1, 1), weight=0)], "source a has weight 0"),
        ([Share(source=Numbers("a", 0, 1), weight=1)], "source a has no documents"),
        ([Share(source=Numbers("a", 1, 1), weight=1, max_epochs=0)], "max_epochs 0"),
        ([Share(source=Numbers("a", 1, 1), weight=1)] * 2, "source a twice"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(shares: list[Share], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Mixture(shares)


def test_shards_and_texts_mix_and_masks_become_lessons(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    shard = write_shard(tmp_path / "built", "00000", [([5, 6], [False, True])], vocab_size=300)
    write_manifest(
        tmp_path / "built", [shard], source="x", vocab_size=300, tokenizer=fingerprint(tokenizer)
    )
    (tmp_path / "notes.txt").write_text("The sum of two numbers <eos> is a number.")
    config = MixtureConfig.model_validate(
        {"sources": [{"path": str(tmp_path / "built")}, {"path": str(tmp_path / "notes.txt")}]}
    )
    some = open_mixture(config, tokenizer)
    assert some.names == ("built", "notes.txt")
    seen = {some.source(index): some.tokens(index, 0.0) for index in range(8)}
    assert isinstance(seen["built"], Lesson)
    assert list(seen["built"].learned) == [False, True]
    ids = list(seen["notes.txt"])
    assert ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(ids[:-1]) == "The sum of two numbers <eos> is a number."


def test_shards_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, "00000", [([5], None)], vocab_size=300)
    write_manifest(tmp_path, [shard], source="x", vocab_size=300, tokenizer="another")
    config = MixtureConfig.model_validate({"sources": [{"path": str(tmp_path)}]})
    with pytest.raises(DataError, match="made with another tokenizer"):
        open_mixture(config, small_tokenizer())


def test_weights_for_a_source_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("something")
    config = MixtureConfig.model_validate({"sources": [{"path": str(tmp_path / "a.txt")}]})
    with pytest.raises(DataError, match=r"no source 'b'; it has a\.txt"):
        open_mixture(config, small_tokenizer(), weights={"b": 1.0})


def test_a_mixture_of_no_source_is_refused() -> None:
    with pytest.raises(DataError, match="names no source"):
        open_mixture(MixtureConfig(), small_tokenizer())


def test_capped_weights_give_to_others_what_a_source_may_not() -> None:
    tokens = {"small": 10.0, "big": 1000.0, "other": 1000.0}
    weights = {"small": 0.5, "big": 0.3, "other": 0.2}
    found = capped_weights(weights, tokens, 400, max_epochs=8)
    assert found == pytest.approx({"small": 0.2, "big": 0.48, "other": 0.32})
    assert capped_weights(weights, tokens, 100, max_epochs=8) == pytest.approx(weights)
    with pytest.raises(SourceExhausted, match="give 16,080 tokens of the 20,000"):
        capped_weights(weights, tokens, 20_000, max_epochs=8)


def test_memorisation_is_the_share_of_improvement_on_tokens_known_by_heart() -> None:
    before, after = [2.0, 1.0, 3.0, 0.005], [0.005, 0.5, 2.0, 0.004]
    improved = [1.995, 0.5, 1.0, 0.001]
    assert memorisation(before, after, 0.01) == pytest.approx((1.995 + 0.001) / sum(improved))
    assert memorisation(before, before, 0.01) == 0
    assert memorisation([1.0, 1.0], [0.0, 1.5], 0.01) == 1


def test_the_epoch_cap_falls_from_most_to_least() -> None:
    config = MemorisationConfig()
    assert [epoch_cap(m, config) for m in (0.0, 0.5, 1.0)] == [8, 4.5, 1]
