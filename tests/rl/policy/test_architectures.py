"""What an engine sampled is, for the learner, what it would have sampled: every architecture.

A tiny random checkpoint of each, from transformers' own config, its dropout as published: the
engine samples, the learner takes its first step, and every ratio is 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from munro.rl.batch import Batch, build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy import loading
from munro.rl.policy.model import UnsupportedModel
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request
from munro.rollout.transformers_engine import TransformersEngine
from tests.builders import make_attempt, make_group, make_trajectory
from tests.rl.builders import VOCAB, save_model
from tests.rl.policy.architectures import CONFIGS, saved, tiny

PROMPTS = ([3, 1, 4, 1, 5], [9, 2, 6])
TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7]
CONFIG = LearnerConfig(learning_rate=1e-5, threads=1, token_budget=256)
# log-probs of some 8 nats are sums of 97 shares and 32 to 48 products, two layers deep: about ten
# roundings of a float32 of that size, 4.8e-7 each
EXACT = 1e-5
ROUTES = ["Falcon", "OPT", "Starcoder2", "Mixtral"]
"""Four ways to be random: a config that is asked, a number, a dropped layer, a router's noise."""


def asked() -> list[Request]:
    """Four attempts at each prompt, from the whole vocabulary."""
    return [
        Request(
            key=(task, attempt, 0, 0),
            prompt_ids=prompt,
            max_tokens=9,
            seed=10 * task + attempt,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            stop_token_ids=(),
        )
        for task, prompt in enumerate(PROMPTS)
        for attempt in range(4)
    ]


def as_batch(requests: list[Request], done: list[Completion]) -> Batch:
    """What was sampled, half of each group paid."""
    groups = []
    for task, prompt in enumerate(PROMPTS):
        attempts = [
            make_attempt(
                float(request.key[1] % 2),
                trajectory=make_trajectory(
                    completion.token_ids.tolist(),
                    prompt_ids=prompt,
                    behaviour_logp=np.r_[np.zeros(len(prompt), np.float32), completion.logp],
                ),
            )
            for request, completion in zip(requests, done, strict=True)
            if request.key[0] == task
        ]
        groups.append(make_group(index=task, attempts=tuple(attempts)))
    return build_batch(groups)


@torch.inference_mode()
def by_transformers(path: str, text: list[int]) -> NDArray[np.float32]:
    """Log-probability of each token but the first, by transformers' own forward pass."""
    # its default leaves Gemma 2's soft cap of scores out
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager").eval()
    logp = model(torch.tensor([text])).logits[0, :-1].float().log_softmax(-1)
    return logp.gather(-1, torch.tensor(text)[1:, None])[:, 0].numpy()


async def first_step(path: str, config: LearnerConfig) -> dict[str, float]:
    """Sample with the engine, then take the learner's first step."""
    engine = TransformersEngine(path, RolloutConfig(), seed=0, max_context=64)
    requests = asked()
    batch = as_batch(requests, await engine.generate(requests))
    await engine.close()
    return dict(Learner(path, config, seed=0).step(batch, clip=Clip()).metrics)


# transformers' GPT-BigCode scripts its functions when it is imported
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("kind", CONFIGS)
async def test_every_ratio_is_one_and_every_score_is_transformers_own(kind: str, tmp_path: Path):
    path = saved(kind, tmp_path)
    scores = Learner(path, CONFIG, seed=0).score([TEXT])[0]
    assert scores[1:] == pytest.approx(by_transformers(path, TEXT), rel=0, abs=EXACT)

    metrics = await first_step(path, CONFIG)
    assert metrics["ratio/max"] == pytest.approx(1.0, abs=0.01)
    assert metrics["policy/logp_diff"] < EXACT


@pytest.mark.parametrize("kind", ROUTES)
async def test_activation_checkpointing_brings_no_dropout_back(kind: str, tmp_path: Path):
    path = saved(kind, tmp_path)
    metrics = await first_step(path, CONFIG.model_copy(update={"activation_checkpointing": True}))
    assert metrics["ratio/max"] == pytest.approx(1.0, abs=0.01)


def test_at_least_twenty_five_architectures_are_tried():
    assert len(CONFIGS) >= 25


def test_a_saved_checkpoint_keeps_the_dropout_that_was_published(tmp_path: Path):
    learner = Learner(saved("Falcon", tmp_path / "model"), CONFIG, seed=0)
    learner.save(tmp_path / "saved", {})
    config = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").config
    assert (config.hidden_dropout, config.attention_dropout) == (0.1, 0.1)


def test_a_model_that_stays_random_in_training_is_refused():
    model = tiny("Llama")
    model.model.layers[0].mlp.register_forward_hook(
        lambda module, _, out: out + module.training * torch.rand_like(out)
    )
    with pytest.raises(UnsupportedModel, match="LlamaForCausalLM is random in training"):
        loading.set_dropout(model, 0.0)


async def test_a_padded_vocabulary_with_tied_weights_goes_through_the_first_step(tmp_path: Path):
    torch.manual_seed(0)
    config = CONFIGS["Qwen3"]()
    config.vocab_size, config.tie_word_embeddings = VOCAB + 31, True
    path = save_model(tmp_path, AutoModelForCausalLM.from_config(config).eval())
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - the handle is not iterable
    engine = TransformersEngine(path, RolloutConfig(), seed=0, max_context=64)
    requests = asked()
    done = await engine.generate(requests)
    await engine.close()
    sampled = {int(token) for one in done for token in one.token_ids}
    assert max(sampled) >= VOCAB  # a random model does sample what is padding
    tokenizer = AutoTokenizer.from_pretrained(path)
    for one in done:
        shown = tokenizer.decode([token for token in one.token_ids.tolist() if token < VOCAB])
        assert tokenizer.decode(one.token_ids.tolist()) == shown
    metrics = Learner(path, CONFIG, seed=0).step(as_batch(requests, done), clip=Clip()).metrics
    assert metrics["ratio/max"] == pytest.approx(1.0, abs=0.01)
