"""The documentation's site: its index of keys, its hooks, and (slow) that it builds strictly."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from munro.machine.config import RunConfig
from munro.machine.keys import keys_of, keys_page
from munro.machine.loading import all_keys
from munro.machine.recipes import KINDS
from tests.documented import PAGES, ROOT
from tests.test_docs import MADE


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_key_is_in_the_index_with_what_it_means() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*) \|$", keys_page(), re.MULTILINE)
    shown = {name.replace("[]", "").replace(".NAME", "") for name, _, _ in rows}
    leaves = [key for key in all_keys(RunConfig) if key not in shown]
    assert [key for key in leaves if not any(one.startswith(f"{key}.") for one in shown)] == []
    assert {"env.path", "judge.base_url", "learner.lora.rank", "clip.eps"} <= shown
    silent = [key.name for key in keys_of(RunConfig) if not key.meaning]
    assert silent == []


def test_every_kind_of_file_has_its_keys() -> None:
    text = keys_page()
    for kind in KINDS:
        assert f"\n## munro {kind.verb}\n" in text
    assert "| `num_steps` | must be given | Optimizer steps in all." in text
    assert "| `rollout.group_size` | `128` | G: attempts per task. |" in text


def test_a_page_that_nobody_listed_is_at_the_end(hooks: ModuleType, tmp_path: Path) -> None:
    for name in ("a.md", "b.md", "c.md"):
        (tmp_path / name).touch()
    config = SimpleNamespace(nav=["a.md", {"Other": [{"Sea": "b.md"}]}], docs_dir=str(tmp_path))
    assert hooks.on_config(config).nav[-1] == {"More": ["c.md"]}


def test_what_is_listed_is_there(hooks: ModuleType) -> None:
    listed = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed)) > 30
    docs = {page.relative_to("docs").as_posix() for page in PAGES if page.is_relative_to("docs")}
    assert set(listed) - docs == set(hooks.GENERATED)
    assert set(hooks.GENERATED) >= MADE


def test_make_site_installs_what_the_extra_names() -> None:
    (extra,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["docs"]
    assert f'SITE = "{extra}"' in (ROOT / "Makefile").read_text()


def test_notes_of_fences_are_titles_or_nothing(hooks: ModuleType) -> None:
    text = "```json rows.jsonl\n{}\n```\n```python sketch\nx\n```\n```toml\n```\n"
    assert hooks.fenced(text) == (
        '```json title="rows.jsonl"\n{}\n```\n```python\nx\n```\n```toml\n```\n'
    )


def test_links_of_the_checkout_are_links_of_the_site(hooks: ModuleType) -> None:
    text = "[a](docs/a.md#b) [c](LICENSE) [d](https://d) [e](CHANGELOG.md)"
    assert hooks.outside(text) == "[a](a.md#b) c [d](https://d) [e](CHANGELOG.md)"


def build(folder: Path, into: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(into)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_refuses_a_broken_link(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed: make site")
    for name in ("docs", "mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "WARNING" not in done.stderr
    assert "learner.learning_rate" in (tmp_path / "site" / "keys.html").read_text()
    for broken in ("[x](nowhere.md)", "[x](climbing.md#nowhere)", "![x](nowhere.png)"):
        page = tmp_path / "docs" / "mcp.md"
        whole = page.read_text()
        page.write_text(f"{whole}\n{broken}\n")
        refused = build(tmp_path, tmp_path / "site")
        page.write_text(whole)
        assert refused.returncode != 0, broken
        assert "nowhere" in refused.stderr
