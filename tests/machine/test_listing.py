"""Lists of commands say whole sentences."""

import click
import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro


def groups(command, path=()):
    if isinstance(command, click.Group):
        yield path, command
        for name, inner in command.commands.items():
            yield from groups(inner, (*path, name))


@pytest.mark.parametrize(("path", "group"), list(groups(munro)), ids=lambda value: str(value))
def test_no_sentence_is_cut(path, group):
    told = CliRunner().invoke(munro, [*path, "--help"]).output
    listed = " ".join(told.partition("Commands:")[2].split())
    for name, command in group.commands.items():
        if command.hidden:  # stands for the group itself
            continue
        assert f"{name} {' '.join(command.get_short_help_str(limit=10_000).split())}" in listed
    assert "..." not in listed
