"""Runs a repository's tests in a session of a sandbox, and tells what each of them did.

    with box.session(image=Image(layers=(tree,), packages=(pytest_layer(store),))) as session:
        ran = run_tests(session, ["tests/test_stones.py"], test_s=10, wall_s=120)
    ran.results["tests/test_stones.py::test_stack"]     # "passed"

The same tests give the same results wherever they run: one time zone and locale, a seed for hashes,
no plugin but those of the session's packages, no options of the repository's own (`addopts`), no
cache, no byte code. pytest comes from the packages of the session, never from the repository.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Layer, Limits, Session, layer_of

HERE = Path(__file__).parent
WORK = "/tmp/work"
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")
"""Distributions that a run of tests stands on."""
IMPORTS = (".", "src", "lib")
"""Folders of a repository from which its modules are imported, where they are there."""
LIMITS = Limits(cpu_s=3600, memory_mb=2048, processes=256, open_files=512, output_bytes=64 << 20)
"""Of a run; seconds are the caller's, the disk is the session's."""
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
PINNED = (
    "-q",
    "--color=no",
    "--tb=short",
    "-o",
    "addopts=",
    "-p",
    "no:cacheprovider",
    f"--rootdir={WORK}",
    f"--confcutdir={WORK}",
    "--continue-on-collection-errors",
    # settings and marks of plugins that are not there, where the repository makes warnings errors
    "-W",
    "ignore::pytest.PytestConfigWarning",
    "-W",
    "ignore::pytest.PytestUnknownMarkWarning",
)
ENVIRONMENT = {
    "TZ": "UTC",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "HOME": "/tmp",
    "COLUMNS": "80",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}
END_S = 20.0
"""For the supervisor to end what is over its time, and to say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run of tests did.

    Example:
        Ran(results={"test_a.py::test_b": "passed"}, is_finished=True, seconds=0.4, log="1 passed")
    """

    results: Mapping[str, str]
    """By the test's id: one of OUTCOMES. "error": outside of its call, or it ended its interpreter,
    or was over its time."""
    is_finished: bool
    """All that was collected has run, and the run said so and how many they were."""
    seconds: float
    log: str = ""
    """What was printed, its beginning and its end."""
    durations: Mapping[str, float] = field(default_factory=dict)
    """Seconds by the test's id."""
    messages: Mapping[str, str] = field(default_factory=dict)
    """Of tests that failed (the first 200): how, the end of it."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Files that could not be collected, and how."""
    repeated: frozenset[str] = frozenset()
    """Ids that were reported more than once."""
    flags: tuple[str, ...] = ()
    """What the code under test did to that which judges it."""
    reached: tuple[str, ...] = ()
    """Names that were looked up, and addresses of other machines."""

    @property
    def passed(self) -> frozenset[str]:
        """Ids of tests that passed, once each."""
        return frozenset(
            name
            for name, outcome in self.results.items()
            if outcome == "passed" and name not in self.repeated
        )


def run_tests(
    session: Session,
    paths: Sequence[str],
    *,
    only: Collection[str] = (),
    until_failure: bool = False,
    seed: int = 0,
    shuffle: bool = False,
    test_s: float,
    wall_s: float,
    options: Sequence[str] = (),
    imports: Sequence[str] = IMPORTS,
    limits: Limits = LIMITS,
) -> Ran:
    """Run tests with pytest.

    Args:
        session: whose packages hold pytest (`pytest_layer`) and what the repository needs.
        paths: files, folders, or ids of tests below the working directory.
        only: ids of the tests in them that are run, with parameters or without; none for all.
        until_failure: end with the first test that fails; the run is then not finished.
        seed: of hashes, and of the order where `shuffle` asks for one.
        test_s: seconds of one test; over it the test is an "error" and the rest goes on.
        wall_s: seconds of all.
        options: further ones of pytest.
        imports: folders that the repository's modules are imported from.
        limits: memory, processes and open files.

    Raises:
        SandboxError: the sandbox failed, or there is no pytest in it.
    """
    plan = {
        "plugin": (HERE / "report_plugin.py").read_text(),
        "paths": list(paths),
        "only": sorted(only),
        "arguments": [*PINNED, *(["-x"] if until_failure else []), *options],
        "until_failure": until_failure,
        "seed": seed,
        "shuffle": shuffle,
        "imports": list(imports),
        "test_s": test_s,
        "wall_s": wall_s,
        "environment": {**ENVIRONMENT, "PYTHONHASHSEED": str(seed % 2**32)},
    }
    outcome = session.run(
        ["python3", "-I", "-S", "-B", "-c", (HERE / "supervisor.py").read_text()],
        stdin=json.dumps(plan),
        limits=replace(limits, wall_s=wall_s + END_S, cpu_s=max(limits.cpu_s, wall_s)),
    )
    log = outcome.stderr.decode(errors="replace")
    if "No module named 'pytest'" in log and not outcome.stdout:
        raise SandboxError(
            "there is no pytest in the box: put munro.envs.swe.run.pytest_layer(store), or a "
            "folder of `pip install --target`, among the packages of its image"
        )
    return _read(outcome.stdout, log, outcome.usage.wall_s)


def _read(lines: bytes, log: str, seconds: float) -> Ran:
    results: dict[str, str] = {}
    durations: dict[str, float] = {}
    messages: dict[str, str] = {}
    broken: dict[str, str] = {}
    repeated: set[str] = set()
    flags: list[str] = []
    reached: list[str] = []
    is_finished = False
    for record in _records(lines):
        name = str(record.get("id", ""))
        match record["kind"]:
            case "done":
                if name in results:
                    repeated.add(name)
                said = record["outcome"]
                results[name] = said if said in OUTCOMES else "error"
                durations[name] = float(record.get("seconds", 0.0))
                if said in ("failed", "error"):
                    messages[name] = str(record.get("message", ""))
            case "broken":
                broken[name] = str(record["message"])
            case "flag":
                flags.append(str(record["flag"]))
            case "reach":
                reached.append(str(record["place"]))
            case "finished":
                is_finished = True
    return Ran(
        results=results,
        is_finished=is_finished,
        seconds=seconds,
        log=log,
        durations=durations,
        messages={name: text for name, text in messages.items() if text},
        broken=broken,
        repeated=frozenset(repeated),
        flags=tuple(dict.fromkeys(flags)),
        reached=tuple(dict.fromkeys(reached)),
    )


def _records(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            return  # the supervisor was ended while it wrote
        if isinstance(record, dict) and isinstance(record.get("kind"), str):
            yield record


def pytest_layer(store: Path, distributions: Sequence[str] = PYTEST) -> Layer:
    """A layer with the pytest of this interpreter, and with what it stands on.

    Args:
        store: where layers are kept.
        distributions: names of installed packages, plugins too.

    Raises:
        ValueError: one is not installed.
    """
    contents: dict[str, bytes] = {}
    for name in distributions:
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise ValueError(
                f"hidden tests need {name}, which is not installed: pip install {name}"
            ) from None
        for file in found.files or ():
            place = Path(str(found.locate_file(file)))
            is_ours = ".." not in file.parts and "__pycache__" not in file.parts
            if is_ours and file.name != "RECORD" and place.is_file():
                contents[str(file)] = place.read_bytes()
    return layer_of(contents, store)
