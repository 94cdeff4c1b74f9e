"""What MkDocs is told beside mkdocs.yml.

keys.md                        is made from the config trees
CHANGELOG.md, CONTRIBUTING.md  are taken from the checkout
a page that no one listed      goes to the end, under "More"
```json rows.jsonl             becomes a fence with that title
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TAKEN = ("CHANGELOG.md", "CONTRIBUTING.md")
GENERATED = ("keys.md", *TAKEN)
FENCE = re.compile(r"^```([a-z]+) +([^\n`]+)$", re.MULTILINE)


def on_config(config: Any) -> Any:
    """List every page of docs/ in the navigation."""
    listed = set(_pages(config.nav or []))
    docs = Path(config.docs_dir)
    rest = [path.relative_to(docs).as_posix() for path in sorted(docs.rglob("*.md"))]
    if more := [name for name in rest if name not in listed]:
        config.nav = [*(config.nav or []), {"More": more}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not lie in docs/."""
    from mkdocs.structure.files import File

    from munro.machine.keys import keys_page

    for name in TAKEN:
        text = outside((ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "keys.md", content=keys_page()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fences as the highlighter reads them."""
    return fenced(markdown)


def fenced(markdown: str) -> str:
    """The name of a file behind a fence's language as its title; other notes left out."""

    def title(found: re.Match[str]) -> str:
        note = found[2].strip()
        is_file = re.fullmatch(r"[\w./-]+\.\w+", note)
        return f'```{found[1]} title="{note}"' if is_file else f"```{found[1]}"

    return FENCE.sub(title, markdown)


def outside(markdown: str) -> str:
    """Links of a page of the checkout's root, from inside of docs/; the rest as plain words."""

    def link(found: re.Match[str]) -> str:
        words, where = found[1], found[2]
        if "://" in where or where in TAKEN:
            return found[0]
        if where.startswith("docs/"):
            return f"[{words}]({where.removeprefix('docs/')})"
        return words

    return re.sub(r"\[([^\]]*)\]\(([^)]+)\)", link, markdown)


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [name for one in inner for name in _pages(one)]
