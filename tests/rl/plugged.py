"""A user's own loss, advantage and curriculum: as files, and as a small installed package."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
"""What learning is here."""

from munro.rl.advantage import group_relative
from munro.rl.loss import policy_loss


def my_loss(logp_T, behaviour_logp_T, advantage_T, sampled_T, *, clip, num_global_tokens):
    """Half of the report's, and a figure of its own."""
    given = (logp_T, behaviour_logp_T, advantage_T, sampled_T)
    loss, _ = policy_loss(*given, clip=clip, num_global_tokens=num_global_tokens)
    return loss / 2, {"mine/tokens": sampled_T.sum()}


def my_advantage(group):
    return [3 * value for value in group_relative(group)]


def my_curriculum(stage, history, config):
    return len(config.stages) - 1
'''
ENTRY_POINTS = """
[munro.losses]
half = halves:my_loss
[munro.advantages]
triple = halves:my_advantage
[munro.curricula]
jump = halves:my_curriculum
"""


def write_file(folder: Path) -> Path:
    """A file with one of each."""
    folder.mkdir(exist_ok=True)
    file = folder / "mine.py"
    file.write_text(SOURCE)
    return file


def install(folder: Path) -> Path:
    """The same as an installed package "halves"; `folder` must join the path."""
    info = folder / "halves-0.1.dist-info"
    info.mkdir(parents=True)
    (folder / "halves.py").write_text(SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: halves\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder
