"""Carries a recipe out on the back end of namespaces: each step is a layer, named by its digest.

    FROM              what this machine can stand for: Debian or Ubuntu, or Python of its version
    WORKDIR ENV ARG   as they are
    COPY ADD          files of the task's own folder (`copying`)
    RUN               in a box without network, whose user is nobody; what it writes is the layer

Anything else is refused in one line that names the line of the recipe. The same recipe over the
same files is carried out once a store: `.recipes` in it says what came of it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import posixpath
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from munro.envs.harbor.built import Built
from munro.envs.harbor.copying import copied, is_system, made_folder
from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.folder import Foreign, asks_others, files_of
from munro.envs.harbor.recipe import Instruction, filled, read_recipe
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, Layer, Limits, Sandbox
from munro.rewards.sandbox.image import find_layer, write_layer
from munro.rewards.sandbox.tree import Writer

VERSION = 1
"""Of what a recipe comes to: another one carries all of them out again."""
RECIPES = ".recipes"
FOLDERS = (
    "home", "logs", "logs/agent", "logs/artifacts", "logs/verifier", "mnt", "root", "run", "srv",
    "var", "var/log", "var/tmp",
)  # fmt: skip
"""Of every image, beside what a box has by itself."""
LINUX = re.compile(
    r"(?:docker\.io/)?(?:library/)?(?:ubuntu|debian|buildpack-deps)(?::[\w.-]+)?"
    r"|ghcr\.io/laude-institute/t-bench/ubuntu-[\w.-]+(?::[\w.-]+)?"
)
PYTHON = re.compile(
    r"(?:docker\.io/)?(?:library/)?python(?::(?P<tag>[\w.-]+))?"
    r"|ghcr\.io/laude-institute/t-bench/python-(?P<dashed>\d+-\d+)(?::[\w.-]+)?"
)
LIMITS = Limits(
    cpu_s=600, memory_mb=2048, processes=256, open_files=1024, output_bytes=16_384, disk_mb=1024,
    inodes=131_072,
)  # fmt: skip


def build(task: Foreign, store: Path, box: Callable[[], Sandbox], *, hides: bool = True) -> Built:
    """What the task's recipe comes to.

    Args:
        box: gives a sandbox of that store; asked for where something has to be run.
        hides: agents see it, so it must not hold the solution or the tests.

    Raises:
        BadFolder: it cannot be carried out here; names the line.
        SandboxError: the sandbox failed.
    """
    if not task.recipe.is_file():
        if task.image:
            raise BadFolder(
                f"{task.folder}: docker_image = {task.image!r} is docker's: "
                "backend = 'docker' has it, where an engine runs"
            )
        raise BadFolder(f"{task.folder}: there is no {task.recipe_name} in it")
    text = task.recipe.read_text(errors="replace")
    place = f"{task.folder.name}/{task.recipe_name}"
    steps = read_recipe(text, place)
    note = store / RECIPES / f"{_key(text, task)}.json"
    if (known := _known(note, store)) is not None:
        return known
    builder = _Builder(task, store, box)
    for step in steps:
        builder.take(step)
    if hides:
        _refuse_answers(task, builder.layers)
    if task.workdir:
        builder.go_to(posixpath.join("/", task.workdir))
    note.parent.mkdir(parents=True, exist_ok=True)
    said = {
        "layers": [layer.digest for layer in builder.layers],
        "workdir": builder.workdir,
        "env": builder.env,
    }
    fresh = note.with_suffix(".new")
    fresh.write_text(json.dumps(said))
    fresh.rename(note)
    return builder.built()


def _key(text: str, task: Foreign) -> str:
    said = [VERSION, text, task.workdir, task.env, platform.platform(), sys.version]
    whole = hashlib.sha256(json.dumps(said, sort_keys=True, default=dict).encode())
    for name, contents in files_of((task.context,)):
        whole.update(f"{len(name)} {name} {len(contents)}\n".encode(errors="surrogateescape"))
        whole.update(contents)
    return whole.hexdigest()


def _known(note: Path, store: Path) -> Built | None:
    """What it came to before, if all of that is still there."""
    try:
        said = json.loads(note.read_text())
        layers = tuple(find_layer(digest, store) for digest in said["layers"])
    except (OSError, ValueError, SandboxError):
        return None
    image = Image(layers=layers, is_root=True)
    return Built(image=image, workdir=said["workdir"], env=said["env"])


def stands_for(name: str) -> bool:
    """Whether this machine can be taken for that image."""
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    if "alpine" in name:
        return False
    if found := PYTHON.fullmatch(name):
        wanted = (found["dashed"] or "").replace("-", ".") or (found["tag"] or "latest")
        version = re.match(r"\d+(?:\.\d+)?", wanted)
        return version is None or f"{mine}.".startswith(f"{version[0]}.")
    return LINUX.fullmatch(name) is not None


def _base(writer: Writer) -> None:
    for name in FOLDERS:
        mode = 0o1777 if name == "var/tmp" else 0o755
        writer.folder(name.encode(), mode, None, is_opaque=False)


class _Builder:
    """A recipe, as far as it has been carried out."""

    def __init__(self, task: Foreign, store: Path, box: Callable[[], Sandbox]) -> None:
        self.layers = [write_layer(store, _base)]
        self.env = {"HOME": "/root"}
        self.workdir = "/"
        self._task, self._store, self._box = task, store, box
        self._args: dict[str, str] = {}
        self._shell = ["/bin/sh", "-c"]
        self._is_begun = False

    def built(self) -> Built:
        image = Image(layers=tuple(self.layers), is_root=True)
        return Built(image=image, workdir=self.workdir, env=self.env)

    def take(self, step: Instruction) -> None:
        """One instruction.

        Raises:
            BadFolder: it cannot be carried out here.
        """
        if not self._is_begun and step.name not in ("ARG", "FROM"):
            raise step.refused("there is no FROM before it")
        match step.name:
            case "FROM":
                self._begin(step)
            case "ARG":
                name, _, value = step.rest.partition("=")
                self._args[name.strip()] = filled(value.strip().strip("\"'"), self._values)
            case "ENV":
                pairs = step.pairs().items()
                self.env |= {name: filled(value, self._values) for name, value in pairs}
            case "WORKDIR":
                self.go_to(posixpath.join(self.workdir, filled(step.rest, self._values)), step)
            case "VOLUME":
                for path in step.words():
                    self._have(posixpath.join(self.workdir, filled(path, self._values)), step)
            case "COPY" | "ADD":
                self._copy(step)
            case "RUN":
                self._run(step)
            case "SHELL":
                words = step.exec_form
                if not words:
                    raise step.refused('write it as ["/bin/bash", "-c"]')
                self._shell = words
            case "ENTRYPOINT" if step.exec_form != []:
                raise step.refused("nothing runs in a box but what the agent and the tests start")
            case "ONBUILD":
                raise step.refused("it is for images made of this one, and there are none")
            # the rest says nothing of what is in a box, whose user is one and whose commands
            # come from elsewhere

    @property
    def _values(self) -> dict[str, str]:
        return {**self._args, **self.env}

    def _begin(self, step: Instruction) -> None:
        if self._is_begun:
            raise step.refused("an image of several stages is not made here")
        name = filled(step.words()[0] if step.words() else "", self._args)
        if not stands_for(name):
            mine = f"python:{sys.version_info.major}.{sys.version_info.minor}"
            raise step.refused(
                f"this machine cannot stand for {name!r}: debian, ubuntu and {mine} it can, "
                "and backend = 'docker' has others"
            )
        self._is_begun = True

    def go_to(self, path: str, step: Instruction | None = None) -> None:
        """Have it as the working directory."""
        self.workdir = self._have(path, step)

    def _have(self, path: str, step: Instruction | None) -> str:
        path = posixpath.normpath(path)
        if is_system(path) and step is not None:
            raise step.refused(f"{path} is the machine's own in a box, and cannot be written")
        self.layers += made_folder(path, self.layers, self._store)
        return path

    def _copy(self, step: Instruction) -> None:
        layer, archives = copied(
            step,
            self._task.context,
            workdir=self.workdir,
            values=self._values,
            layers=self.layers,
            store=self._store,
        )
        self.layers.append(layer)
        for archive, folder in archives:
            name = ".munro-archive"
            unpack = f'tar -xf "/{name}" --no-same-owner -C "$0" && rm "/{name}"'
            self._step(step, ["sh", "-c", unpack, folder], {name: archive.read_bytes()})

    def _run(self, step: Instruction) -> None:
        for flag, value in step.flags.items():
            is_cache = flag == "mount" and re.search(r"type=(?:cache|tmpfs)", value)
            if not is_cache and (flag, value) != ("network", "none"):
                raise step.refused(f"--{flag} is not known here")
        script = "".join([step.rest, *(f"\n{body}{word}" for word, body in step.bodies), "\n"])
        if re.fullmatch(r"<<-?[\"']?\w+[\"']?", step.rest.strip()):
            script = step.bodies[0][1]
            if script.startswith("#!"):
                raise step.refused("a here-document with an interpreter of its own: COPY it")
        if asks_others(script) is not None:
            raise step.refused("it needs the network, which no box has")
        self._step(step, step.exec_form or [*self._shell, script], {})

    def _step(self, step: Instruction, command: list[str], files: dict[str, bytes]) -> None:
        """Run it, and keep what it wrote."""
        limits = replace(LIMITS, wall_s=self._task.build_s, cpu_s=self._task.build_s)
        built = self.built()
        with self._box().session(image=built.image, files=files, limits=limits) as session:
            done = session.run(built.command(*command, more=self._args), clip=True, interleave=True)
            if not done.is_ok:
                said = done.stdout.decode(errors="replace").strip().splitlines()
                why = f"it ended with status {done.status}"
                if done.limit is not None:
                    why = f"it was over its {done.limit}"
                raise step.refused(f"{why} in a box: {said[-1][:160]}" if said else why)
            if session.changes(0):
                self.layers.append(session.freeze())


def _refuse_answers(task: Foreign, layers: list[Layer]) -> None:
    """No image holds what its task hides."""
    hidden = {
        contents: name
        for name, contents in files_of((*task.tests, *task.solution))
        if contents.strip() and name.endswith((".sh", ".py"))
    }
    sizes = {len(contents) for contents in hidden}
    for layer in layers:
        for path in layer.path.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size not in sizes:
                continue
            if (name := hidden.get(path.read_bytes())) is not None:
                shown = path.relative_to(layer.path)
                raise BadFolder(
                    f"{task.folder}: its image has {name} of the hidden side, as /{shown}"
                )
