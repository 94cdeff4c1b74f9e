"""With which config a run may go on."""

from __future__ import annotations

import pytest

from munro.machine.climb.start import raw, refuse_changes
from munro.machine.loading import BadConfig, from_overrides
from munro.machine.run.folder import RunFolder

OVERRIDES = [("num_steps", "3"), ("env", "arithmetic")]


@pytest.fixture
def older(tmp_path):
    """A run from before repetition had a weight and environments had graders."""
    run = RunFolder(tmp_path / "run")
    config = raw(from_overrides(OVERRIDES))
    del config["rewards"]["repetition_weight"]
    for env in config["env"]:
        del env["graders"], env["reward"]
    run.begin(config, seed=0, provenance={})
    return run


def test_a_run_goes_on_where_keys_were_added_since_and_are_at_their_defaults(older):
    refuse_changes(older, from_overrides(OVERRIDES), force=False)


def test_a_new_key_that_is_set_is_a_change(older):
    changed = from_overrides([*OVERRIDES, ("rewards.repetition_weight", "0.1")])
    with pytest.raises(BadConfig, match=r"rewards.repetition_weight: 0.0 -> 0.1"):
        refuse_changes(older, changed, force=False)


def test_a_config_that_no_longer_reads_as_one_is_compared_as_it_stands(older):
    older.write_config({"no_such_key": 1})
    with pytest.raises(BadConfig, match="no_such_key: 1 -> not set"):
        refuse_changes(older, from_overrides(OVERRIDES), force=False)
