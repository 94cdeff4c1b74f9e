"""The older form of terminal-bench's folders, as far as a single box can be what they ask for.

task.yaml            instruction, seconds of the agent and of the tests, what reads their output
docker-compose.yaml  one service, built of the Dockerfile beside it
run-tests.sh, tests/ run after the agent; pytest's summary is what is paid
solution.sh          the solution; one of keystrokes (solution.yaml) is not played
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.folder import Foreign, checked_id, number, refuse_network

SCRIPT = "run-tests.sh"
ENV = {"TEST_DIR": "/tests"}
ORDINARY = {
    "build", "image", "container_name", "command", "environment", "volumes", "deploy", "stdin_open",
    "tty", "init", "cpus", "mem_limit", "restart", "working_dir", "hostname",
}  # fmt: skip
"""What a service may say without asking for more than a box."""


def read_terminal(path: Path) -> Foreign:
    """The task in a folder of that form.

    Raises:
        BadFolder: it is none, or more than one box can be.
    """
    told = _yaml(path / "task.yaml")
    instruction = told.get("instruction")
    if not isinstance(instruction, str) or not instruction.strip():
        raise BadFolder(f"{path}/task.yaml: there is no instruction, which is what the agent reads")
    parser = str(told.get("parser_name", "pytest"))
    if parser != "pytest":
        raise BadFolder(f"{path}/task.yaml: parser_name = {parser!r}: only pytest's words are read")
    if told.get("run_tests_in_same_shell"):
        raise BadFolder(
            f"{path}/task.yaml: run_tests_in_same_shell: tests run in a box of their own"
        )
    for name in (SCRIPT, "Dockerfile"):
        if not (path / name).is_file():
            raise BadFolder(f"{path}: there is no {name} in it")
    env, workdir = _service(path)
    made = Foreign(
        id=checked_id(path),
        folder=path,
        form="terminal-bench",
        instruction=instruction,
        context=path,
        recipe=path / "Dockerfile",
        tests=(*([path / "tests"] if (path / "tests").is_dir() else []), path / SCRIPT),
        script=SCRIPT,
        solution=(path / "solution.sh",) if (path / "solution.sh").is_file() else (),
        solve="solution.sh",
        env={**env, **ENV},
        workdir=workdir,
        agent_s=number(told.get("max_agent_timeout_sec"), f"{path}: max_agent_timeout_sec"),
        test_s=number(told.get("max_test_timeout_sec"), f"{path}: max_test_timeout_sec") or 60.0,
    )
    refuse_network(made)
    return made


def _service(path: Path) -> tuple[dict[str, str], str]:
    """(variables, working directory) of the one service; nothing where no file composes any."""
    composed = path / "docker-compose.yaml"
    if not composed.is_file():
        return {}, ""
    services = _yaml(composed).get("services")
    if not isinstance(services, dict) or len(services) != 1:
        named = ", ".join(map(str, services)) if isinstance(services, dict) else "none"
        raise BadFolder(f"{composed} has the services {named}: a box is one")
    ((name, service),) = services.items()
    service = service if isinstance(service, dict) else {}
    if more := sorted(set(service) - ORDINARY):
        raise BadFolder(f"{composed}: {name}.{more[0]} asks for more than a box has")
    built = service.get("build")
    recipe = built.get("dockerfile", "Dockerfile") if isinstance(built, dict) else "Dockerfile"
    if recipe != "Dockerfile":
        raise BadFolder(f"{composed}: {name}.build.dockerfile = {recipe!r:.40}: name it Dockerfile")
    return _environment(service.get("environment"), composed), str(service.get("working_dir") or "")


def _environment(told: Any, composed: Path) -> dict[str, str]:
    """Variables that are said in full; those that the runner would fill in are its own."""
    pairs = list(told.items()) if isinstance(told, dict) else []
    if isinstance(told, list):
        pairs = [(each.partition("=")[0], each.partition("=")[2]) for each in map(str, told)]
    elif told is not None and not isinstance(told, dict):
        raise BadFolder(f"{composed}: environment must be a table or a list of NAME=VALUE")
    return {str(name): str(value) for name, value in pairs if "${" not in str(value)}


def _yaml(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        told = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise BadFolder(f"{path} cannot be read: {line:.200}") from error
    if not isinstance(told, dict):
        raise BadFolder(f"{path} holds no table")
    return told
