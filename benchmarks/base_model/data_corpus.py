"""A corpus of what a machine carries, with duplicates and evaluation text planted in it.

Python's and Debian's packages bring several hundred megabytes of source and documentation. Into it
go, each under a name of its own:

    exact        a document again, in other capitals or with white space around it
    near         a document with some words changed, Jaccard similarity of 5-grams at least 0.8
    apart        the same with more words changed, 0.3 to 0.75: it must stay
    holds        a document with evaluation text put into it, at most 15% of its words changed
    resembles    the same with 40% to 60% changed: it must stay

Similarities are computed here, by regular expression and sets, not by what is being measured.
Evaluation text is made of words in random order, so that no document holds it by itself.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import subprocess
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WORD = re.compile(r"[a-z0-9_]+")
CODE = {".py", ".pyi", ".h", ".hpp", ".c", ".cpp", ".js", ".ts", ".pm", ".pl", ".cuh", ".rs"}
DOCUMENTATION = {".md", ".rst", ".txt", ".html", ".htm", ".pod", ".tex"}
ROOTS = (
    "{stdlib}",
    "{purelib}",
    "/usr/share/doc",
    "/usr/lib/python3",
    "/usr/share",
    "/usr/include",
)
LEAST, MOST = 400, 60_000
"""Characters of a document."""
DEBIAN = (
    "python3.11-doc", "git-doc", "glibc-doc", "linux-doc-6.1", "postgresql-doc-15", "perl-doc",
    "debian-handbook", "cmake-doc", "sqlite3-doc", "libboost1.74-doc", "apache2-doc", "bash-doc",
)  # fmt: skip
PLANTED = ("exact", "near", "apart", "holds", "resembles")
LARGEST_BYTES = 4_000_000
SHARE = 0.02
"""Of the documents, how many each kind of plant is made from."""


@dataclass(frozen=True, slots=True)
class Plant:
    """One planted document."""

    kind: str
    key: str
    """File and offset, by which a build names it."""
    similarity: float
    """To the document it was made from, where that matters."""
    original: str
    """Key of that document; "" where it took its place."""


def debian_documentation(folder: Path) -> list[Path]:
    """Unpack Debian's documentation packages, as many as there are; nothing is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in DEBIAN:
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, capture_output=True)
    for file in sorted(folder.glob("*.deb")):
        target = folder / file.stem
        if not target.is_dir():
            subprocess.run(["dpkg-deb", "-x", file, target], check=True)
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def texts(roots: list[Path]) -> Iterator[tuple[str, str]]:
    """("code" or "documentation", text) of every file that is text, one from each root in turn."""
    turns = [_texts_below(root, roots) for root in roots]
    while turns:
        for turn in list(turns):
            found = next(turn, None)
            if found is None:
                turns.remove(turn)
            else:
                yield found


def _texts_below(root: Path, roots: list[Path]) -> Iterator[tuple[str, str]]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if Path(folder, name) not in roots)
        for path in (Path(folder) / name for name in sorted(names)):
            suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
            kind = "code" if suffix in CODE else "documentation"
            if suffix not in CODE | DOCUMENTATION and "/doc/" not in folder + "/":
                continue
            text = _text(path)
            for start in range(0, len(text), MOST):
                piece = text[start : start + MOST]
                if len(piece) >= LEAST:
                    yield kind, piece


def _text(path: Path) -> str:
    """What is in a file; "" where it is no text, or more than is wanted of one."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        return ""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error):
        return ""
    return "" if "\x00" in text else text


def make(folder: Path, *, size_mb: float, debian: bool, seed: int = 0) -> list[Plant]:
    """Write code.jsonl, documentation.jsonl and evaluation.jsonl; returns what was planted."""
    folder.mkdir(parents=True, exist_ok=True)
    roots = [Path(root.format(**sysconfig.get_paths())) for root in ROOTS]
    roots = [root for root in dict.fromkeys(roots) if root.is_dir()]
    if debian:
        roots = debian_documentation(folder / "debian") + roots
    rng = random.Random(seed)
    evaluation = [_nonsense(rng) for _ in range(max(20, int(20 * size_mb)))]
    lines = (json.dumps({"question": text}) + "\n" for text in evaluation)
    (folder / "evaluation.jsonl").write_text("".join(lines))
    planted: list[Plant] = []
    written = 0
    with (
        (folder / "code.jsonl").open("wb") as code,
        (folder / "documentation.jsonl").open("wb") as documentation,
    ):
        files = {"code": code, "documentation": documentation}
        for kind, text in texts(roots):
            file, original = files[kind], ""
            for label, similarity, document in _with_plants(text, evaluation, rng):
                key = f"{file.name}@{file.tell()}"
                if label:
                    planted.append(Plant(label, key, similarity, original))
                else:
                    original = key
                written += file.write(json.dumps({"text": document}).encode() + b"\n")
            if written >= size_mb * 1e6:
                break
    return planted


def _with_plants(
    text: str, evaluation: list[str], rng: random.Random
) -> Iterator[tuple[str, float, str]]:
    """The text and what is made from it: (kind or "", similarity, text)."""
    kinds = [kind for kind in PLANTED if rng.random() < SHARE]
    if "holds" in kinds or "resembles" in kinds:
        # in place of the text, of which it would be a near duplicate
        kind = "holds" if "holds" in kinds else "resembles"
        share = rng.uniform(0, 0.15) if kind == "holds" else rng.uniform(0.4, 0.6)
        item = _evenly_changed(rng.choice(evaluation), share, rng)
        at = text.find("\n", rng.randrange(len(text)))
        yield kind, 0.0, f"{text[:at]}\n{item}\n{text[at:]}"
        return
    yield "", 1.0, text
    for kind in kinds:
        if kind == "exact":
            yield kind, 1.0, rng.choice([text.upper, lambda: f"\n  {text}\n\n"])()
            continue
        share = rng.uniform(0.0005, 0.022) if kind == "near" else rng.uniform(0.04, 0.11)
        edited = changed(text, share, rng)
        similarity = jaccard(text, edited)
        low, high = (0.8, 0.9999) if kind == "near" else (0.3, 0.75)
        if low <= similarity <= high:
            yield kind, similarity, edited


def jaccard(one: str, other: str) -> float:
    """Similarity of the sets of word 5-grams."""

    def ngrams(text: str) -> set[tuple[str, ...]]:
        words = WORD.findall(text.lower())
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    first, second = ngrams(one), ngrams(other)
    return len(first & second) / max(len(first | second), 1)


def changed(text: str, share: float, rng: random.Random) -> str:
    """The text with this share of its words replaced, at least one, at places drawn at random."""
    spans = [found.span() for found in re.finditer(r"[A-Za-z0-9_]+", text)]
    chosen = sorted(rng.sample(range(len(spans)), max(1, round(share * len(spans)))))
    pieces, at = [], 0
    for place in chosen:
        start, stop = spans[place]
        pieces += [text[at:start], f"{rng.randrange(36**5):x}"]
        at = stop
    return "".join([*pieces, text[at:]])


def _evenly_changed(text: str, share: float, rng: random.Random) -> str:
    words = text.split()
    for place in range(len(words)):
        if int((place + 1) * share) > int(place * share):
            words[place] = f"{rng.randrange(36**5):x}"
    return " ".join(words)


def _nonsense(rng: random.Random) -> str:
    syllables = ["ka", "lo", "mi", "ru", "te", "sa", "ne", "vo", "di", "pu"]
    return " ".join("".join(rng.choices(syllables, k=3)) for _ in range(rng.randint(40, 100)))
