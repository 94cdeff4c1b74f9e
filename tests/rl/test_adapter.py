"""A learner that trains an adapter: what changes, what does not, and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from munro.base_model.adapters import attach, files
from munro.base_model.adapters.config import LoraConfig
from munro.base_model.adapters.errors import BadAdapter
from munro.base_model.checkpoint import Checkpoint, CheckpointError
from munro.rl.batch import Batch, build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.adapter import how_to_hold
from munro.rollout.engine import WeightSource
from tests.rl.builders import make_model, random_group, save_model

CLIP = Clip(eps=0.6)
LORA = LoraConfig(rank=4, alpha=8)
CONFIG = LearnerConfig(learning_rate=1e-2, token_budget=128, logits_chunk=16, lora=LORA)
TEXTS = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8]]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return save_model(tmp_path / "model")


def some_batch(seed: int = 0, **options) -> Batch:
    rng = np.random.default_rng(seed)
    return build_batch([random_group(rng, index=i, **options) for i in range(3)])


def make_learner(folder: str, lora: LoraConfig | None = LORA, **changes) -> Learner:
    config = CONFIG.model_copy(update={"lora": lora} | changes)
    return Learner(folder, config, seed=0, temperature=0.8)


def model_of(learner: Learner):
    return learner._policy.model


class Shelf:
    """Keeps what was published."""

    def publish(self, named_tensors, version: int) -> WeightSource:
        self.tensors = {name: tensor.clone() for name, tensor in named_tensors}
        return WeightSource(path="", version=version)


def same(ours, theirs) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_new_adapter_changes_nothing_and_a_step_moves_it_alone(folder: str):
    learner, whole = make_learner(folder), make_learner(folder, None)
    assert same(learner.score(TEXTS), whole.score(TEXTS))
    frozen = {n: p.clone() for n, p in model_of(learner).named_parameters() if ".lora_" not in n}
    for seed in range(2):
        learner.step(some_batch(seed), clip=CLIP)
    for name, parameter in model_of(learner).named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name])
        else:
            assert parameter.abs().sum() > 0
    held = learner._optimizer.state
    moments = sum(s["exp_avg"].numel() for s in held.values())
    assert moments == sum(p.numel() for p in attach.weights_of(model_of(learner)).values())
    assert not same(learner.score(TEXTS), whole.score(TEXTS))
    assert same(learner.score(TEXTS, base=True), whole.score(TEXTS))
    assert same(whole.score(TEXTS, base=True), whole.score(TEXTS))


def test_its_gradient_is_that_of_the_merged_weights_by_the_chain_rule(folder: str):
    learner = make_learner(folder)
    learner.step(some_batch(), clip=CLIP)
    batch, model = some_batch(1), model_of(learner)
    learner._policy.train()
    learner._passes.gradients(batch, CLIP)
    learner.save(Path(folder).parent / "saved", {})
    merged = Learner(
        str(Path(folder).parent / "saved"),
        CONFIG.model_copy(update={"lora": None}),
        seed=0,
        temperature=0.8,
    )
    merged._policy.train()
    merged._passes.gradients(batch, CLIP)
    whole = dict(model_of(merged).named_parameters())
    layers = [n for n, m in model.named_modules() if hasattr(m, "lora_A")]
    assert len(layers) == 14
    for name in layers:
        layer, full = model.get_submodule(name), whole[f"{name}.weight"].grad
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        torch.testing.assert_close(B.grad, 2.0 * full @ A.T, rtol=2e-3, atol=2e-6)
        torch.testing.assert_close(A.grad, 2.0 * B.T @ full, rtol=2e-3, atol=2e-6)


def test_recomputed_activations_give_the_same_gradient(folder: str):
    grads = []
    for checkpointing in (False, True):
        learner = make_learner(folder, activation_checkpointing=checkpointing)
        with torch.no_grad():
            for weight in attach.weights_of(model_of(learner)).values():
                weight += 0.01
        learner._policy.train()
        learner._passes.gradients(some_batch(), CLIP)
        grads.append([p.grad for p in attach.weights_of(model_of(learner)).values()])
    for one, other in zip(*grads, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other)


def test_a_checkpoint_is_the_adapter_and_training_goes_on_from_it_bit_for_bit(
    folder: str, tmp_path: Path
):
    learner = make_learner(folder)
    learner.step(some_batch(0), clip=CLIP)
    learner.save(tmp_path / "saved", {"step": 1})
    held = {file.name for file in (tmp_path / "saved").iterdir()}
    assert held > {"adapter_model.safetensors", "adapter_config.json", "base.json"}
    assert not held & {"config.json", "model.safetensors"}
    reports = [learner.step(some_batch(1), clip=CLIP)]
    again = make_learner(folder)
    again.load(tmp_path / "saved")
    reports.append(again.step(some_batch(1), clip=CLIP))
    assert reports[0].metrics == reports[1].metrics
    assert same(learner.score(TEXTS), again.score(TEXTS))


def test_a_learner_begins_with_the_adapter_of_a_checkpoint(folder: str, tmp_path: Path):
    learner = make_learner(folder)
    learner.step(some_batch(0), clip=CLIP)
    learner.save(tmp_path / "saved", {})
    other = make_learner(str(tmp_path / "saved"))
    assert same(learner.score(TEXTS), other.score(TEXTS))
    whole = make_learner(folder, None)
    assert same(other.score(TEXTS, base=True), whole.score(TEXTS))
    other.save(tmp_path / "again", {})
    assert Checkpoint(tmp_path / "again").base() == Path(folder)


def test_peft_and_transformers_load_the_checkpoint_as_it_is(folder: str, tmp_path: Path):
    from peft import AutoPeftModelForCausalLM

    learner = make_learner(folder)
    learner.step(some_batch(0), clip=CLIP)
    learner.save(tmp_path / "saved", {})
    ours = learner.score(TEXTS)[0]
    ids = torch.tensor([TEXTS[0]])
    merged = Checkpoint(tmp_path / "saved").model(dtype=torch.float32)
    assert not any(".lora_" in name for name, _ in merged.named_parameters())
    for model in (
        merged,
        AutoModelForCausalLM.from_pretrained(tmp_path / "saved"),
        AutoPeftModelForCausalLM.from_pretrained(tmp_path / "saved"),
    ):
        with torch.no_grad():
            logp = model.eval()(ids).logits[0, :-1].log_softmax(-1)
        theirs = logp.gather(-1, ids[0, 1:, None])[:, 0].numpy()
        np.testing.assert_allclose(theirs, ours[1:], atol=1e-5)


def test_only_the_adapter_is_published_under_the_names_of_its_file(folder: str, tmp_path: Path):
    learner, shelf = make_learner(folder), Shelf()
    learner.step(some_batch(0), clip=CLIP)
    learner.publish(shelf, 3)
    learner.save(tmp_path / "saved", {})
    written = files.read_weights(tmp_path / "saved")
    assert shelf.tensors.keys() == written.keys()
    assert all(torch.equal(shelf.tensors[name], written[name]) for name in written)


def test_dropout_leaves_every_ratio_and_changes_the_gradient(folder: str):
    figures, grads = {}, {}
    for rate in (0.0, 0.5):
        learner = make_learner(folder, LORA.model_copy(update={"dropout": rate}))
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in attach.weights_of(model_of(learner)).values():
                weight += 0.1 * torch.randn(weight.shape, generator=rng)
        learner._policy.train()
        torch.manual_seed(0)
        figures[rate] = learner._passes.gradients(some_batch(), CLIP)
        grads[rate] = torch.cat(
            [p.grad.flatten() for p in attach.weights_of(model_of(learner)).values()]
        )
    assert figures[0.0] == figures[0.5]
    assert not torch.allclose(grads[0.0], grads[0.5], rtol=0.1)


def test_dropout_of_a_fresh_learner_draws_the_same_in_every_run(folder: str):
    scores = []
    for _ in range(2):
        learner = make_learner(folder, LORA.model_copy(update={"dropout": 0.3}))
        for seed in range(3):
            learner.step(some_batch(seed), clip=CLIP)
        scores.append(learner.score(TEXTS))
    assert same(*scores)


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        (("q_prj",), 'names "q_prj", which is no linear layer .* Did you mean q_proj?'),
        (("lm_head",), "its embedding and its output matrix do not"),
        (("q_proj", "norm"), 'names "norm".*It has down_proj, gate_proj, k_proj'),
    ],
)
def test_a_name_that_fits_no_layer_is_told_with_those_there_are(folder: str, modules, said):
    with pytest.raises(BadAdapter, match=said):
        make_learner(folder, LORA.model_copy(update={"modules": modules}))


def test_only_the_layers_that_are_named_get_an_adapter(folder: str):
    learner = make_learner(folder, LORA.model_copy(update={"modules": ("q_proj", "0.mlp.up_proj")}))
    adapted = {n.rsplit(".lora_", 1)[0] for n in attach.weights_of(model_of(learner))}
    assert adapted == {
        "base_model.model.model.layers.0.self_attn.q_proj",
        "base_model.model.model.layers.1.self_attn.q_proj",
        "base_model.model.model.layers.0.mlp.up_proj",
    }


def test_a_model_without_a_linear_layer_cannot_have_one():
    with pytest.raises(BadAdapter, match="no linear layer that peft could adapt"):
        attach.attach(torch.nn.Embedding(4, 4), LORA, base="x", seed=0)


def test_an_adapter_of_another_base_is_refused(folder: str, tmp_path: Path):
    learner = make_learner(folder)
    learner.save(tmp_path / "saved", {})
    other = save_model(tmp_path / "other", make_model(seed=1))
    with pytest.raises(CheckpointError, match="trained on another base"):
        make_learner(other).load(tmp_path / "saved")
    make_model(seed=2).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="trained on another base"):
        Checkpoint(tmp_path / "saved").model()


def test_a_base_that_is_gone_is_told_with_the_way_out(folder: str, tmp_path: Path):
    make_learner(folder).save(tmp_path / "saved", {})
    Path(folder).rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"its base is not at .*munro merge .* --base FOLDER"):
        Checkpoint(tmp_path / "saved").model()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rank": 2}, r"alpha / rank = 8 / 4, and learner.lora says 8 / 2"),
        ({"alpha": 4}, r"alpha / rank = 8 / 4, and learner.lora says 4 / 4"),
        ({"modules": ("q_proj",)}, "it is an adapter of another kind: .*missing here"),
    ],
)
def test_another_rank_or_other_layers_than_the_checkpoint_has(folder, tmp_path, changes, said):
    make_learner(folder).save(tmp_path / "saved", {})
    with pytest.raises(CheckpointError, match=said):
        make_learner(folder, LORA.model_copy(update=changes)).load(tmp_path / "saved")


def test_whole_weights_and_adapters_are_not_taken_for_each_other(folder: str, tmp_path: Path):
    whole, adapted = make_learner(folder, None), make_learner(folder)
    whole.save(tmp_path / "whole", {})
    adapted.save(tmp_path / "adapter", {})
    with pytest.raises(CheckpointError, match=r"holds a whole model, and \[learner.lora\] trains"):
        adapted.load(tmp_path / "whole")
    with pytest.raises(CheckpointError, match="it holds an adapter"):
        whole.load(tmp_path / "adapter")


def test_a_base_in_its_own_precision_stays_so_and_the_adapter_learns_in_float32(tmp_path: Path):
    folder = save_model(tmp_path / "model", make_model().to(torch.bfloat16))
    learner = make_learner(folder, LORA.model_copy(update={"base_dtype": "own"}))
    learner.step(some_batch(), clip=CLIP)
    kinds = {(".lora_" in n, p.dtype) for n, p in model_of(learner).named_parameters()}
    assert kinds == {(False, torch.bfloat16), (True, torch.float32)}
    assert np.isfinite(learner.score(TEXTS)[0]).all()


def test_four_bits_ask_for_what_they_need(folder: str):
    with pytest.raises(BadAdapter, match="base_bits = 4 needs a GPU"):
        make_learner(folder, LORA.model_copy(update={"base_bits": 4}))


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (LoraConfig(base_dtype="own"), 'base_dtype = "own" holds base and adapter in two precis'),
        (LoraConfig(base_bits=4), "base_bits = 4 cannot be sharded: set learner.ranks = 1, not 2"),
    ],
)
def test_what_ranks_cannot_shard_together_is_refused(lora: LoraConfig, said: str):
    with pytest.raises(BadAdapter, match=said):
        how_to_hold(lora, torch.device("cpu"), ranks=2)
