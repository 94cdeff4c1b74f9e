"""A task of somebody else's as a folder: what is in it, as data.

    task.toml, instruction.md, environment/Dockerfile, tests/test.sh, solution/solve.sh    Harbor's
    task.yaml, Dockerfile, docker-compose.yaml, run-tests.sh, tests/, solution.sh  terminal-bench's

Nothing is run here. What a box of ours does not have (a second service, a graphics card, a server
of tools) is refused in one line; the recipe is read by `recipe`, and carried out by `build`.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from munro.envs.harbor.errors import BadFolder

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,199}")
Form = Literal["harbor", "terminal-bench"]
NETWORK = re.compile(
    r"\b(?:apt|apt-get|aptitude|yum|dnf|apk|conda|mamba|gem|brew)\s+(?:-\S+\s+)*"
    r"(?:install|update|upgrade|add)\b"
    r"|\b(?:curl|wget)\b.*\b(?:https?|ftp)://(?!localhost|127\.|\[::1\])"
    r"|\bpip3?\s+(?:-\S+\s+)*(?:install|download)\s+(?!.*--no-index)(?!-e\b|\.|/)"
    r"|\buvx\b|\buv\s+(?:run|add|sync|pip|tool|python|venv)\b|\bpipx\s"
    r"|\b(?:npm|pnpm|yarn)\s+(?:install|add|ci|i)\b|\bnpx\s"
    r"|\bgit\s+(?:clone|fetch|pull)\s+.*(?:https?|ssh|git)(?:://|@)"
    r"|\bcargo\s+(?:install|add|fetch)\b|\bgo\s+(?:get|install)\b"
)
"""What of a shell's line asks other machines."""
_MADE_OF = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """One task.

    Example:
        read_foreign(Path("tasks/hello-world"))
    """

    id: str
    folder: Path
    form: Form
    instruction: str
    context: Path
    """What its recipe may copy from."""
    recipe: Path
    """Its Dockerfile, which need not be there where `image` is named."""
    image: str = ""
    """Of docker, ready made."""
    tests: tuple[Path, ...]
    """Files and folders whose contents are /tests."""
    script: str
    """Below /tests: what judges."""
    solution: tuple[Path, ...] = ()
    """The same for /solution; empty where nobody knows one."""
    solve: str = ""
    """Below /solution."""
    env: Mapping[str, str] = field(default_factory=dict)
    test_env: Mapping[str, str] = field(default_factory=dict)
    solve_env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    """In place of the recipe's own."""
    is_separate: bool = False
    """Tests run in an image of their own, which gets `artifacts` of the agent's box and no more."""
    artifacts: tuple[str, ...] = ()
    """Absolute paths."""
    agent_s: float | None = None
    test_s: float = 600.0
    build_s: float = 600.0
    memory_mb: int = 0
    """That it asks for, 0 for none; so is the next."""
    storage_mb: int = 0

    @property
    def judge(self) -> Foreign:
        """The image of the tests, where it is a separate one, as if it were the task's own."""
        own = self.folder / "tests/Dockerfile"
        if not own.is_file():
            return self
        return replace(self, recipe=own, context=own.parent, workdir="", image="")

    @property
    def recipe_name(self) -> str:
        """As a person is told of it."""
        return str(self.recipe.relative_to(self.folder))

    def digest(self) -> str:
        """Of all that is in the folder. Hex."""
        whole = hashlib.sha256()
        for name, contents in files_of((self.folder,)):
            whole.update(f"{len(name)} {name} {len(contents)}\n".encode(errors="surrogateescape"))
            whole.update(contents)
        return whole.hexdigest()


def files_of(parts: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    """(path, contents) of what is in folders, and of single files; no link is followed.

    Raises:
        BadFolder: there is a link, or a file that cannot be read.
    """
    for part in parts:
        for path in [part] if not part.is_dir() else sorted(part.rglob("*")):
            name = path.name if path == part else str(path.relative_to(part))
            if path.is_symlink():
                raise BadFolder(f"{path} is a link: put the file itself there")
            if path.is_file():
                try:
                    yield name, path.read_bytes()
                except OSError as failure:
                    raise BadFolder(f"{path} cannot be read: {failure.strerror}") from failure


def read_harbor(path: Path) -> Foreign:
    """The task in a folder of Harbor's form.

    Raises:
        BadFolder: there is none, or one that no box of ours can be.
    """
    try:
        told = tomllib.loads((path / "task.toml").read_text())
    except (OSError, ValueError) as error:
        raise BadFolder(f"{path}/task.toml cannot be read: {error}") from error
    tables = {}
    for name in ("task", "environment", "agent", "verifier", "solution", "metadata"):
        table = told.get(name, {})
        if not isinstance(table, dict):
            raise BadFolder(f"{path}/task.toml: {name} is {table!r:.40}, and must be a table")
        tables[name] = table
    box, verifier = tables["environment"], tables["verifier"]
    _refuse_more(path, told, box, verifier)
    where = f"{path}/task.toml: "
    for name in ("instruction.md", "tests/test.sh"):
        if not (path / name).is_file():
            raise BadFolder(f"{path}: there is no {name} in it")
    instruction = (path / "instruction.md").read_text(errors="replace")
    if not instruction.strip():
        raise BadFolder(f"{path}/instruction.md is empty: it is what the agent is asked")
    made = Foreign(
        id=checked_id(path),
        folder=path,
        form="harbor",
        instruction=instruction,
        context=path / "environment",
        recipe=path / "environment/Dockerfile",
        image=str(box.get("docker_image") or ""),
        tests=(path / "tests",),
        script="test.sh",
        solution=(path / "solution",) if (path / "solution/solve.sh").is_file() else (),
        solve="solve.sh",
        env=_variables(box.get("env"), where + "environment.env"),
        test_env={
            **_variables(
                _table(verifier, "environment").get("env"), where + "verifier.environment.env"
            ),
            **_variables(verifier.get("env"), where + "verifier.env"),
        },
        solve_env=_variables(tables["solution"].get("env"), where + "solution.env"),
        workdir=str(box.get("workdir") or ""),
        is_separate=verifier.get("environment_mode") == "separate" or "environment" in verifier,
        artifacts=_artifacts(told.get("artifacts", []), where + "artifacts"),
        agent_s=number(tables["agent"].get("timeout_sec"), where + "agent.timeout_sec"),
        test_s=number(verifier.get("timeout_sec"), where + "verifier.timeout_sec") or 600.0,
        build_s=number(box.get("build_timeout_sec"), where + "environment.build_timeout_sec")
        or 600.0,
        memory_mb=_size(box, "memory", where),
        storage_mb=_size(box, "storage", where),
    )
    refuse_network(made)
    return made


def _refuse_more(
    path: Path, told: Mapping[str, Any], box: Mapping[str, Any], verifier: Mapping[str, Any]
) -> None:
    """What no box of ours has."""
    os_name = str(box.get("os") or "linux").lower()
    reasons = [
        ("steps", told.get("steps"), "tasks of several steps are not played here"),
        ("environment.os", os_name != "linux" and os_name, "boxes are Linux"),
        ("environment.gpus", box.get("gpus"), "no box has a graphics card"),
        ("environment.tpu", box.get("tpu"), "no box has one"),
        ("environment.mcp_servers", box.get("mcp_servers"), "no server of tools runs in a box"),
        (
            "environment.network_mode",
            box.get("network_mode") == "allowlist" and "allowlist",
            "boxes have no network",
        ),
        (
            "verifier.environment.docker_image",
            _table(verifier, "environment").get("docker_image"),
            "tests run in an image that a recipe makes",
        ),
        ("verifier.collect", verifier.get("collect"), "a box is of one service"),
    ]
    for name, value, why in reasons:
        if value:
            shown = f" = {value!r}" if isinstance(value, str | int | float) else ""
            raise BadFolder(f"{path}/task.toml: {name}{shown}: {why}")
    composed = sorted((path / "environment").glob("*compose*.y*ml"))
    if composed:
        raise BadFolder(
            f"{path}: environment/{composed[0].name} asks for services of its own, and a box is one"
        )


def _table(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = told.get(name)
    return table if isinstance(table, dict) else {}


def _artifacts(told: Any, where: str) -> tuple[str, ...]:
    """Paths of the agent's box that tests of a separate image get, Harbor's own folder first."""
    found = ["/logs/artifacts"]
    for entry in told if isinstance(told, list) else [told]:
        source = entry.get("source") if isinstance(entry, dict) else entry
        if isinstance(entry, dict) and (more := sorted({"exclude", "service"} & set(entry))):
            raise BadFolder(f"{where}: {more[0]} is not known here: name what is wanted by source")
        parts = source.split("/") if isinstance(source, str) else ()
        is_path = isinstance(source, str) and source.startswith("/") and bool(source.strip("/"))
        if not is_path or ".." in parts:
            raise BadFolder(f"{where}: {source!r:.60} must be a path from / on, without '..'")
        found.append(str(source))
    return tuple(dict.fromkeys(found))


def checked_id(path: Path) -> str:
    """The name of the folder, as a task's.

    Raises:
        BadFolder: it is none.
    """
    name = path.resolve().name
    if not ID.fullmatch(name):
        raise BadFolder(f"{name!r:.80} is no name of a task: letters, digits and ._- are")
    return name


def number(value: Any, where: str) -> float | None:
    """A number of seconds, None for none.

    Raises:
        BadFolder: it is no such number.
    """
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= sys.float_info.max:
        raise BadFolder(f"{where} = {value!r:.40}: give a number above 0")
    return float(value)


def _size(box: Mapping[str, Any], name: str, where: str) -> int:
    """MiB, from `memory_mb = 2048` or as it was written of old, `memory = "2G"`."""
    if (plain := box.get(f"{name}_mb")) is not None:
        return int(number(plain, f"{where}environment.{name}_mb") or 0)
    text = box.get(name)
    if text is None:
        return 0
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG])[iI]?[bB]?\s*", str(text), re.IGNORECASE)
    if found is None:
        raise BadFolder(f"{where}environment.{name} = {text!r:.40}: write '2G' or '512M'")
    return math.ceil(float(found[1]) * {"K": 1 / 1024, "M": 1, "G": 1024}[found[2].upper()])


def _variables(table: Any, where: str) -> dict[str, str]:
    """Of a table of variables; `${NAME:-value}` is its value, for no box sees the host's own."""
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise BadFolder(f"{where} is {table!r:.40}, and must be a table")
    found = {}
    for name, value in table.items():
        for wanted in _MADE_OF.finditer(str(value)):
            if wanted[2] is None:
                raise BadFolder(
                    f"{where}.{name} takes {wanted[1]} from this machine, whose variables no box "
                    "sees: write its value, or a default"
                )
        found[str(name)] = _MADE_OF.sub(lambda wanted: wanted[2], str(value))
    return found


def refuse_network(task: Foreign) -> None:
    """Tests that fetch what they need would fail whatever the agent did.

    Raises:
        BadFolder: names the line.
    """
    for part in task.tests:
        path = part / task.script if part.is_dir() else part
        if path.name == task.script and path.is_file():
            line = asks_others(path.read_text(errors="replace"))
            if line is not None:
                name = path.relative_to(task.folder)
                raise BadFolder(
                    f"{task.folder}: {name} line {line[0]}, {line[1]!r:.80}, needs the network, "
                    "and no box has one: put what it fetches into the image, or into packages ="
                )


def asks_others(script: str) -> tuple[int, str] | None:
    """The first line of a shell's script that asks other machines, and its number."""
    for at, line in enumerate(script.splitlines(), 1):
        text = line.strip()
        if not text.startswith("#") and NETWORK.search(text):
            return at, text
    return None
