"""One process at a time where something is trained."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro
from munro.machine.run.files import RunError
from munro.machine.run.lock import held_folder

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("command", "recipe"), [("ladder", "ladder_tiny"), ("mix", "mix_tiny")])
def test_a_folder_in_use_is_refused_before_anything_is_read(command, recipe, tmp_path):
    arguments = (command, str(ROOT / "configs" / f"{recipe}.toml"), "--folder", str(tmp_path))
    with held_folder(tmp_path / "taken", "wait"), pytest.raises(RunError, match="already in use"):
        CliRunner().invoke(munro, [*arguments, "--name", "taken"], catch_exceptions=False)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == [".lock"]


def test_a_file_in_the_folder_s_place_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"), held_folder(tmp_path / "file", "wait"):
        pass
