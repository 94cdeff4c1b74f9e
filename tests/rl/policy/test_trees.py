"""Episodes whose template strips thoughts, through the model: as exact as one turn at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.loss import policy_loss
from munro.rl.policy.device import on_device
from munro.rl.policy.model import Policy
from munro.rl.policy.packing import Layout
from munro.rollout.branches import way
from tests.base_model.tiny_munro import tiny_model
from tests.builders import make_attempt, make_group
from tests.rl.builders import VOCAB, make_model, random_group
from tests.rollout.branching.rewritten import FORGETFUL, LIMITS, Told
from tests.rounding import assert_near, depth, largest

CLIP = Clip(eps=0.6)
TEMPERATURE = 0.8
BOUND = 1e-6
"""Of float64, but that a Llama's norms compute in float32 whatever they are given."""
SAID = (
    (
        "<think>\nadd\n</think>\n\n41",
        "<think>\nagain\n</think>\n\n43",
        "<think>\nso\n</think>\n\n42",
    ),
    ("40", "<think>\nhm, again\n</think>\n\n42", "<think>\nyes\n</think>\n\nI said 42"),
    ("what?", "<think>\nno\n</think>\n\nno", "never"),
)


async def played():
    """Three attempts of three turns, and what the engine was asked and answered in each."""
    told, turns = [], []
    rng = np.random.default_rng(0)
    for said in SAID:
        one = Told(FORGETFUL, said, limits=replace(LIMITS, top_p=1.0))
        trajectory = await one.play(["no", "no, no"])
        logp = np.where(trajectory.sampled, rng.normal(-5, 1, len(trajectory.sampled)), 0)
        told.append(replace(trajectory, behaviour_logp=logp.astype(np.float32)))
        turns.append(list(zip(one.prompts, one.written, strict=True)))
    attempts = [make_attempt(float(n), trajectory=one) for n, one in enumerate(told)]
    return make_group(attempts=tuple(attempts)), turns, len(one.tokenizer)


def double_model(vocabulary: int):
    return make_model(vocab_size=vocabulary, max_position_embeddings=512).double()


def one_turn_at_a_time(model, batch, turns):
    """Loss and log-probs of every turn by itself: its prompt as the engine got it, its reply."""
    logps, total, num = [], torch.zeros((), dtype=torch.float64), 0
    for sequence, of_attempt in zip(batch.sequences, turns, strict=True):
        behaviour = torch.from_numpy(sequence.behaviour_logp[sequence.sampled]).double()
        at = 0
        for prompt, written in of_attempt:
            ids = torch.tensor([[*prompt, *written]])
            logits = model(input_ids=ids[:, :-1]).logits[0, len(prompt) - 1 :] / TEMPERATURE
            logp = F.log_softmax(logits, -1).gather(-1, ids[0, len(prompt) :, None])[:, 0]
            ratio = (logp - behaviour[at : at + len(written)]).exp()
            A = float(np.float32(sequence.advantage))
            kept = torch.minimum(
                ratio.clamp(max=CLIP.outer) * A, ratio.clamp(CLIP.low, CLIP.high) * A
            )
            total, num, at = total - kept.sum(), num + len(written), at + len(written)
            logps.append(logp.detach())
    return total / num, torch.cat(logps)


def through_the_learner(model, batch, layout):
    """Loss, log-probs by attempt and turn, and the tokens that went through the model."""
    policy = Policy(model, tile=16)
    computed = []
    hook = policy.get_input_embeddings().register_forward_pre_hook(
        lambda _, given: computed.append(given[0].numel())
    )
    total, found = torch.zeros((), dtype=torch.float64), {}
    for micro in batch.micro_batches(100_000, layout=layout, width=100_000):
        there = on_device(micro, torch.device("cpu"), vocabulary=policy.vocabulary)
        logp_T, _ = policy(there, temperature=TEMPERATURE)
        behaviour_T, advantage_T = (
            torch.from_numpy(array).double() for array in (micro.behaviour_logp, micro.advantages)
        )
        loss, _ = policy_loss(
            *(logp_T, behaviour_T, advantage_T, torch.ones_like(logp_T, dtype=torch.bool)),
            clip=CLIP,
            num_global_tokens=batch.num_global_tokens,
        )
        total = total + loss
        found |= dict(zip(micro.behaviour_logp.tolist(), logp_T.tolist(), strict=True))
    hook.remove()
    order = [b for sequence in batch.sequences for b in sequence.behaviour_logp[sequence.sampled]]
    logp = torch.tensor([found[float(b)] for b in order], dtype=torch.float64)
    return total, logp, sum(computed)


@pytest.mark.parametrize("layout", list(Layout))
async def test_a_tree_s_log_probs_and_gradient_are_those_of_its_turns_one_at_a_time(layout):
    group, turns, vocabulary = await played()
    assert all(attempt.trajectory.forks for attempt in group.attempts)
    batch = build_batch([group])

    plain, ours = double_model(vocabulary), double_model(vocabulary)
    expected, expected_logp = one_turn_at_a_time(plain, batch, turns)
    expected.backward()
    loss, logp, computed = through_the_learner(ours, batch, layout)
    loss.backward()

    assert abs(loss.item() - expected.item()) < BOUND
    assert (logp - expected_logp).abs().max() < BOUND
    # the outputs' matrix is the inputs' one, and has its gradient under that name
    ours_by_name = dict(ours.named_parameters())
    for name, parameter in plain.named_parameters():
        assert parameter.grad.abs().max() > 0
        assert (ours_by_name[name].grad - parameter.grad).abs().max() < BOUND, name

    own, one_by_one = (
        0,
        sum(len(prompt) + len(written) - 1 for of in turns for prompt, written in of),
    )
    prompt = batch.bundles[0].num_shared
    for sequence in batch.sequences:
        ways = [way(int(t), sequence.forks)[:-1] for t in np.flatnonzero(sequence.sampled)]
        read = {tuple(sequence.token_ids[one[: n + 1]]) for one in ways for n in range(len(one))}
        own += sum(len(begin) > prompt for begin in read)
    if layout.shares:
        # each token of each attempt once, and what all of them begin with once
        assert computed == prompt + own
        assert computed < 0.6 * one_by_one
    else:
        assert computed > prompt + own


@pytest.mark.parametrize("seed", range(4))
def test_our_model_s_windows_and_experts_follow_the_branches(seed):
    """Windows of four tokens, three layers of experts whose choice is repeated."""
    rng = np.random.default_rng(seed)
    group = random_group(rng, turns=4, forks=5, num_prompt=9)
    attempts = []
    for attempt in group.attempts:
        told = attempt.trajectory
        routes = [
            np.array(
                [
                    np.random.default_rng([*told.token_ids[way(t, told.forks)], k]).permutation(6)[
                        :2
                    ]
                    for k in range(3)
                ]
            )
            for t in range(len(told.token_ids))
        ]
        routed = replace(told, routed_experts=np.stack(routes).astype(np.int16))
        attempts.append(replace(attempt, trajectory=routed))
    batch = build_batch([replace(group, attempts=tuple(attempts))])
    assert any(sequence.forks for sequence in batch.sequences)
    found = []
    for layout in (Layout.SHARED, Layout.PADDED):
        model = tiny_model(sizes={"vocab_size": VOCAB}, max_position_embeddings=256)
        policy = Policy(model, tile=16)
        assert policy.shares_prompts()
        logps = {}
        for micro in batch.micro_batches(10_000, layout=layout, width=10_000):
            there = on_device(micro, torch.device("cpu"), vocabulary=policy.vocabulary)
            logp_T, _ = policy(there, temperature=1.0, replay=True)
            logps |= dict(zip(micro.behaviour_logp.tolist(), logp_T.tolist(), strict=True))
            logp_T.sum().backward()
        found.append((logps, [p.grad for p in model.parameters()]))
    (tree, tree_grads), (alone, alone_grads) = found
    assert tree.keys() == alone.keys()
    terms = depth(
        model, sum(len(sequence.token_ids) for sequence in batch.sequences), backward=True
    )
    assert_near([tree[key] for key in tree], [alone[key] for key in tree], terms)
    scale = max(map(largest, alone_grads))
    for one, other in zip(tree_grads, alone_grads, strict=True):
        assert_near(one, other, terms, scale=scale)
