"""A climb that reserves what it needs has all of it, or says what is missing."""

from __future__ import annotations

import pytest

from tests.machine.climbing import munro, rows, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_it_climbs_inside_its_own_placement_group(tmp_path):
    recipe = str(write_recipe(tmp_path, "reserved"))
    done = munro("climb", recipe, "--ray.reserve", "true", "--ray.cpus", "3", "--num_steps", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["step"] for row in rows(tmp_path / "runs" / "reserved")] == [0, 1, 2]


def test_a_cluster_that_is_too_small_is_told_in_one_line(tmp_path):
    recipe = str(write_recipe(tmp_path, "too-small"))
    done = munro(
        "climb", recipe, "--ray.reserve", "true", "--ray.cpus", "2", "--deadlines.start_s", "3"
    )
    assert done.returncode == 2, done.stdout + done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert "sets a CPU aside for each of 3 processes, and Ray finds 2 CPUs" in said
