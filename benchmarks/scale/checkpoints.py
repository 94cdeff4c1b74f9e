"""Checkpoints of several ranks, on gloo and one machine: other meshes, kills, the training's wait.

    python benchmarks/scale/checkpoints.py reshard [--millions 0.1]
    python benchmarks/scale/checkpoints.py kills [--kills 30]
    python benchmarks/scale/checkpoints.py stall [--millions 60]      on a quiet machine

`reshard` has 4 ranks train and save, and 4, 3, 2 and 1 go on from that: the losses of the next two
steps, bitwise on the same mesh; transformers' own loading; and how much memory a rank takes beyond
what it had, in shares (12 bytes a parameter over the ranks). `kills` ends two ranks that save
again and again by SIGKILL at random instants and looks at what stands. `stall` compares the seconds
that training waits for a checkpoint with those of a checkpoint written in front of it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
os.environ["OMP_NUM_THREADS"] = "1"  # ranks share the cores; and what is forked has one thread

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.sharded.saver import Order, Saver
from munro.base_model.sharded.state import restore, tensors_of
from munro.base_model.training.sharding import Alone, Ranks, World

VOCAB = 97
CONTEXT = multiprocessing.get_context("fork")


def llama(millions: float, seed: int) -> Any:
    """About so many million parameters in four layers."""
    torch.manual_seed(seed)
    width = max(32, int((millions * 1e6 / 4 / 12) ** 0.5) // 32 * 32)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=width,
            intermediate_size=8 * width // 3,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.1,
            tie_word_embeddings=True,
        )
    )


def mixture(millions: float, seed: int) -> Any:
    """A model whose experts transformers' files hold one by one, and it in one block."""
    del millions
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 20}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    experts = {"num_experts": 6, "num_experts_per_tok": 2}
    shape = {**sizes, **heads, **experts, "num_hidden_layers": 2, "vocab_size": VOCAB}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(initializer_range=0.1, **shape))


MODELS: dict[str, Callable[[float, int], Any]] = {"llama": llama, "mixture": mixture}


def tokenizer() -> Any:
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    return PreTrainedTokenizerFast(tokenizer_object=words)


class Training:
    """A model on its ranks, which all learn the same, so that their number changes nothing."""

    def __init__(self, world: World, kind: str, millions: float, *, seed: int) -> None:
        self.model = world.shard(MODELS[kind](millions, seed))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def step(self, number: int) -> float:
        """Loss before it."""
        rows = torch.randint(0, VOCAB, (4, 16), generator=torch.Generator().manual_seed(number))
        loss = self.model(input_ids=rows, labels=rows).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def order(self, path: Path, step: int, *, export: Any = "never") -> Order:
        return Order(
            path=path, model=self.model, tokenizer=tokenizer, progress={"step": step}, export=export
        )

    def tensors(self) -> dict[str, Tensor]:
        return tensors_of(self.model, self.optimizer)

    def share(self) -> float:
        """Bytes of weights and moments on this rank."""
        tensors = self.tensors().values()
        own = (t.to_local() if isinstance(t, DTensor) else t for t in tensors)
        return sum(tensor.nbytes for tensor in own)


class Peak:
    """Bytes that this process came to hold beyond what it had, at the most."""

    def __enter__(self) -> Peak:
        ctypes.CDLL(None).malloc_trim(0)  # what is free already is no room for what comes
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.grew = _status("VmHWM") - self._before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def in_world(ranks: int, do: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function of a world returns on each of so many ranks, forked from here."""
    answers = CONTEXT.SimpleQueue()
    children = start_world(ranks, do, *arguments, answers=answers)
    found = dict(answers.get() for _ in children)
    for child in children:
        child.join()
    return [found[rank] for rank in range(ranks)]


def start_world(
    ranks: int, do: Callable[..., Any], *arguments: Any, answers: Any = None
) -> list[Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(rank: int) -> None:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
        said = do(Ranks() if ranks > 1 else Alone("cpu"), *arguments)
        if answers is not None:
            answers.put((rank, said))
        if distributed.is_initialized():
            distributed.destroy_process_group()

    children = [CONTEXT.Process(target=run, args=(rank,)) for rank in range(ranks)]
    for child in children:
        child.start()
    return children


# reshard


def saved(world: World, folder: Path, kind: str, millions: float) -> dict[str, Any]:
    """Two steps, a checkpoint, and two more steps while another one is being written."""
    training = Training(world, kind, millions, seed=0)
    for number in (0, 1):
        training.step(number)
    saver = Saver()
    with Peak() as peak:
        saver.begin(training.order(folder / "alone", 2), training.tensors())
        saver.wait()
    saver.begin(training.order(folder / "saved", 2, export="after"), training.tensors())
    losses = [training.step(number) for number in (2, 3)]
    saver.wait()
    return {"losses": losses, "grew": peak.grew / training.share()}


def went_on(world: World, folder: Path, kind: str, millions: float) -> dict[str, Any]:
    """The same two steps after the checkpoint, from other weights."""
    training = Training(world, kind, millions, seed=1)
    with Peak() as peak:
        restore(folder / "saved", training.model, training.optimizer)
    losses = [training.step(number) for number in (2, 3)]
    return {"losses": losses, "grew": peak.grew / training.share()}


def exported(world: World, folder: Path, kind: str, millions: float) -> dict[str, bool]:
    """Whether transformers loads the very weights, and calls them in its files as it would."""
    training = Training(world, kind, millions, seed=1)
    restore(folder / "saved", training.model, training.optimizer)
    loaded = AutoModelForCausalLM.from_pretrained(folder / "saved", dtype=torch.float32)
    ours = training.model.state_dict()
    training.model.save_pretrained(folder / "own")
    files = [Checkpoint(folder / name).path / "model.safetensors" for name in ("saved", "own")]
    return {
        "is_equal": all(torch.equal(t, ours[name]) for name, t in loaded.state_dict().items()),
        "is_named_alike": _names(files[0]) == _names(files[1]),
    }


def _names(file: Path) -> set[str]:
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return header.keys() - {"__metadata__"}


def reshard(folder: Path, kind: str, millions: float) -> dict[str, Any]:
    """Save on four ranks, go on with four, three, two and one."""
    before = in_world(4, saved, folder, kind, millions)
    found: dict[str, Any] = {"before": before[0]["losses"]}
    found["grew/save"] = max(rank["grew"] for rank in before)
    for ranks in (4, 3, 2, 1):
        after = in_world(ranks, went_on, folder, kind, millions)
        found[f"after/{ranks}"] = after[0]["losses"]
        found[f"grew/load/{ranks}"] = max(rank["grew"] for rank in after)
    return found | in_world(1, exported, folder, kind, millions)[0]


# kills


def save_for_ever(world: World, folder: Path, said: Path) -> None:
    """Checkpoints of step 1, 2, ..., all of whose numbers are their step's, as fast as can be.

    Says which is known to stand.
    """
    training = Training(world, "llama", 0.5, seed=0)
    training.step(0)
    saver = Saver()
    for step in range(1, 10_000):
        tensors = training.tensors()
        with torch.no_grad():
            for tensor in tensors.values():
                tensor.fill_(step)
        saver.begin(training.order(folder / f"step-{step:06d}", step), tensors)
        if step > 1 and world.rank == 0:  # the one before has been waited for
            said.write_text(str(step - 1))
            for old in sorted(folder.glob("step-*"))[:-3]:
                shutil.rmtree(old)


def killed(folder: Path, delay_s: float) -> dict[str, Any]:
    """Kill both ranks so long after the first checkpoint; what stands then."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    said = folder / "said"
    children = start_world(2, save_for_ever, folder, said)
    while not said.is_file():
        time.sleep(0.01)
    time.sleep(delay_s)
    for child in random.sample(children, 2):
        os.kill(child.pid, signal.SIGKILL)
    for child in children:
        child.join()
    promised = int(said.read_text() or 0)
    drafts = len(list(folder.glob(".step-*.draft*")))
    standing = sorted(folder.glob("step-*"))
    whole = [path for path in standing if Checkpoint(path).can_resume]
    newest = max((int(path.name[5:]) for path in whole), default=0)
    return {
        "promised": promised,
        "newest": newest,
        "in_the_middle": drafts > 0,
        "torn": len(standing) - len(whole),
        "is_right": newest >= promised and in_world(1, holds, folder, newest)[0],
    }


def holds(world: World, folder: Path, step: int) -> bool:
    """Whether all that a checkpoint gives back is its step's number."""
    training = Training(world, "llama", 0.5, seed=1)
    restore(folder / f"step-{step:06d}", training.model, training.optimizer)
    return all(bool((tensor == step).all()) for tensor in training.tensors().values())


def kills(folder: Path, number: int, seed: int) -> dict[str, Any]:
    """So many kills at random instants."""
    rng = random.Random(seed)
    found = [killed(folder / "kills", rng.uniform(0, 0.6)) for _ in range(number)]
    return {
        "kills": number,
        "in the middle of a checkpoint": sum(one["in_the_middle"] for one in found),
        "torn": sum(one["torn"] for one in found),
        "old or new, whole": sum(one["is_right"] for one in found),
    }


# stall


def stalls(world: World, folder: Path, millions: float) -> dict[str, float]:
    """Seconds that training waits, behind its back and in front of it, and of rank 0's CPU."""
    training = Training(world, "llama", millions, seed=0)
    training.step(0)
    saver, waits, cpu = Saver(), [], []
    for number in range(4):
        began, used = time.monotonic(), time.thread_time()
        saver.begin(training.order(folder / f"a{number}", number), training.tensors())
        waits.append(time.monotonic() - began)
        cpu.append(time.thread_time() - used)
        saver.wait()
        waits.append(time.monotonic() - began)
    return {
        "bytes": training.share(),
        "waits": sorted(waits[2::2])[1],  # the first makes the plan
        "whole": sorted(waits[3::2])[1],
        "cpu": sorted(cpu[1:])[1],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["reshard", "kills", "stall"])
    parser.add_argument("--model", choices=MODELS, default="llama")
    parser.add_argument("--millions", type=float, default=0.1)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.what == "reshard":
            found: Any = reshard(folder, given.model, given.millions)
        elif given.what == "kills":
            found = kills(folder, given.kills, given.seed)
        else:
            found = in_world(2, stalls, folder, given.millions)[0]
            found["share of a synchronous one"] = found["waits"] / found["whole"]
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
