"""Weights from two learner ranks to servers on other hosts without a shared folder, and failures.

    python benchmarks/scale/transfer_nodes.py [--repeats 20] [--width 512]

Host 0 has two learner ranks (FSDP2), hosts 1 to 3 a server each (the transformers engine). Prints a
line of JSON for each check:

    plain   weights equal, the proof in nats, each process's peak memory, bytes on the wire
    relay   a chain of the servers: what leaves the learner
    random  a server killed, its cable pulled, or one that joins while weights are under way
    learner a learner rank killed while weights are under way, and a learner started in its place
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from munro.base_model.training.sharding import world
from munro.rewards.errors import PolicyError
from munro.rl.shards import HeldWeights
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request, WeightSource
from munro.rollout.transfer.relay import addressed
from munro.rollout.transfer.sending import GroupWeights
from munro.rollout.transformers_engine import TransformersEngine

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Network, Peer

BUCKET = 8 << 20
LOOK_S = 1.0
"""How often a driver looks whether the learner's ranks live."""
WITHIN_S = 15.0
"""`sync_s` of these checks: what a pulled cable costs at most."""
SLOW_S = 3.0
"""An undisturbed update of two servers takes so long by what the learner's host may send, where
something is to go wrong in the middle of it."""
MIDDLE = (0.2, 0.8)
"""Of that time, when it goes wrong."""
SERVERS = (1, 2, 3)
TEXT = [5, 3, 8, 13, 2, 89, 34, 1, 7, 21, 55, 4]


def save_model(folder: Path, width: int) -> int:
    """A Llama of random weights; its bytes in float32."""
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return 4 * sum(weight.numel() for weight in model.parameters())


def learner(rank: int, folder: Path, address: str, port: int) -> Callable[..., Any]:
    """One of two ranks."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK="0",
        WORLD_SIZE="2",
        LOCAL_WORLD_SIZE="1",
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
        GLOO_SOCKET_IFNAME="eth0",
    )
    model = LlamaForCausalLM.from_pretrained(folder)
    now: dict[str, Any] = {}

    def work(what: str, *said: Any) -> Any:
        if not now:  # it has its network only now
            now["ranks"] = world()
            now["model"] = now["ranks"].shard(model)
            now["transfer"] = GroupWeights(within_s=WITHIN_S, bucket_bytes=BUCKET, address=address)
        if what == "publish":
            with torch.no_grad():
                for weight in now["model"].parameters():
                    weight.mul_(1.01)
            held = HeldWeights(now["model"], now["ranks"])
            base = fresh_peak()
            shards = held.now()
            source = now["transfer"].publish_shards(
                shards, said[0], rank=rank, device=torch.device("cpu")
            )
            now["base"] = base
            return source
        if what == "peak":
            return peak() - now["base"]
        with torch.no_grad():
            logits = now["model"](torch.tensor([TEXT])).logits[0, :-1].log_softmax(-1)
        return logits.gather(-1, torch.tensor(TEXT[1:])[:, None]).flatten().numpy()

    return work


def server(folder: Path) -> Callable[..., Any]:
    """A transformers engine that is told of updates."""
    torch.set_num_threads(1)
    loop = asyncio.new_event_loop()
    engine = TransformersEngine(str(folder), RolloutConfig(), seed=0, max_context=256)

    def work(what: str, *said: Any) -> Any:
        if what == "update":
            base, began = fresh_peak(), time.monotonic()
            try:
                loop.run_until_complete(engine.update_weights(said[0], drain=True))
                why = ""
            except PolicyError as error:
                why = str(error)
            seconds = time.monotonic() - began
            return {"why": why, "seconds": seconds, "peak": peak() - base, "at": time.monotonic()}
        if what == "ask":
            try:
                request = Request(key=(0,), prompt_ids=TEXT, max_tokens=2, seed=0)
                (done,) = loop.run_until_complete(engine.generate([request]))
                return int(done.versions[0])
            except PolicyError:
                return None
        return loop.run_until_complete(engine.score(TEXT))[1:]

    return work


def fresh_peak() -> int:
    """Bytes resident now, from where the next `peak` counts."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most bytes that were resident."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in s)
    return int(line.split()[1]) * 1024


class Fleet:
    """Two learner ranks and three servers, each on its host."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.version, self._port = 0, 29_400
        self.ranks: list[Peer] = []
        self.servers: dict[int, Peer] = {}
        self.start_learner()
        for place in SERVERS:
            self.start_server(place)

    def start_learner(self) -> None:
        """Two new ranks."""
        self._port += 1
        address, port = self.network.address(0), self._port
        self.ranks = [
            Peer.start(
                self.network.names[0], lambda rank=rank: learner(rank, self.folder, address, port)
            )
            for rank in (0, 1)
        ]

    def start_server(self, place: int) -> None:
        """A new one at that place."""
        self.servers[place] = Peer.start(self.network.names[place], lambda: server(self.folder))

    def publish(self) -> WeightSource:
        """The next version."""
        self.version += 1
        source: WeightSource = self.both("publish", self.version)[0]
        return source

    def both(self, *message: Any) -> list[Any]:
        """What both ranks answer."""
        for rank in self.ranks:
            rank.tell(*message)
        return [rank.hear(120) for rank in self.ranks]

    def update(self, source: WeightSource, places: tuple[int, ...], relay: str = "none") -> None:
        """Tell servers of it; they answer when they are done."""
        names = {place: f"server-{place}" for place in places}
        told = addressed(source, list(names.values()), slices=1, relay=relay)  # type: ignore[arg-type]
        for place in places:
            self.servers[place].tell("update", told[names[place]])

    def taken(self, places: tuple[int, ...], within_s: float = 60) -> dict[int, Any]:
        """How it went."""
        return {place: self.servers[place].hear(within_s) for place in places}

    def ask(self, place: int) -> int | None:
        """The version by which it answers a request, None where it refuses."""
        self.servers[place].tell("ask")
        version: int | None = self.servers[place].hear(60)
        return version


def plain(fleet: Fleet, size: int, relay: str) -> dict[str, Any]:
    """An undisturbed update; two servers, or all of them in a relay."""
    places = SERVERS if relay != "none" else SERVERS[:2]
    source = fleet.publish()
    before = fleet.network.sent_bytes(0)
    fleet.update(source, places, relay)
    told = fleet.taken(places)
    wire = fleet.network.sent_bytes(0) - before
    assert not any(one["why"] for one in told.values()), told
    learner_peaks = fleet.both("peak")
    ours = fleet.both("score")[0]
    gaps = []
    for place in places:
        fleet.servers[place].tell("score")
        gaps.append(float(np.abs(ours - fleet.servers[place].hear(60)).mean()))
    from_learner = size * (1 if relay == "chain" else len(places))
    own_shard = size / 2
    server_peaks = [one["peak"] for one in told.values()]
    return {
        "check": "relay" if relay != "none" else "plain",
        "proof_nats": max(gaps),
        "wire_by_plan": wire / from_learner,
        "learner_peak_by_allowed": max(learner_peaks) / (1.1 * own_shard + 2 * BUCKET),
        "server_peak_by_allowed": max(server_peaks) / (1.1 * size + 2 * BUCKET),
        "server_growth_in_buckets": max(server_peaks) / BUCKET,
        "seconds": max(one["seconds"] for one in told.values()),
    }


def disturbed(fleet: Fleet, kind: str, usual_s: float, rng: random.Random) -> dict[str, Any]:
    """An update of servers 1 and 2 with something going wrong in the middle of it."""
    victim, other = rng.sample(SERVERS[:2], 2)
    source = fleet.publish()
    fleet.update(source, SERVERS[:2])
    time.sleep(usual_s * rng.uniform(*MIDDLE))
    at, torn_answers, note = time.monotonic(), 0, {}
    if kind == "kill":
        fleet.servers[victim].kill()
    elif kind == "cable":
        fleet.network.cable(victim, "down")
    else:
        fleet.update(source, SERVERS[2:])
    told = fleet.servers[other].hear(WITHIN_S + 30)
    assert not told["why"], told
    note["in_the_middle"] = told["at"] > at
    note["other_later_s"] = told["seconds"] - usual_s
    if kind == "kill":
        fleet.start_server(victim)
    elif kind == "cable":
        lost = fleet.servers[victim].hear(WITHIN_S + 30)
        note["victim_knew_after"] = lost["at"] - at
        if lost["why"]:
            answered = fleet.ask(victim)
            torn_answers += answered is not None
            note["victim"] = "torn" if answered is None else f"answers with {answered}"
        fleet.network.cable(victim, "up")
        time.sleep(1.2)  # the bridge learns
    else:
        fleet.taken((victim,))
        joined = fleet.servers[3].hear(60)
        assert not joined["why"], joined
        note["joined_after"] = joined["seconds"]
    # whoever was lost, or never there, takes the same version now
    again = (victim,) if kind != "join" else ()
    fleet.update(source, again)
    assert not any(one["why"] for one in fleet.taken(again).values())
    answers = [fleet.ask(place) for place in (victim, other)]
    assert answers == [source.version] * 2, answers
    return {"check": "random", "kind": kind, "torn_answers": torn_answers, **note}


def without_a_learner(fleet: Fleet, usual_s: float, rng: random.Random) -> dict[str, Any]:
    """A rank dies while weights are under way; servers are torn, or whole, and never in between."""
    source = fleet.publish()
    fleet.update(source, SERVERS[:2])
    time.sleep(usual_s * rng.uniform(*MIDDLE))
    at = time.monotonic()
    fleet.ranks[1].kill()
    time.sleep(LOOK_S)
    fleet.ranks[0].kill()  # as a driver does, which looks so often and begins the learner anew
    told = fleet.taken(SERVERS[:2], WITHIN_S + 30)
    answers = {place: fleet.ask(place) for place in SERVERS[:2]}
    for place, one in told.items():
        assert one["why"] or answers[place] == source.version, (one, answers)
        assert not one["why"] or answers[place] is None, (one, answers)
    fleet.start_learner()
    source = fleet.publish()
    fleet.update(source, SERVERS[:2])
    assert not any(one["why"] for one in fleet.taken(SERVERS[:2]).values())
    knew = max(one["at"] for one in told.values()) - at
    torn = sum(answer is None for answer in answers.values())
    return {"check": "learner", "servers_knew_after": knew, "torn": torn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    torch.set_num_threads(1)  # threads would not survive the forks
    network = Network(4)
    try:
        with tempfile.TemporaryDirectory() as folder:
            size = save_model(Path(folder), given.width)
            fleet = Fleet(network, Path(folder))
            fleet.publish()
            for relay in ("none", "none", "chain"):
                row = plain(fleet, size, relay)
                print(json.dumps({"model_mb": size / 1e6, **row}), flush=True)
            network.slow(0, 2 * size / SLOW_S)
            usual = plain(fleet, size, "none")["seconds"]
            print(json.dumps({"check": "slowed", "seconds": usual}), flush=True)
            for i in range(given.repeats):
                kind = rng.choice(["kill", "cable", "join"])
                print(json.dumps(disturbed(fleet, kind, usual, rng) | {"number": i}), flush=True)
            for _ in range(max(given.repeats // 7, 1)):
                print(json.dumps(without_a_learner(fleet, usual, rng)), flush=True)
    finally:
        network.close()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"cpu_seconds": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()
