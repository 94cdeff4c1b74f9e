"""The packages of a box: wheels alone, as the index had them at the base's date, one layer each.

pip runs on this machine and unpacks wheels, so no code of theirs is run here: what is only to be
had as source is not installed. Dates are floored to a quarter of a year, so that tasks share
layers, and no layer is older than what knows the interpreter.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.packages.requirements import Needs
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox.image import Layer, find_layer, layer_of

OLDEST = {
    (3, 11): datetime(2023, 2, 1, tzinfo=UTC),
    (3, 12): datetime(2024, 2, 1, tzinfo=UTC),
    (3, 13): datetime(2025, 2, 1, tzinfo=UTC),
    (3, 14): datetime(2026, 2, 1, tzinfo=UTC),
}
"""What was uploaded before does not know that Python: a few months after its release."""
INSTALL_S = 600.0
MOST_SAID = 300
NO_WHEELS = "its dependencies cannot be had as wheels of that date"
HOSTS_OWN = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of metadata that tell of this machine, or of the scripts that are left out."""


@dataclass(slots=True)
class Packages:
    """Layers of packages, made once for each set of requirements and date. Safe for threads."""

    store: Path
    is_dated: bool = True
    """False takes the newest of everything, from every index that pip knows here."""
    _known: dict[tuple[str, ...], Layer | str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _locks: dict[tuple[str, ...], threading.Lock] = field(default_factory=dict)

    def layer(self, needs: Needs, seconds: int) -> tuple[Layer, str]:
        """The layer for a base of that date, and the date that it stands at ("" for the newest).

        Raises:
            Dropped: they cannot be had as wheels.
            BadRepository: the index does not say when its files came, or cannot be reached.
        """
        date = quarter(seconds) if self.is_dated else ""
        key = (date, needs.distribution, *needs.requirements)
        with self._lock:
            mine = self._locks.setdefault(key, threading.Lock())
        with mine:  # two tasks that need the same do not both install it
            if key not in self._known:
                self._known[key] = self._made(needs, date, key)
            known = self._known[key]
        if isinstance(known, str):
            raise Dropped("suite runs", NO_WHEELS, known)
        return known, date

    def _made(self, needs: Needs, date: str, key: Sequence[str]) -> Layer | str:
        name = hashlib.sha256("\n".join([repr(sys.version_info[:2]), *key]).encode())
        note = self.store / f"packages-{name.hexdigest()[:32]}"
        if note.is_file():
            try:
                return find_layer(note.read_text().strip(), self.store)
            except (SandboxError, ValueError):
                note.unlink()
        names = [re.split(r"[\[<>=!~; ]", line)[0] for line in needs.requirements]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "packages"
            for wanted in (list(needs.requirements), names):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                said = install(wanted, folder, date)
                if not said:
                    break
            else:
                return said[:MOST_SAID]
            tidy(folder, needs.distribution)
            layer = layer_of(folder, self.store)
        note.write_text(layer.digest)
        return layer


def quarter(seconds: int) -> str:
    """The first day of a date's quarter, or the first that knows this interpreter."""
    then = datetime.fromtimestamp(seconds, UTC)
    floored = datetime(then.year, 3 * ((then.month - 1) // 3) + 1, 1, tzinfo=UTC)
    return f"{max(floored, OLDEST.get(sys.version_info[:2], floored)):%Y-%m-%d}"


def install(requirements: Sequence[str], folder: Path, date: str) -> str:
    """Wheels into a folder; what pip said where it could not.

    Raises:
        BadRepository: the fault is not of these requirements, but of pip or the index.
    """
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PIP_", "PYTHON")) or key in ("PIP_CERT", "PIP_INDEX_URL")
    }
    options = ["--target", str(folder), "--only-binary", ":all:", "--no-compile", "--no-input"]
    if date:
        # folders of files (find-links, file: indexes) state no dates, and would be taken whole
        environment["PIP_CONFIG_FILE"] = os.devnull
        options += ["--uploaded-prior-to", f"{date}T00:00:00Z"]
        if address := index_url():
            options += ["--index-url", address]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, *options, "--", *requirements],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"pip did not end in {INSTALL_S:g} s"
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    last = said[-1] if said else done.stderr.strip()[-300:] or "no reason given"
    fault = _fault(done.stderr)
    if fault:
        raise BadRepository(f"{fault}: {last}")
    return last


def _fault(said: str) -> str:
    if "No module named pip" in said:
        return f"{sys.executable} has no pip: python -m ensurepip"
    if "no such option" in said:
        return "this pip knows no dates: pip install --upgrade 'pip>=26', or --packages newest"
    if "upload-time" in said or "upload time" in said:
        return "the package index does not say when its files came: --packages newest"
    if re.search(r"NewConnectionError|Temporary failure in name resolution|timed out", said):
        return "the package index cannot be reached"
    if "No space left" in said:
        return "no space left for packages: free some of the disk, then --resume"
    return ""


def index_url() -> str:
    """The one index that this user's pip asks, where that was set in a file."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    address = done.stdout.strip()
    return address if address.startswith(("http://", "https://")) else ""


def tidy(folder: Path, own: str) -> None:
    """Leave out scripts, caches, what tells of this machine, and the repository's own package."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name == "__pycache__" and path.is_dir():
            shutil.rmtree(path)
    for name in ("bin", "share"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for info in sorted(folder.glob("*.dist-info")):
        name = re.sub(r"[-_.]+", "-", info.name.partition("-")[0]).lower()
        if own and name == own:
            _remove(folder, info)
            continue
        for file in HOSTS_OWN:
            (info / file).unlink(missing_ok=True)


def _remove(folder: Path, info: Path) -> None:
    """Everything that a distribution's record names: the box has its own, in the repository."""
    record = info / "RECORD"
    lines = record.read_text(errors="replace").splitlines() if record.is_file() else []
    for line in lines:
        path = folder / line.rsplit(",", 2)[0]
        if path.is_file() and folder in path.resolve().parents:
            path.unlink()
    shutil.rmtree(info, ignore_errors=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
