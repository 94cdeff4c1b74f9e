"""Other losses than the report's, by hand-worked numbers and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from munro.rl.clip import Clip
from munro.rl.loss import measured, policy_loss
from munro.rl.losses.cispo import cispo
from munro.rl.losses.dapo import dapo
from munro.rl.losses.dr_grpo import dr_grpo
from munro.rl.losses.gspo import gspo

CLIP = Clip(eps=0.5, widening=0.0, outer=50.0)
"""Ratios trusted in [0.5, 2]."""
# ratios 1, 4, 1/4 and something unsampled
LOGP = [-1.0, -1.0, -3.0, -9.0]
BEHAVIOUR = [-1.0, -1.0 - math.log(4), -3.0 + math.log(4), 5.0]
ADVANTAGE = [2.0, 3.0, -1.0, 7.0]
SAMPLED = torch.tensor([True, True, True, False])


def given(logp: list[float] = LOGP) -> tuple[torch.Tensor, ...]:
    leaf = torch.tensor(logp, dtype=torch.float64, requires_grad=True)
    rest = (torch.tensor(values, dtype=torch.float64) for values in (BEHAVIOUR, ADVANTAGE))
    return (leaf, *rest, SAMPLED)


def test_cispo_bounds_the_weight_of_a_token_and_leaves_every_token_its_gradient():
    tensors = given()
    loss, metrics = cispo(*tensors, clip=CLIP, num_global_tokens=3)
    loss.backward()
    # weights 1, 2 (bounded from 4) and 0.5 (bounded from 1/4), times advantage and log-prob
    assert loss.item() == pytest.approx(-(1 * 2 * -1 + 2 * 3 * -1 + 0.5 * -1 * -3) / 3)
    assert tensors[0].grad.tolist() == pytest.approx([-2 / 3, -6 / 3, 0.5 / 3, 0.0])
    assert (int(metrics["clip/low"]), int(metrics["clip/high"])) == (1, 1)


def test_cispo_s_gradient_is_the_plain_policy_gradient_while_ratios_are_trusted():
    logp = [value + 0.1 for value in BEHAVIOUR]
    ours, theirs = given(logp), given(logp)
    cispo(*ours, clip=CLIP, num_global_tokens=3)[0].backward()
    policy_loss(*theirs, clip=CLIP, num_global_tokens=3)[0].backward()
    torch.testing.assert_close(ours[0].grad, theirs[0].grad)


DAPO = Clip(eps=0.2, eps_high=0.28, outer=2.0)
"""Ratios trusted in [0.8, 1.28]."""
# ratios, advantages, what each is worth, and its slope
TABLE = [
    (1.0, 2.0, 2.0, 2.0),
    (1.25, 1.0, 1.25, 1.25),
    (1.3, 1.0, 1.28, 0.0),  # grown, and good: the upper bound
    (1.3, -1.0, -1.3, -1.3),  # grown, and bad: nothing bounds it
    (9.0, -1.0, -9.0, -9.0),  # nor here, beyond `outer`
    (0.7, -1.0, -0.8, 0.0),  # shrunk, and bad: the lower bound
    (0.7, 1.0, 0.7, 0.7),
]


def of_table() -> tuple[torch.Tensor, ...]:
    ratio, advantage, _, _ = (torch.tensor(column) for column in zip(*TABLE, strict=True))
    behaviour = torch.full((len(TABLE),), -2.0, dtype=torch.float64)
    logp = (behaviour + ratio.double().log()).requires_grad_()
    return logp, behaviour, advantage.double(), torch.ones(len(TABLE), dtype=torch.bool)


def test_dapo_clips_between_two_bounds_of_their_own_and_averages_over_tokens():
    assert (DAPO.low, DAPO.high) == pytest.approx((0.8, 1.28))
    tensors = of_table()
    loss, metrics = dapo(*tensors, clip=DAPO, num_global_tokens=7)
    loss.backward()
    assert loss.item() == pytest.approx(-sum(worth for _, _, worth, _ in TABLE) / 7, rel=1e-6)
    slopes = [-slope / 7 for *_, slope in TABLE]
    assert tensors[0].grad.tolist() == pytest.approx(slopes, rel=1e-6)
    assert (int(metrics["clip/low"]), int(metrics["clip/high"])) == (1, 1)
    # what nobody sampled may hold anything
    unsampled = torch.tensor([True] * 6 + [False])
    holed = (torch.where(unsampled, tensors[0], -math.inf), *tensors[1:3], unsampled)
    rest = -sum(worth for _, _, worth, _ in TABLE[:6]) / 6
    assert dapo(*holed, clip=DAPO, num_global_tokens=6)[0].item() == pytest.approx(rest, rel=1e-6)


def test_dapo_is_the_report_s_loss_where_its_outer_bound_is_not_reached():
    ours, theirs = given(), given()
    loss, _ = dapo(*ours, clip=CLIP, num_global_tokens=3)
    expected, _ = policy_loss(*theirs, clip=CLIP, num_global_tokens=3)
    assert loss.item() == expected.item()


def test_dr_grpo_divides_by_a_constant_whatever_the_lengths():
    sizes = {"num_global_tokens": 99, "num_global_sequences": 2, "tokens_per_sequence": 10}
    tensors = of_table()
    loss, metrics = dr_grpo(*tensors, clip=DAPO, **sizes)
    loss.backward()
    # 7 tokens of 2 sequences, divided by 2 x 10
    assert loss.item() == pytest.approx(-sum(worth for _, _, worth, _ in TABLE) / 20, rel=1e-6)
    assert tensors[0].grad.tolist() == pytest.approx([-slope / 20 for *_, slope in TABLE], rel=1e-6)
    assert (int(metrics["clip/low"]), int(metrics["clip/high"])) == (1, 1)
    # half as many tokens weigh half as much
    first, rest = (
        dr_grpo(*(tensor[part] for tensor in of_table()), clip=DAPO, **sizes)[0].item()
        for part in (slice(3), slice(3, None))
    )
    assert first + rest == pytest.approx(loss.item())


def sequences(
    log_ratio: list[float], advantage: list[float], of: list[int], sampled: list[bool] | None = None
) -> tuple[torch.Tensor, ...]:
    behaviour = torch.linspace(-2, -1, len(of), dtype=torch.float64)
    logp = (behaviour + torch.tensor(log_ratio, dtype=torch.float64)).requires_grad_()
    return (
        logp,
        behaviour,
        torch.tensor(advantage, dtype=torch.float64),
        torch.tensor(sampled or [True] * len(of)),
        torch.tensor(of),
    )


def run_gspo(*tensors: torch.Tensor, clip: Clip = CLIP, num: int = 2):
    *four, of = tensors
    return gspo(*four, clip=clip, num_global_tokens=99, sequence_T=of, num_global_sequences=num)


def test_gspo_takes_the_geometric_mean_of_a_sequence_s_ratios_once_for_each_sequence():
    # two tokens of ratios 2 and 1/8 make (1/4)^(1/2) = 1/2; one token of ratio 1.5
    tensors = sequences([math.log(2), -math.log(8), math.log(1.5)], [-3.0, -3.0, 2.0], [0, 0, 1])
    loss, metrics = run_gspo(*tensors)
    assert loss.item() == pytest.approx(-(0.5 * -3 + 1.5 * 2) / 2)
    loss.backward()
    # d s / d logp_t = s / length
    assert tensors[0].grad.tolist() == pytest.approx([0.375, 0.375, -1.5])
    assert float(metrics["clip/low"]) == float(metrics["clip/high"]) == 0


def test_gspo_clips_a_sequence_as_a_whole():
    high, low = math.log(9), -math.log(9)
    tensors = sequences([high, 0.0, low, 0.0, low, 0.0], [1.0, 1.0, -1.0, -1.0, 1.0, 1.0],
                        [0, 0, 1, 1, 2, 2])  # fmt: skip
    loss, metrics = run_gspo(*tensors, num=3)
    # ratios 3, 1/3 and 1/3: the first is worth its bound, the second too, the third itself
    assert loss.item() == pytest.approx(-(2 * 1 + 0.5 * -1 + 1 / 3) / 3)
    loss.backward()
    assert tensors[0].grad[:4].tolist() == [0.0] * 4
    assert tensors[0].grad[4:].tolist() == pytest.approx([-1 / 18] * 2)
    assert (float(metrics["clip/low"]), float(metrics["clip/high"])) == (2.0, 2.0)


def test_gspo_does_not_see_what_was_not_sampled_nor_where_a_batch_is_cut():
    ratios, advantage = [0.3, -0.1, 5.0, 0.2], [1.0, 1.0, 1.0, -2.0]
    with_rubbish = sequences(ratios, advantage, [1, 1, 1, 3], [True, True, False, True])
    without = sequences([ratios[0], ratios[1], ratios[3]], [1.0, 1.0, -2.0], [0, 0, 1])
    whole = run_gspo(*with_rubbish)[0].item()
    assert whole == pytest.approx(run_gspo(*without)[0].item())
    parts = [[tensor[:2] for tensor in without], [tensor[2:] for tensor in without]]
    parts[1][-1] = torch.tensor([0])
    assert whole == pytest.approx(sum(run_gspo(*part)[0].item() for part in parts))


def test_gspo_of_one_token_a_sequence_is_the_surrogate_of_tokens():
    tensors = sequences([0.9, -1.2, 0.1], [1.0, -1.0, 2.0], [0, 1, 2])
    loss, _ = run_gspo(*tensors, num=3)
    expected, _ = policy_loss(*tensors[:4], clip=CLIP, num_global_tokens=3)
    assert loss.item() == pytest.approx(expected.item())


def test_what_is_measured_is_what_the_report_s_loss_reports():
    _, metrics = policy_loss(*given(), clip=CLIP, num_global_tokens=3)
    found = measured(*given(), clip=CLIP)
    assert metrics.keys() == found.keys()
    assert all(float(metrics[name]) == float(found[name]) for name in found)
