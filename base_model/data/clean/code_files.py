"""Which files of a repository are worth reading (report, section 2.4 and appendix A)."""

from __future__ import annotations

import re
from pathlib import PurePath

from munro.base_model.data.config import CodeConfig

JUNK_FOLDERS = frozenset(
    {
        ".git", ".hg", ".svn", ".idea", ".vscode", ".tox", ".nox", ".venv", "venv", ".mypy_cache",
        ".pytest_cache", "__pycache__", "node_modules", "bower_components", "vendor", "_vendor",
        "third_party", "thirdparty", "external", "dist", "build", "target", "out", "obj", "bin",
        ".next", ".cache", "coverage", "site-packages", "egg-info", "Pods", "DerivedData",
    }
)  # fmt: skip
GENERATED_NAME = re.compile(
    r"(_pb2(_grpc)?\.pyi?|\.pb\.(go|cc|h)|\.d\.ts|\.min\.(js|css)|\.bundle\.js|\.g\.dart"
    r"|_generated\.\w+|\.generated\.\w+|\.designer\.cs|parsetab\.py|lextab\.py|package-lock\.json"
    r"|yarn\.lock|pnpm-lock\.yaml|poetry\.lock|cargo\.lock|moc_\w+\.cpp|\.xcworkspacedata)$",
    re.IGNORECASE,
)
GENERATED_MARK = re.compile(
    r"(?i)@generated|do not (edit|modify)|(auto(matically)?[- ]?)generated (by|file|from|code)"
)
HEAD = 1000
"""Characters at the start of a file in which a mark of generated code stands."""


def fault(path: str, root: str, text: str, config: CodeConfig) -> str:
    """Why a file is left out, or ""; folders above `root` are not looked at."""
    below = PurePath(path).relative_to(root) if root and path.startswith(root) else PurePath(path)
    if JUNK_FOLDERS.intersection(below.parts[:-1]) or any(
        part.endswith((".egg-info", ".dist-info")) for part in below.parts[:-1]
    ):
        return "junk folder"
    if GENERATED_NAME.search(below.name) or GENERATED_MARK.search(text[:HEAD]):
        return "generated"
    if len(text) > config.max_characters:
        return "too long"
    lines = text.split("\n")
    if max(map(len, lines)) > config.max_line:
        return "long line"
    if len(text) / len(lines) > config.max_mean_line:
        return "long lines on average"
    return ""
