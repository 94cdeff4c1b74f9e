"""Which models a fleet can be started on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from munro.machine.climb.sizes import model_config
from munro.machine.loading import BadConfig
from tests.base_model.tiny_munro import tiny_config

ASK = (
    "import sys; from munro.machine.climb.sizes import model_config as of; "
    "print(of(sys.argv[1]).model_type)"
)


def test_a_checkpoint_of_our_own_family_is_known_where_nothing_else_imported_it(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    asked = [sys.executable, "-c", ASK, str(tmp_path)]
    assert subprocess.check_output(asked, text=True).split() == ["munro"]


def test_a_folder_that_holds_no_model_is_named_in_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(BadConfig, match="no model that transformers can load: ") as refused:
        model_config(tmp_path)
    assert "\n" not in str(refused.value)
