"""What a worker has done comes by many at once, and nobody waits for what nobody makes."""

from __future__ import annotations

import asyncio

import pytest

from munro.rollout.cluster.outbox import Outbox

LONG_S = 600.0
"""Nobody waits that long: a test that did would run into its deadline."""


async def made(value, after: asyncio.Event | None = None):
    if after is not None:
        await after.wait()
    if isinstance(value, Exception):
        raise value
    return value


def test_all_that_was_begun_comes_in_one_answer_as_soon_as_the_last_of_it_is_done():
    async def run():
        outbox, event = Outbox(), asyncio.Event()
        for value in range(5):
            outbox.begin(made(value, event if value == 3 else None))
        taking = asyncio.create_task(outbox.take(LONG_S))
        await asyncio.sleep(0.01)
        assert not taking.done()
        event.set()
        return await taking

    assert sorted(asyncio.run(run())) == [0, 1, 2, 3, 4]


def test_what_takes_longer_than_the_pause_comes_with_a_later_answer():
    async def run():
        outbox, event = Outbox(), asyncio.Event()
        outbox.begin(made("slow", event))
        outbox.begin(made("quick"))
        first = await outbox.take(0.01)
        event.set()
        return first, await outbox.take(LONG_S)

    assert asyncio.run(run()) == (["quick"], ["slow"])


def test_what_a_piece_of_work_raised_is_raised():
    async def run():
        outbox = Outbox()
        outbox.begin(made(ValueError("no such task")))
        await outbox.take(LONG_S)

    with pytest.raises(ValueError, match="no such task"):
        asyncio.run(run())


def test_who_asked_before_all_was_given_up_takes_nothing_of_what_comes_after():
    async def run():
        outbox = Outbox()
        outbox.begin(made("old", asyncio.Event()))
        before = asyncio.create_task(outbox.take(0.0))
        await asyncio.sleep(0)
        outbox.forget()
        outbox.begin(made("new"))
        found = await outbox.take(0.0)
        assert not before.done()
        before.cancel()
        return found

    assert asyncio.run(run()) == ["new"]
