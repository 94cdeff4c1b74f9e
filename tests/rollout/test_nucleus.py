"""Top-k, then top-p, then one draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from munro.rollout.nucleus import draw, nucleus, sample
from tests.rollout.tiny_llama import nucleus_by_hand
from tests.rounding import assert_near, bound, largest


def one_row(probabilities: list[float], *, top_k: int, top_p: float) -> dict[int, float]:
    """The nucleus of one position as {token: probability}."""
    logits = torch.tensor([probabilities]).log()
    kept = nucleus(logits, torch.ones(1), torch.tensor([top_k]), torch.tensor([top_p]))
    pairs = zip(kept.ids[0].tolist(), kept.logp[0].exp().tolist(), strict=True)
    return {token: round(p, 5) for token, p in pairs if p > 0}


def test_mass_is_counted_after_top_k():
    # of the whole, 0.4 and 0.3 hold 0.7; of the top three they hold 0.7778, which is enough
    assert one_row([0.3, 0.1, 0.4, 0.2], top_k=3, top_p=0.75) == {2: 0.57143, 0: 0.42857}
    assert one_row([0.3, 0.1, 0.4, 0.2], top_k=4, top_p=0.75) == {
        2: 0.44444,
        0: 0.33333,
        3: 0.22222,
    }


def test_one_token_is_always_left():
    assert one_row([0.3, 0.1, 0.4, 0.2], top_k=4, top_p=0.01) == {2: 1.0}


def test_no_more_than_top_k_are_kept_even_when_all_are_tied():
    assert len(one_row([0.25] * 4, top_k=2, top_p=1.0)) == 2


def test_a_limit_of_one_keeps_all_candidates():
    logits = torch.tensor([[20.0, 0.0, -5.0, -30.0]])
    kept = nucleus(logits, torch.ones(1), torch.tensor([4]), torch.ones(1))
    assert kept.logp.isfinite().all()


@pytest.mark.parametrize("top_k", [1, 8, 64])
@pytest.mark.parametrize("top_p", [0.5, 0.97, 1.0])
def test_it_is_the_nucleus_worked_out_one_token_after_another(top_k: int, top_p: float):
    logits = torch.randn(40, 200, generator=torch.Generator().manual_seed(3)) * 3
    kept = nucleus(
        logits, torch.full((40,), 0.7), torch.full((40,), top_k), torch.full((40,), top_p)
    )
    for row in range(40):
        expected, margin = nucleus_by_hand(
            logits[row].double().numpy() / 0.7, top_k=top_k, top_p=top_p
        )
        assert margin > bound(200) or top_p == 1.0
        assert sorted(kept.ids[row][kept.logp[row].isfinite()].tolist()) == expected


def test_every_candidate_has_its_share_of_the_uniform_numbers():
    logp = torch.tensor([0.5, 0.3, 0.2, 0.0]).log()
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    places = draw(logp.repeat(1000, 1), uniform).squeeze(-1)
    assert torch.bincount(places, minlength=4).tolist() == [500, 300, 200, 0]


def test_the_last_number_below_one_hits_a_candidate_that_is_kept():
    logp = torch.tensor([[0.6, 0.4, 0.0, 0.0]]).log()
    assert draw(logp, torch.tensor([np.nextafter(1.0, 0.0)])).item() == 1


def test_of_many_candidates_each_is_hit_as_if_one_looked_at_them_all():
    rng = torch.Generator().manual_seed(2)
    logp = (torch.randn(64, 5000, generator=rng) * 4).log_softmax(-1)
    logp[0, 300:] = logp[1, :4000] = float("-inf")
    logp = logp.log_softmax(-1)
    uniform = torch.rand(64, generator=rng, dtype=torch.float64)
    uniform[:3] = torch.tensor([np.nextafter(1.0, 0.0), 0.0, np.nextafter(1.0, 0.0)])
    place = draw(logp, uniform)
    assert logp.gather(1, place).isfinite().all()
    mass = logp.double().exp().cumsum(-1)
    target = uniform[:, None] * mass[:, -1:]
    below = F.pad(mass, (1, 0)).gather(1, place)
    assert (below <= target + 1e-6).all()
    assert (mass.gather(1, place) >= target - 1e-6).all()
    assert (place == (mass <= target).sum(-1, keepdim=True)).double().mean() > 0.9


def test_a_single_candidate_of_many_is_hit_whatever_the_number():
    logp = torch.full((3, 5000), float("-inf"))
    logp[:, 4321] = 0.0
    uniform = torch.tensor([0.0, 0.5, np.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw(logp, uniform).squeeze(-1).tolist() == [4321] * 3


def test_a_row_is_sampled_the_same_whatever_the_other_rows_ask_for():
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 50, generator=rng)
    temperature = torch.tensor([1.0, 0.5, 2.0, 1.0, 1.0, 0.9])
    top_k = torch.tensor([50, 8, 3, 50, 16, 50])
    top_p = torch.tensor([1.0, 0.9, 1.0, 0.8, 0.97, 1.0])
    uniform = torch.rand(6, generator=rng, dtype=torch.float64)
    together = sample(logits, temperature, top_k, top_p, uniform)
    scale = largest(logits / temperature[:, None])
    for row in range(6):
        one = slice(row, row + 1)
        alone = sample(logits[one], temperature[one], top_k[one], top_p[one], uniform[one])
        assert alone.token == together.token[row]
        assert_near(alone.logp[0], together.logp[row], 50, scale=scale)
        kept = alone.candidates[0][alone.candidate_logp[0].isfinite()]
        assert kept.tolist() == (
            together.candidates[row][together.candidate_logp[row].isfinite()].tolist()
        )


def test_without_limits_the_whole_vocabulary_is_sampled_and_no_nucleus_reported():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    uniform = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    drawn = sample(logits, torch.ones(3), torch.full((3,), 50), torch.ones(3), uniform)
    whole = logits.log_softmax(-1)
    assert_near(drawn.logp, whole.gather(-1, drawn.token[:, None])[:, 0], 50)
    assert not drawn.candidate_logp.isfinite().any()
    before = (whole.double().exp().cumsum(-1) - whole.double().exp()).gather(
        -1, drawn.token[:, None]
    )[:, 0]
    assert (before <= uniform).all()
