"""Output that is too long: what is kept of it, and that the program goes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from munro.rewards.sandbox.output import MARK, Said

chunks = st.lists(st.binary(max_size=40), max_size=30)


@given(chunks, st.integers(0, 60))
def test_head_tail_and_mark_add_up(parts: list[bytes], most: int) -> None:
    said = Said(most_bytes=most, is_clipped=True)
    for part in parts:
        said.take(part)
    whole = b"".join(parts)
    if len(whole) <= most:
        assert (said.text(), said.left_out) == (whole, 0)
        return
    left_out = len(whole) - most
    head, tail = whole[: (most + 1) // 2], whole[len(whole) - most // 2 :]
    assert said.text() == head + MARK % left_out + tail
    assert (said.left_out, said.is_over) == (left_out, True)


@given(chunks, st.integers(0, 60))
def test_without_clipping_the_beginning_is_kept(parts: list[bytes], most: int) -> None:
    said = Said(most_bytes=most)
    for part in parts:
        said.take(part)
    whole = b"".join(parts)
    assert said.text() == whole[:most]
    assert said.is_over == (len(whole) > most)


def test_no_more_is_held_than_is_kept() -> None:
    said = Said(most_bytes=1000, is_clipped=True)
    for _ in range(1000):
        said.take(b"x" * 65536)
    assert len(said._head) + len(said._tail) < 1000 + (1 << 18)
    assert said.left_out == 65536 * 1000 - 1000
