"""An engine that dies says why, at its first pass and in one line."""

from __future__ import annotations

import asyncio
import gc
import logging
import time

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.inference import InferenceServer, build_engine
from munro.rollout.vllm import last_words
from munro.rollout.vllm.last_words import LastWords, listen


@pytest.fixture
def words(monkeypatch):
    words = LastWords()
    monkeypatch.setenv(last_words.VARIABLE, str(words.path))
    yield words
    words.forget()
    assert not words.path.exists()


@pytest.fixture
def logger():
    logger = logging.getLogger("vllm")
    before = [*logger.handlers]
    yield logger
    logger.handlers[:] = before


def fails(logger, error, text="it failed"):
    try:
        raise error
    except Exception:
        logger.exception(text)


def test_the_cause_of_the_last_failure_comes_first(words, logger, monkeypatch):
    listen()
    listen()
    assert words.after("dead") == "dead"
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: 1000.0)
        fails(logger, ValueError("an old one"))
    fails(logger, RuntimeError("no kernel\nand more\n"))
    fails(logger, KeyError("what followed from it"))
    logger.error("no exception, no words")
    assert words.after("dead") == "dead: RuntimeError: no kernel"
    assert len(words.path.read_text().splitlines()) == 3


@pytest.mark.vllm
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(torch.cuda.is_available(), reason="GPUs have a kernel for this model")
def test_a_model_that_the_engine_has_no_kernel_for_is_refused_by_name(tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            bos_token_id=0,
            eos_token_id=1,
        )
    ).save_pretrained(tmp_path / "model")
    config = RolloutConfig(max_batch=4, cpu_kv_cache_gb=0.25)

    async def served():
        server = InferenceServer(
            lambda: build_engine(str(tmp_path / "model"), config, seed=0, max_context=256),
            tmp_path / "weights",
        )
        try:
            await server.version()
        finally:
            await server.close()

    def refusal():
        try:
            # what a server is asked first, before anybody waits for a completion
            asyncio.run(served())
        except PolicyError as error:
            return str(error)
        return "it served"

    said = refusal()
    gc.collect()  # the failure's frames held the dead engine, whose sockets complain at exit
    assert said.startswith("the inference engine's process has died: RuntimeError: ")
    assert "head_dim=16" in said
