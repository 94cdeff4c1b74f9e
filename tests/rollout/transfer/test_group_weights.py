"""Weights from ranks that hold parts to servers that want others, over process groups that end."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

import pytest
import torch

from munro.rollout.engine import WeightSource
from munro.rollout.transfer.asking import NotReceived
from munro.rollout.transfer.group import Until, found, hosted, opened, require_there
from munro.rollout.transfer.receiving import Receiver
from munro.rollout.transfer.relay import addressed
from munro.rollout.transfer.sending import GroupWeights, Shards
from munro.rollout.transfer.types import Box, Held, Layout, Wanted

CPU = torch.device("cpu")
WITHIN_S = 240.0
"""A quarter of it is waited for another server. torch asks the resolver for the name of each
address that it connects to, on both sides, and a question that is lost is put again after 5 s."""
SHAPES = {"model.embed": (37, 8)} | {f"model.layers.{i}.w": (16, 24) for i in range(8)}


class Ranks:
    """Learner ranks as objects of one process: each holds rows of every tensor."""

    def __init__(self, number: int, *, bucket_bytes: int = 512) -> None:
        self.full = {n: torch.randn(s) for n, s in SHAPES.items()}
        self.number = number
        self.transfers = [
            GroupWeights(address="127.0.0.1", within_s=WITHIN_S, bucket_bytes=bucket_bytes)
            for _ in range(number)
        ]
        parts = []
        for name, shape in SHAPES.items():
            each = -(-shape[0] // number)
            for rank in range(number):
                low, high = min(rank * each, shape[0]), min((rank + 1) * each, shape[0])
                box = Box((low, 0), (high, shape[1]))
                parts.append(Held(rank=rank, name=name, box=box, dtype="float32"))
        self.held = Layout.of(parts)
        self.own = {(part.rank, part.name): part.box for part in parts}

    def publish(self, version: int):
        full = {n: t.clone() for n, t in self.full.items()}
        source = None
        for rank, transfer in enumerate(self.transfers):

            def part(name: str, box: Box, rank: int = rank) -> torch.Tensor:
                own = self.own[rank, name]
                return full[name][own.slices][box.within(own).slices]

            if rank:
                transfer._where = self.transfers[0]._where
            told = transfer.publish_shards(
                Shards(held=self.held, part=part), version, rank=rank, device=CPU
            )
            source = source or told
        return source


def whole(dtype: str = "float32") -> list[Wanted]:
    return [
        Wanted(rank=0, name=name, box=Box.whole(shape), dtype=dtype)
        for name, shape in SHAPES.items()
    ]


def taken(receiver: Receiver, source, **more) -> dict[str, torch.Tensor]:
    got = {name: torch.full(shape, float("nan")) for name, shape in SHAPES.items()}
    for name, box, tensor in receiver.receive(source.meeting, {**source.update, **more}):
        got[name][box.slices] = tensor.float()
    return got


@pytest.mark.parametrize("number", [1, 3])
def test_whole_tensors_come_from_all_ranks_and_again_after_a_step(number: int) -> None:
    ranks = Ranks(number)
    receiver = Receiver(whole(), device=CPU)
    for version in (1, 2):
        for tensor in ranks.full.values():
            tensor += version
        source = ranks.publish(version)
        got = taken(receiver, source)
        assert all(torch.equal(got[name], ranks.full[name]) for name in SHAPES)
    sent = sum(transfer.sent for transfer in ranks.transfers)
    assert sent == receiver.received == 2 * sum(t.numel() * 4 for t in ranks.full.values())


def test_ranks_of_a_server_share_what_they_all_want() -> None:
    """Two of three tensors are cut among the server's ranks, one is wanted by both."""
    ranks = Ranks(2)
    source = ranks.publish(1)
    wanted: list[list[Wanted]] = [[], []]
    for name, (rows, columns) in SHAPES.items():
        for rank in (0, 1):
            cut = "layers" in name
            low, high = (columns * rank // 2, columns * (rank + 1) // 2) if cut else (0, columns)
            box = Box((0, low), (rows, high))
            wanted[rank].append(Wanted(rank=rank, name=name, box=box, dtype="bfloat16"))
    got: list[dict[str, torch.Tensor]] = [{}, {}]
    receivers = [Receiver(wanted[rank], device=CPU, rank=rank, ranks=2) for rank in (0, 1)]

    def take(rank: int) -> None:
        got[rank] = taken(receivers[rank], source, session="s1")

    together(take, range(2))
    for rank in (0, 1):
        for part in wanted[rank]:
            expected = ranks.full[part.name].bfloat16().float()[part.box.slices]
            assert torch.equal(got[rank][part.name][part.box.slices], expected)
    sent = sum(transfer.sent for transfer in ranks.transfers)
    assert sent == 2 * sum(t.numel() for t in ranks.full.values())  # each element once, 2 bytes


def test_a_chain_of_four_takes_a_quarter_from_the_learner() -> None:
    ranks = Ranks(2)
    source = ranks.publish(1)
    names = [f"server-{i}" for i in range(4)]
    got: dict[str, dict[str, torch.Tensor]] = {}

    def take(i: int) -> None:
        told = {
            "server": names[i],
            "feeder": names[i - 1] if i else "",
            "followers": names[i + 1 : i + 2],
        }
        got[names[i]] = taken(Receiver(whole(), device=CPU), source, **told)

    together(take, range(4))
    for name in names:
        assert all(torch.equal(got[name][n], ranks.full[n]) for n in SHAPES)
    sent = sum(transfer.sent for transfer in ranks.transfers)
    assert sent == sum(t.numel() * 4 for t in ranks.full.values())


def test_who_loses_its_feeder_half_way_goes_on_with_the_learner() -> None:
    ranks = Ranks(2)
    source = ranks.publish(1)
    got: dict[str, dict[str, torch.Tensor]] = {}

    def take(i: int) -> None:
        if i:
            told = {"server": "b", "feeder": "a"}
            got["b"] = taken(Receiver(whole(), device=CPU), source, **told)
            return
        receiver = Receiver(whole(), device=CPU)
        update = {**source.update, "server": "a", "followers": ("b",)}
        coming = receiver.receive(source.meeting, update)
        for _ in range(4):
            next(coming)
        coming.close()

    together(take, range(2))
    assert all(torch.equal(got["b"][n], ranks.full[n]) for n in SHAPES)
    sent = sum(transfer.sent for transfer in ranks.transfers)
    assert sent < 2 * sum(t.numel() * 4 for t in ranks.full.values())  # what b had, it kept


def test_what_cannot_be_sent_is_refused_with_a_sentence() -> None:
    ranks = Ranks(2)
    old = ranks.publish(1)
    ranks.publish(2)
    with pytest.raises(NotReceived, match="asked for version 1, and the learner has 2"):
        taken(Receiver(whole(), device=CPU), old)
    larger = [Wanted(rank=0, name="model.embed", box=Box((0, 0), (40, 8)), dtype="float32")]
    with pytest.raises(NotReceived, match=r"model.embed: .* not of one model"):
        list(Receiver(larger, device=CPU).receive(old.meeting, old.update))
    other = [Wanted(rank=0, name="model.head", box=Box((0,), (40,)), dtype="float32")]
    with pytest.raises(NotReceived, match=r"model.head: the server wants it"):
        list(Receiver(other, device=CPU).receive(old.meeting, old.update))


def test_who_left_sends_no_more() -> None:
    ranks = Ranks(2)
    source = ranks.publish(1)
    coming = Receiver(whole(), device=CPU).receive(source.meeting, source.update)
    next(coming)
    for transfer in ranks.transfers:
        transfer.leave()
    with pytest.raises(NotReceived):
        list(coming)
    with pytest.raises(NotReceived):
        taken(Receiver(whole(), device=CPU), source, within_s=1.0)


def test_what_was_withdrawn_is_refused_until_the_next_comes() -> None:
    ranks, receiver = Ranks(2), Receiver(whole(), device=CPU)
    source = ranks.publish(1)
    taken(receiver, source)
    # nobody is being sent anything once the last to be has said that it has all of it
    for transfer in ranks.transfers:
        while transfer._open:
            time.sleep(0.01)
    assert all(transfer.withdraw() for transfer in ranks.transfers)
    with pytest.raises(NotReceived, match="it has withdrawn its weights and published no others"):
        taken(receiver, source)
    assert all(map(torch.equal, taken(receiver, ranks.publish(2)).values(), ranks.full.values()))


def test_whoever_is_being_sent_them_still_reads_what_is_withdrawn() -> None:
    ranks, receiver = Ranks(1), Receiver(whole(), device=CPU)
    source = ranks.publish(1)
    coming = receiver.receive(source.meeting, source.update)
    next(coming)
    assert not ranks.transfers[0].withdraw()
    with pytest.raises(NotReceived):
        list(coming)


def test_another_plan_is_refused() -> None:
    ranks = Ranks(2)
    source = ranks.publish(1)
    with pytest.raises(NotReceived, match="do not run the same version of Munro"):
        taken(Receiver(whole(), device=CPU), source, bucket_bytes=1 << 20)


def test_a_learner_that_is_gone_is_told_from_one_that_is_slow() -> None:
    store, gone = hosted("127.0.0.1")
    del store  # it ends with the object
    with pytest.raises(RuntimeError, match=r"nobody listens at .* any more: .*refused"):
        require_there(gone, Until.within(3600))
    update = {"version": 1, "within_s": WITHIN_S, "bucket_bytes": 512}
    source = WeightSource(path="", version=1, meeting=asdict(gone), update=update)
    with pytest.raises(NotReceived, match="nobody listens"):
        taken(Receiver(whole(), device=CPU), source)


def test_who_waits_for_a_rank_that_never_comes_hears_that_the_learner_left() -> None:
    ranks = Ranks(2)
    del ranks.transfers[1]  # it died before it was asked
    source = ranks.publish(1)
    left = threading.Timer(0.5, ranks.transfers[0].leave)
    left.start()
    with pytest.raises(NotReceived, match="the learner has left"):
        taken(Receiver(whole(), device=CPU), source, within_s=3600.0)
    left.join()


def test_a_wait_in_the_middle_ends_when_the_learner_is_gone_and_its_connection_stands() -> None:
    store, address = hosted("127.0.0.1")
    until, gone, over = Until.within(3600), threading.Event(), threading.Event()

    def send_nothing() -> None:
        with opened(found(address, until), "group", 1, 2, until, CPU):
            over.wait()

    def watch() -> None:
        if gone.is_set():
            raise RuntimeError("it is gone")

    other = threading.Thread(target=send_nothing)
    other.start()
    try:
        with opened(store, "group", 0, 2, until, CPU) as group:
            group.watch = watch
            coming = group.receive(torch.empty(8, dtype=torch.uint8), 1, 0)
            threading.Timer(0.2, gone.set).start()
            with pytest.raises(RuntimeError, match="it is gone"):
                group.done(coming)
    finally:
        over.set()
        other.join()


def test_a_new_version_cuts_off_who_is_slow() -> None:
    ranks = Ranks(2)
    source = ranks.publish(1)
    coming = Receiver(whole(), device=CPU).receive(source.meeting, source.update)
    next(coming)
    ranks.publish(2)
    with pytest.raises(NotReceived):
        list(coming)


def test_it_crosses_to_a_learners_process_and_tells_each_server_of_its_place() -> None:
    there = pickle.loads(pickle.dumps(GroupWeights(within_s=WITHIN_S, bucket_bytes=512)))
    ranks = Ranks(1)
    ranks.transfers = [there.at("127.0.0.1")]
    told = addressed(ranks.publish(7), ["a", "b", "c"], slices=1, relay="chain")
    told = pickle.loads(pickle.dumps(told))
    assert told["b"].update["feeder"] == "a"
    assert told["b"].update["followers"] == ("c",)
    assert told["b"].version == told["b"].update["version"] == 7
    got: dict[str, dict[str, torch.Tensor]] = {}
    names = ["a", "b", "c"]

    def take(i: int) -> None:
        got[names[i]] = taken(Receiver(whole(), device=CPU), told[names[i]])

    together(take, range(3))
    assert all(torch.equal(got[name][n], ranks.full[n]) for name in names for n in SHAPES)


def together(work, items: Sequence[int]) -> None:
    """Run it for all items at once; raise what one of them raised."""
    failures: list[BaseException] = []

    def run(item: int) -> None:
        try:
            work(item)
        except BaseException as error:  # noqa: BLE001 - it is raised in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
