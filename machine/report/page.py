"""The report as one HTML file that needs no network and runs no script but its own.

Text that a model or a config wrote never becomes markup: in the head of the page it is escaped, and
everything else travels in a block of JSON that the page's script shows as text nodes. A content
security policy pins that script by its hash, so that the browser would refuse any other.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

ASSETS = resources.files("munro.machine") / "page"
SCRIPTS = ("text.js", "figures.js", "rollouts.js", "report.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a report shows."""

    name: str
    status: str
    when: str
    cause: str = ""
    headline: str = ""
    tiles: Sequence[tuple[str, str, str]]
    """(label, value, remark)."""
    notes: Sequence[str] = ()
    """Sentences under the tiles."""
    facts: Mapping[str, str]
    """Provenance and versions."""
    config: str
    """The resolved config, as TOML."""
    data: Mapping[str, Any]
    """For the script: steps, columns, events, figures, rollouts."""


def render(page: Page) -> str:
    """The page, whole."""
    script = "".join(_asset(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{html.escape(page.name)}: a Munro climb</title>
<style>{_asset("report.css")}</style>
</head>
<body>
<header>
<div class="line"><h1>{html.escape(page.name)}</h1>
<span class="status {html.escape(page.status)}">{html.escape(page.status)}</span>
<span class="when">{html.escape(page.when)}</span></div>
{_paragraph(page.headline)}
{_paragraph(page.cause, "cause")}
<dl class="tiles">{"".join(_tile(*tile) for tile in page.tiles)}</dl>
{"".join(_paragraph(note, "note") for note in page.notes)}
</header>
<noscript><p>The figures and the rollouts are drawn by a script, which is turned off.</p></noscript>
<div id="figures" class="figures"></div>
{_rollouts(page.data["rollouts"])}
<h2>Where it comes from</h2>
<table class="facts">{"".join(_fact(*fact) for fact in page.facts.items())}</table>
<details><summary>Resolved config</summary><pre>{html.escape(page.config)}</pre></details>
<footer>Written by munro report.</footer>
<script type="application/json" id="data">{embedded(page.data)}</script>
<script>{script}</script>
</body>
</html>
"""


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that can stand inside a script element: pure ASCII without `<`, `>` or `&`."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>' if text else ""


def _tile(label: str, value: str, remark: str) -> str:
    small = f" <small>{html.escape(remark)}</small>" if remark else ""
    return f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}{small}</dd></div>"


def _fact(name: str, value: str) -> str:
    return f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'


def _rollouts(rollouts: Mapping[str, Any]) -> str:
    shown, total = len(rollouts["rows"]), rollouts["total"]
    if not shown:
        return ""
    unreadable = rollouts["unreadable"]
    steps = ", ".join(str(step) for step in unreadable)
    damaged = f" Damaged files were left out: step {steps}." if unreadable else ""
    note = f"{shown:,} of {total:,} attempts, spread over the run.{damaged}"
    return f'<h2>Rollouts</h2>{_paragraph(note, "note")}<div id="rollouts"></div>'
