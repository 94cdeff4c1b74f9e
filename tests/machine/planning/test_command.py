"""`munro plan` as a person meets it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro
from munro.machine.errors import BadConfig
from munro.machine.planning.sweep import sweep_of

MAI = "configs/mai_scale.toml"


def said(*words: str) -> str:
    done = CliRunner().invoke(munro, ["plan", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_page_tells_every_quantity() -> None:
    found = said(MAI)
    names = "model hardware answers learner servers sampling pace failures weights saving driver"
    assert [line.split()[0] for line in found.splitlines() if line[0] != " "] == names.split()
    assert "962.1B parameters, 34.66B for a token" in found


def test_the_laptops_climb_has_a_page_too() -> None:
    found = said("quickstart")
    assert "this machine's CPUs" in found
    assert "failures" not in found


def test_a_page_is_made_without_the_gpu_stack() -> None:
    program = (
        "import sys; from munro.machine.cli.main import munro\n"
        f"munro(['plan', '{MAI}'], standalone_mode=False)\n"
        "print(*{'torch', 'transformers', 'vllm', 'ray', 'triton'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == ""


def test_a_simulation_repeats_and_a_sweep_is_a_table() -> None:
    # a shorter job of the same kind
    small = ("--learner.ranks", "24", "--rollout.servers", "2", "--batch.num_groups", "4")
    small += ("--learner.parallel.context", "8", "--rollout.groups_in_flight", "1")
    small += ("--plan.rung", "12", "--plan.shape", "{}", "--learner.parallel.experts", "1")
    first, again = (said(MAI, "--simulate", *small) for _ in range(2))
    assert first == again
    assert "steps/h" in first
    swept = said(MAI, "--sweep", "ratio=2:1,5:1", "--sweep", "groups=8,32", *small).splitlines()
    header = next(i for i, line in enumerate(swept) if "inference : learner" in line)
    rows = [line.split() for line in swept[header + 1 : header + 5]]
    assert [row[:4] for row in rows] == [
        ["128", ":", "24", "8"], ["128", ":", "24", "32"],
        ["128", ":", "24", "8"], ["128", ":", "24", "32"],
    ]  # fmt: skip
    assert "measure yours" in swept[-1]


@pytest.mark.parametrize("word", ["speed=1", "ratio=", "ratio=a", "ratio=1:0", "groups=0", "ratio"])
def test_a_sweep_of_nothing_is_refused(word: str) -> None:
    with pytest.raises(BadConfig, match="give"):
        sweep_of([word])
