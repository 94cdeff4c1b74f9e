"""The learner against plain PyTorch on a tiny Llama with grouped-query attention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.rl.batch import Batch, build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.loading import set_dropout
from munro.rl.policy.model import Policy, UnsupportedModel
from munro.rl.policy.packing import Layout
from munro.rl.ports import LearnerDiverged
from munro.rollout.engine import WeightSource
from tests.builders import make_group
from tests.rl.builders import VOCAB, make_model, random_group, save_model
from tests.rl.policy.architectures import saved
from tests.rounding import assert_near, bound, depth, largest, near

CLIP = Clip(eps=0.6)
CONFIG = LearnerConfig(learning_rate=1e-2, token_budget=128, logits_chunk=16, max_grad_norm=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return save_model(tmp_path / "model")


def some_batch(seed: int = 0, **options) -> Batch:
    rng = np.random.default_rng(seed)
    return build_batch([random_group(rng, index=i, **options) for i in range(3)])


def make_learner(folder: str, config: LearnerConfig = CONFIG, **options) -> Learner:
    return Learner(folder, config, **({"seed": 0, "temperature": 0.8} | options))


def naive_loss(model, batch: Batch, temperature: float, softcap: float = 0.0) -> torch.Tensor:
    """One sequence at a time, full logits, written from the formulas."""
    total = torch.zeros((), dtype=torch.float64)
    for sequence in batch.sequences:
        ids = torch.tensor(sequence.token_ids, dtype=torch.long)
        logits = model(input_ids=ids[None]).logits[0].double() / temperature
        for t in np.flatnonzero(sequence.sampled):
            kept = sequence.kept.ids[sequence.kept.starts[t] : sequence.kept.starts[t + 1]]
            scores = logits[t - 1]
            norm = scores[torch.tensor(kept, dtype=torch.long)] if len(kept) else scores
            logp = scores[ids[t]] - norm.logsumexp(0)
            ratio = (logp - float(sequence.behaviour_logp[t])).exp()
            trusted = ratio.clamp(CLIP.low, CLIP.high)
            A = sequence.advantage
            total = total - torch.minimum(ratio.clamp(max=CLIP.outer) * A, trusted * A)
    return total / batch.num_global_tokens


def naive_gradients(path: str, batch: Batch, temperature: float = 0.8):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    loss = naive_loss(model, batch, temperature)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters()}


def our_gradients(learner: Learner, batch: Batch):
    sums = learner._passes.gradients(batch, CLIP)
    grads = {name: p.grad for name, p in learner._policy.model.named_parameters()}
    return sums["learner/loss"], grads


def terms_of(learner: Learner, batch: Batch) -> int:
    """Roundings from the weights of a learner to the gradients of a batch."""
    tokens = sum(len(sequence.token_ids) for sequence in batch.sequences)
    return depth(learner._policy.model, tokens, backward=True)


def assert_equal_gradients(got, expected, terms: int) -> None:
    assert got[0] == near(expected[0], terms, scale=max(1.0, abs(expected[0])))
    assert got[1].keys() == expected[1].keys()
    scale = max(map(largest, expected[1].values()))
    for name, gradient in got[1].items():
        assert_near(gradient, expected[1][name], terms, scale=scale, name=name)


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(
    "options",
    [{"nucleus": 5}, {"nucleus": 0}, {"turns": 3}, {"nucleus": 90}],
    ids=["nucleus", "no nucleus", "turns", "wide nucleus"],
)
def test_loss_and_gradients_are_those_of_one_sequence_at_a_time(tmp_path, layout, tied, options):
    path = save_model(tmp_path / "model", make_model(tied=tied))
    learner = make_learner(path)
    assert learner._passes.layout is Layout.SHARED
    learner._passes = replace(learner._passes, layout=layout)
    batch = some_batch(num_attempts=6, num_prompt=20, **options)
    ours, theirs = our_gradients(learner, batch), naive_gradients(path, batch)
    assert_equal_gradients(ours, theirs, terms_of(learner, batch))


def test_prompts_really_are_shared(folder):
    batch = some_batch(num_attempts=6, num_prompt=20)
    shared, alone = (
        make_learner(folder, CONFIG.model_copy(update={"share_prompts": share}))
        .step(batch, clip=CLIP)
        .metrics
        for share in (True, False)
    )
    assert shared["learner/computed_tokens"] < 0.5 * alone["learner/computed_tokens"]
    terms = terms_of(make_learner(folder), batch)
    for name in shared.keys() - {"learner/computed_tokens"}:
        assert shared[name] == near(alone[name], terms, scale=max(1.0, abs(alone[name])))


SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def gemma() -> Gemma2ForCausalLM:
    torch.manual_seed(1)
    caps = {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0}
    return Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, sliding_window=4, **caps))


def mistral() -> MistralForCausalLM:
    torch.manual_seed(1)
    return MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4, head_dim=8))


@pytest.mark.parametrize("share", [True, False], ids=["shared", "alone"])
@pytest.mark.parametrize("make", [gemma, mistral], ids=["soft-capped gemma", "mistral"])
def test_sliding_windows_are_shared_too_and_right(tmp_path, make, share):
    path = save_model(tmp_path / "model", make())
    learner = make_learner(path, CONFIG.model_copy(update={"share_prompts": share}))
    assert learner._passes.layout is (Layout.SHARED if share else Layout.PADDED)
    batch = some_batch(num_attempts=4, num_prompt=9)
    # of transformers' own only this one caps scores
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager").eval()
    loss = naive_loss(model, batch, 0.8)
    loss.backward()
    expected = loss.item(), {name: p.grad for name, p in model.named_parameters()}
    assert_equal_gradients(our_gradients(learner, batch), expected, terms_of(learner, batch))


def test_learned_positions_are_shared_too(tmp_path):
    torch.manual_seed(1)
    shape = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    model = GPT2LMHeadModel(
        GPT2Config(**shape, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.2)
    )
    path = save_model(tmp_path / "model", model)
    learner = make_learner(path)
    assert learner._passes.layout is Layout.SHARED
    batch = some_batch(num_attempts=6, num_prompt=20)
    ours, theirs = our_gradients(learner, batch), naive_gradients(path, batch)
    assert_equal_gradients(ours, theirs, terms_of(learner, batch))


class Squared(LlamaForCausalLM):
    """Does something to its logits that no config tells."""

    def forward(self, *args, **kwargs):
        told = super().forward(*args, **kwargs)
        told.logits = told.logits**2
        return told


def test_a_model_that_does_more_to_its_logits_is_refused():
    torch.manual_seed(1)
    with pytest.raises(UnsupportedModel, match="more than a matrix product"):
        Policy(Squared(LlamaConfig(**SMALL)).eval(), tile=16)


@pytest.mark.parametrize("kind", ["Granite", "Cohere", "Phi", "GPT-J"])
def test_a_constant_and_a_bias_of_the_logits_are_in_the_gradients(tmp_path, kind):
    path = saved(kind, tmp_path / "model")
    learner, batch = make_learner(path), some_batch()
    ours, theirs = our_gradients(learner, batch), naive_gradients(path, batch)
    assert_equal_gradients(ours, theirs, terms_of(learner, batch))


def test_a_step_is_adamw_on_the_clipped_gradient(folder):
    batch = some_batch()
    learner = make_learner(folder)
    _, gradients = naive_gradients(folder, batch)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.grad = gradients[name]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CONFIG.max_grad_norm)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-2, betas=(0.95, 0.95), eps=1e-15, weight_decay=0.0
    )
    optimizer.step()

    report = learner.step(batch, clip=CLIP)
    terms = terms_of(learner, batch)
    assert report.metrics["learner/grad_norm"] == near(norm.item(), terms)
    assert norm > CONFIG.max_grad_norm
    ours = dict(learner._policy.model.named_parameters())
    scale = max(map(largest, gradients.values()))
    for name, parameter in model.named_parameters():
        # with eps 1e-15 the first step is lr * sign(gradient): leave out gradients near 0
        clear = gradients[name].abs() > bound(terms, scale)
        assert_near(ours[name][clear], parameter[clear], 8, name=name)


def test_what_paid_becomes_likelier_and_the_report_says_what_happened(folder):
    learner = make_learner(folder, CONFIG.model_copy(update={"learning_rate": 1e-3}))
    batch = some_batch(nucleus=0)
    first = learner.step(batch, clip=CLIP)
    for _ in range(5):
        last = learner.step(batch, clip=CLIP)
    assert last.metrics["learner/loss"] < first.metrics["learner/loss"]
    assert first.metrics["learner/tokens"] == batch.num_global_tokens
    assert first.metrics["learner/sequences"] == len(batch.sequences)
    assert first.entropy == first.metrics["policy/entropy"]
    assert first.metrics.keys() >= {
        *("learner/loss", "learner/grad_norm", "policy/mismatch_kl", "policy/logp_diff"),
        *("clip/low", "clip/high", "clip/outer", "ratio/max", "policy/entropy_clipped"),
    }


def test_the_clipped_estimator_steers_when_asked(folder):
    learner = make_learner(folder, entropy_estimator="clipped")
    report = learner.step(some_batch(), clip=Clip(eps=0.3, outer=1.5))
    assert report.entropy == report.metrics["policy/entropy_clipped"]
    assert report.entropy != report.metrics["policy/entropy"]


def test_on_its_own_samples_the_mismatch_is_zero_and_no_bound_bites(folder):
    learner = make_learner(folder, temperature=1.0)
    batch = some_batch(nucleus=0)
    bundles = []
    for bundle in batch.bundles:
        scores = learner.score([s.token_ids.tolist() for s in bundle.sequences])
        fresh = [
            replace(s, behaviour_logp=score)
            for s, score in zip(bundle.sequences, scores, strict=True)
        ]
        bundles.append(replace(bundle, sequences=tuple(fresh)))
    report = learner.step(replace(batch, bundles=tuple(bundles)), clip=CLIP)
    # log-probs of this model are below 16; the KL is the square of a difference, and rounds as 1
    off = bound(depth(learner._policy.model, 13), scale=16.0)
    assert report.metrics["policy/logp_diff"] < off
    assert abs(report.metrics["policy/mismatch_kl"]) < max(off**2, bound(1))
    assert report.metrics["ratio/max"] == pytest.approx(1, abs=2 * off)
    assert {report.metrics[f"clip/{bound}"] for bound in ("low", "high", "outer")} == {0}


def test_scores_are_those_of_the_plain_model_at_temperature_one(folder):
    texts = [[3, 1, 4, 1, 5], [9], [2, 6], []]
    scores = make_learner(folder, temperature=0.3).score(texts)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for ids, score in zip(texts, scores, strict=True):
        assert score.dtype == np.float32
        assert len(score) == len(ids)
        if len(ids) > 1:
            logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = [0.0, *(logp[i, ids[i + 1]].item() for i in range(len(ids) - 1))]
            assert score == near(expected, depth(model, len(ids)))
        else:
            assert not score.any()


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in learner._policy.model.named_parameters()}


def test_a_batch_without_signal_changes_nothing_and_says_so(folder):
    learner = make_learner(folder)
    before = weights(learner)
    report = learner.step(build_batch([make_group(1, 1)]), clip=CLIP)
    assert np.isnan(report.entropy)
    assert report.metrics["learner/silent_groups"] == 1
    assert CLIP.adapted(report.entropy, 0.3, 0.25, 2.5) == CLIP
    assert all(torch.equal(before[name], value) for name, value in weights(learner).items())


def test_a_loss_that_is_not_finite_stops_before_the_step(folder):
    learner = make_learner(folder)
    with torch.no_grad():
        learner._policy.model.model.norm.weight[0] = float("nan")
    before = weights(learner)
    with pytest.raises(LearnerDiverged, match="step 1: the loss is nan"):
        learner.step(some_batch(), clip=CLIP)
    after = weights(learner)
    assert all(torch.equal(before[n], after[n]) for n in before if "norm" not in n)


def test_a_gradient_that_is_not_finite_stops_before_the_step(folder):
    learner = make_learner(folder)
    before = weights(learner)
    embedding = learner._policy.get_input_embeddings().weight
    embedding.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(LearnerDiverged, match=r"gradient norm is (inf|nan)"):
        learner.step(some_batch(), clip=CLIP)
    assert all(torch.equal(before[name], value) for name, value in weights(learner).items())


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_saved_loaded_and_stepped_is_bitwise_uninterrupted(folder, tmp_path, dropout):
    config = CONFIG.model_copy(update={"dropout": dropout})
    batches = [some_batch(seed) for seed in range(4)]
    whole = make_learner(folder, config)
    reports = [whole.step(batch, clip=CLIP) for batch in batches]

    first = make_learner(folder, config)
    for batch in batches[:2]:
        first.step(batch, clip=CLIP)
    first.save(tmp_path / "saved", {"step": 2})
    second = make_learner(folder, config)
    second.load(tmp_path / "saved")
    resumed = [second.step(batch, clip=CLIP) for batch in batches[2:]]

    assert resumed == reports[2:]
    ours, theirs = weights(whole), weights(second)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_saved_checkpoint_loads_with_transformers_and_keeps_its_config(folder, tmp_path):
    learner = make_learner(folder)
    learner.step(some_batch(), clip=CLIP)
    learner.save(tmp_path / "saved", {"step": 1})
    text = [3, 1, 4, 1, 5, 9, 2, 6]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    logp = model(torch.tensor([text])).logits[0].log_softmax(-1)
    expected = [logp[i, text[i + 1]].item() for i in range(len(text) - 1)]
    assert learner.score([text])[0][1:] == near(expected, depth(model, len(text)))
    assert Checkpoint(tmp_path / "saved").provenance() == {"step": 1}
    assert model.config.tie_word_embeddings


def test_another_model_s_checkpoint_is_refused(folder, tmp_path):
    other = make_learner(save_model(tmp_path / "other", make_model(hidden_size=64)))
    other.save(tmp_path / "saved", {})
    with pytest.raises(ValueError, match="holds another model"):
        make_learner(folder).load(tmp_path / "saved")


def test_a_missing_model_folder_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        make_learner(str(tmp_path / "nowhere"))


class Shelf:
    """A weight transfer that keeps what it is given."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def publish(self, named_tensors, version: int) -> WeightSource:
        self.tensors = {name: tensor.clone() for name, tensor in named_tensors}
        return WeightSource(path="shelf", version=version)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_published_weights_have_the_names_of_the_checkpoint_and_tied_ones_go_once(tmp_path, tied):
    path = save_model(tmp_path / "model", make_model(tied=tied))
    learner, shelf = make_learner(path), Shelf()
    assert learner.publish(shelf, 7) == WeightSource(path="shelf", version=7)
    expected = dict(AutoModelForCausalLM.from_pretrained(path).named_parameters())
    assert shelf.tensors.keys() == expected.keys()
    assert ("lm_head.weight" in shelf.tensors) is not tied
    assert all(torch.equal(shelf.tensors[name], expected[name]) for name in expected)


def test_dropout_asked_of_a_model_that_has_none_is_refused(tmp_path):
    class Plain(torch.nn.Module):
        pass

    with pytest.raises(UnsupportedModel, match=r"has no dropout\. Set it to 0"):
        set_dropout(Plain(), 0.1)
    set_dropout(Plain(), 0.0)


def test_routing_replay_asked_for_without_routes_is_refused(folder):
    learner = make_learner(folder, CONFIG.model_copy(update={"replay_routing": "require"}))
    with pytest.raises(UnsupportedModel, match="the rollouts carry no routed experts"):
        learner.step(some_batch(), clip=CLIP)


def test_activation_checkpointing_changes_no_gradient(folder):
    batch = some_batch()
    plain = our_gradients(make_learner(folder), batch)
    learner = make_learner(folder, CONFIG.model_copy(update={"activation_checkpointing": True}))
    assert_equal_gradients(our_gradients(learner, batch), plain, terms_of(learner, batch))
