"""What the learner says of single tokens is what a step adds up."""

from __future__ import annotations

import numpy as np
import pytest

from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from tests.rl.builders import random_group, save_model


@pytest.mark.parametrize("share", [True, False])
def test_ratios_of_single_tokens_add_up_to_the_figures_of_the_step(tmp_path, share):
    config = LearnerConfig(learning_rate=1e-2, token_budget=128, share_prompts=share)
    learner = Learner(save_model(tmp_path / "model"), config, seed=0, temperature=0.8)
    rng = np.random.default_rng(0)
    batch = build_batch([random_group(rng, index=index) for index in range(3)])
    told = learner.token_logp(batch.sequences)
    ratios = np.concatenate(
        [
            np.exp(logp - sequence.behaviour_logp[sequence.sampled])
            for logp, sequence in zip(told, batch.sequences, strict=True)
        ]
    )
    metrics = learner.step(batch, clip=Clip()).metrics
    assert len(ratios) == batch.num_global_tokens
    assert ratios.max() == pytest.approx(metrics["ratio/max"], rel=1e-4)
    assert np.abs(np.log(ratios)).mean() == pytest.approx(metrics["policy/logp_diff"], rel=1e-4)
