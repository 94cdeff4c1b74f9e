"""Tokens as text, and their ratios where a replay has computed them."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from munro.machine.run import token_figures
from munro.machine.run.token_figures import TokenFigures
from munro.machine.watch import shown
from munro.machine.watch.shelf import Shelf
from munro.machine.watch.tokens import pieces, tokenizer_of
from munro.rl.clip import Clip
from munro.rollout.store.store import RolloutStore
from tests.builders import make_attempt, make_group, make_trajectory

CLIP = Clip(eps=0.2, outer=3.0)


def test_pieces_put_together_are_the_text_whatever_bytes_a_token_holds():
    texts = {1: b"caf", 2: b"\xc3", 3: b"\xa9", 4: b" na\xc3", 5: b"\xafve", 6: b"\xff", 7: b"\n"}

    def decode(ids):
        return b"".join(texts[each] for each in ids).decode(errors="replace")

    ids = [1, 2, 3, 4, 5, 7, 1]
    found = pieces(ids, decode)
    assert found == ["caf", "", "é", "", " naïve", "\n", "caf"]
    assert "".join(found) == decode(ids)
    # a byte that never becomes a character does not swallow what follows
    broken = pieces([1, 6, *[7] * 9], decode)
    assert len(broken) == 11
    assert "".join(broken) == decode([1, 6, *[7] * 9])


def test_a_decoder_that_writes_a_first_token_otherwise_keeps_its_blanks():
    words = {1: "a", 2: "b", 3: "c"}

    def decode(ids):
        return " ".join(words[each] for each in ids)

    assert pieces([1, 2, 3], decode) == ["a", " b", " c"]


def test_the_newest_checkpoint_s_tokenizer_counts_then_the_model_s_then_none(tmp_path):
    assert tokenizer_of(tmp_path, "") is None
    assert tokenizer_of(tmp_path, str(tmp_path / "of another machine")) is None
    saved = tmp_path / "checkpoints" / "step-000003"
    saved.mkdir(parents=True)
    (saved / "tokenizer.json").write_text("no tokenizer")
    assert tokenizer_of(tmp_path, "") is None
    model = tmp_path / "model"
    model.mkdir()
    words = Tokenizer(WordLevel({"of": 0, "model": 1, "save": 2}, unk_token="of"))
    words.save(str(model / "tokenizer.json"))
    # one that cannot be read stands aside
    decode = tokenizer_of(tmp_path, str(model))
    assert decode is not None
    assert decode([2, 1]) == "save model"
    newer = Tokenizer(WordLevel({"of": 0, "newer": 1}, unk_token="of"))
    newer.save(str(saved / "tokenizer.json"))
    decode = tokenizer_of(tmp_path, str(model))
    assert decode is not None
    assert decode([1]) == "newer"


@pytest.mark.parametrize(
    ("ratio", "advantage", "bound"),
    [
        (1.0, 1.0, ""),
        (9.9, 1.0, "high"),
        (0.1, 1.0, ""),
        (0.1, -1.0, "low"),
        (2.0, -1.0, ""),
        (9.9, -1.0, "outer"),
        (9.9, 0.0, ""),
    ],
)
def test_a_token_is_clipped_where_the_objective_takes_its_gradient(ratio, advantage, bound):
    figures = TokenFigures(
        logp=np.zeros(1, np.float32), low=CLIP.low, high=CLIP.high, outer=CLIP.outer
    )
    assert figures.clipped(ratio, advantage) == bound


def test_ratio_and_clip_stand_beside_what_is_stored_once_they_were_computed(tmp_path):
    attempts = tuple(make_attempt(r, trajectory=make_trajectory(logp=-1.0)) for r in (1.0, 0.0))
    store = RolloutStore(tmp_path / "rollouts")
    store.write(2, [make_group(index=7, attempts=attempts)], [[1.0, -1.0]])
    shelf = Shelf(tmp_path / "rollouts")
    before = shown.tokens(tmp_path, shelf, 2, 7, 1, 0, None)
    assert (before["ratio"], before["clip"]) == (None, None)
    assert f"munro replay {tmp_path} --step 2 --tokens" in before["lacks"][0]
    logp = np.array([-1.0, -1.0 + np.log(5.0), -1.0 + np.log(0.1)], np.float32)
    token_figures.write(tmp_path, 2, [(7, 0, logp), (7, 1, logp)], CLIP)
    told = shown.tokens(tmp_path, shelf, 2, 7, 1, 3, None)
    assert told["first"] == 3
    assert told["ratio"] == [None, 1.0, 5.0, pytest.approx(0.1)]
    assert told["clip"] == [None, "", "outer", "low"]
    assert len(told["lacks"]) == 1
    good = shown.tokens(tmp_path, shelf, 2, 7, 0, 0, None)
    assert good["clip"][4:] == ["", "high", ""]
    # figures of other tokens, or half a file, are none
    token_figures.write(tmp_path, 2, [(7, 1, logp[:2])], CLIP)
    assert shown.tokens(tmp_path, shelf, 2, 7, 1, 0, None)["ratio"] is None
    (tmp_path / "tokens" / "step-000002.parquet").write_bytes(b"PAR1")
    assert shown.tokens(tmp_path, shelf, 2, 7, 1, 0, None)["ratio"] is None
