"""How an engine process is started, and how it ends with the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.vllm.last_words import LastWords
from munro.rollout.vllm.launch import (
    cpu_variables,
    environment,
    is_mixture_of_experts,
    parse_cores,
    start,
)
from tests.rollout.tiny_llama import tiny_llama

PARENT = """
import sys, time
from munro.rollout.config import RolloutConfig
from munro.rollout.vllm.engine import VllmEngine

if __name__ == "__main__":
    config = RolloutConfig(max_batch=4, cpu_kv_cache_gb=0.1)
    engine = VllmEngine(sys.argv[1], config, seed=0, max_context=64)
    sys.stdout.write("up\\n")
    sys.stdout.flush()
    time.sleep(600)
"""


def test_cores_are_read_as_numbers_and_ranges():
    assert parse_cores("0-2,5, 7") == [0, 1, 2, 5, 7]
    with pytest.raises(ValueError, match=r"VLLM_CPU_OMP_THREADS_BIND = 'all'"):
        parse_cores("all")


def test_the_engine_takes_every_core_of_its_process_unless_it_is_told_which(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    assert cpu_variables()["OMP_NUM_THREADS"] == "3"
    assert "GOMP_CPU_AFFINITY" not in cpu_variables()
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "1-2")
    assert cpu_variables()["OMP_NUM_THREADS"] == "2"
    assert cpu_variables()["GOMP_CPU_AFFINITY"] == "1 2"


def test_no_variable_outlives_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = dict(os.environ)
    with environment(on_gpu=False):
        assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
        os.environ["LD_PRELOAD"] = "set by vLLM itself"
        del os.environ["HOME"]
    assert dict(os.environ) == before


def test_a_logging_level_that_a_person_set_is_theirs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    with environment(on_gpu=False):
        assert os.environ["VLLM_LOGGING_LEVEL"] == "INFO"


def test_experts_are_seen_in_the_models_config(tmp_path: Path):
    tiny_llama(tied=True).save_pretrained(tmp_path)
    assert not is_mixture_of_experts(str(tmp_path))
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("{", '{"num_local_experts": 8,', 1))
    assert is_mixture_of_experts(str(tmp_path))


@pytest.fixture
def words():
    words = LastWords()
    yield words
    words.forget()


def test_without_vllm_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: LastWords
):
    tiny_llama(tied=True).save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "vllm.engine.arg_utils", None)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(PolicyError, match=r"pip install 'munro\[(cpu|gpu)\]'"):
        start(str(tmp_path), RolloutConfig(), seed=0, max_context=64, words=words)


def test_a_model_that_is_not_there_is_named(words: LastWords):
    with pytest.raises(PolicyError, match=r"could not start on '\./nowhere'"):
        start("./nowhere", RolloutConfig(), seed=0, max_context=64, words=words)


@pytest.mark.vllm
@pytest.mark.slow
def test_the_engine_process_ends_when_its_parent_is_killed(tmp_path: Path):
    tiny_llama(tied=True).save_pretrained(tmp_path / "model")
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "model")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.path.abspath("src")},
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert any("EngineCore" in child.name() for child in children)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
