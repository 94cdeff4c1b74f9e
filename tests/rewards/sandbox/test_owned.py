"""Layers of a process that was killed go with the next who opens their store; no others do."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from munro.rewards.sandbox import layer_of, owned
from munro.rewards.sandbox.image import (
    Image,
    forget_layer,
    in_use,
    open_store,
    write_layer,
)
from munro.rewards.sandbox.tree import Writer

SAVES = """
import sys, time
from pathlib import Path
from munro.rewards.sandbox.image import write_layer
for number in range(3):
    def write(writer):
        writer.folder(b"%d" % number, 0o755, 0, is_opaque=False)
    print(write_layer(Path(sys.argv[1]), write, salt=f"{sys.argv[2]}-{number}").digest, flush=True)
print("done", flush=True)
time.sleep(60)
"""


@pytest.fixture
def saver():
    """Another process that saves three layers for itself; killed in the end."""
    started = []

    def start(store, salt):
        command = [sys.executable, "-c", SAVES, str(store), salt]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        said = [process.stdout.readline().strip() for _ in range(4)]
        assert said[-1] == "done"
        return process, set(said[:3])

    yield start
    for process in started:
        process.kill()
        process.communicate()


def there(store):
    return {path.name for path in store.glob("[!.]*")}


def test_what_a_killed_process_saved_is_swept_and_what_a_living_one_did_is_not(tmp_path, saver):
    shared = layer_of({"a": "1"}, tmp_path).digest
    first, saved = saver(tmp_path, "one")
    _, others = saver(tmp_path, "two")
    open_store(tmp_path)
    assert there(tmp_path) == {shared} | saved | others
    first.send_signal(signal.SIGKILL)
    first.wait()
    open_store(tmp_path)
    assert there(tmp_path) == {shared} | others
    assert len(list((tmp_path / owned.OWNED).iterdir())) == 1


def test_a_saved_layer_on_which_a_session_stands_waits_for_its_end(tmp_path, saver):
    first, saved = saver(tmp_path, "one")
    layer = layer_of({"a": "1"}, tmp_path)
    held = next(iter(saved))
    image = Image(layers=(type(layer)(path=tmp_path / held, digest=held),))
    with in_use(image):
        first.send_signal(signal.SIGKILL)
        first.wait()
        open_store(tmp_path)
        assert there(tmp_path) == {layer.digest, held}
    open_store(tmp_path)
    assert there(tmp_path) == {layer.digest}
    assert list((tmp_path / owned.OWNED).iterdir()) == []


def empty(writer: Writer) -> None:
    writer.folder(b"x", 0o755, 0, is_opaque=False)


def test_marks_go_with_their_layers(tmp_path):
    layers = [write_layer(tmp_path, empty, salt=str(number)) for number in range(3)]
    marks = list((tmp_path / owned.OWNED).glob("*/*"))
    assert {mark.name for mark in marks} == {layer.digest for layer in layers}
    assert all(forget_layer(layer) for layer in layers)
    assert list((tmp_path / owned.OWNED).glob("*/*")) == []
    # one without a salt is everybody's
    assert write_layer(tmp_path, empty).path.is_dir()
    assert list((tmp_path / owned.OWNED).glob("*/*")) == []


def test_many_that_save_and_sweep_at_once_lose_nothing(tmp_path):
    def save(number):
        open_store(tmp_path)
        return write_layer(tmp_path, empty, salt=str(number)).digest

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(save, range(40)))
    assert there(tmp_path) == made
    assert len(made) == 40
