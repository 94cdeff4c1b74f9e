"""The inside of `main.py`: questions to the methods of a `Side`, and what they say back.

Methods may be sync or async. Async ones share one event loop, sync ones run one at a time in the
main thread, or up to `Side.at_once` of them in threads. Standard library only, Python 3.10.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import difflib
import importlib.util
import inspect
import itertools
import json
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

MOST_BYTES = 16 << 20
"""Of one answer."""
STOP_S = 2.0
MOST_REPLIES = 1000
HERE = os.path.dirname(os.path.abspath(__file__))
OURS = ("main.py", "serve.py")


class Refusal(Exception):
    """The environment cannot be used as it was asked for; the message says why in one line."""


def serve(file: str, asked: int, answers: int) -> None:
    """Answer questions until they end. Never returns."""
    desk = Desk(file, answers)
    asyncio.run(desk.work(asked))
    os._exit(0)  # threads that somebody's package left running are not waited for


class Desk:
    """One side and its open episodes."""

    def __init__(self, file: str, answers: int) -> None:
        self._file, self._answers = file, answers
        self._lock = threading.Lock()
        self._side: Any = None
        self._episodes: dict[str, Any] = {}
        self._policies: dict[str, Any] = {}
        self._tasks: dict[str, _Tasks] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        """One question of an episode after the other, in the order in which they were asked."""

    async def work(self, asked: int) -> None:
        """Take questions from the descriptor until it ends, then stop the side."""
        loop = asyncio.get_running_loop()
        lines: asyncio.Queue[bytes] = asyncio.Queue()

        def read() -> None:
            with os.fdopen(asked, "rb") as stream:
                for line in stream:
                    loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, b"")
            time.sleep(STOP_S)  # the loop may be held up by what it runs
            os._exit(0)

        threading.Thread(target=read, daemon=True, name="questions").start()
        while line := await lines.get():
            # kept, for the loop itself holds its tasks only weakly
            task = asyncio.ensure_future(self._answer(json.loads(line)))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        if self._side is not None and hasattr(self._side, "stop"):
            await self._call(self._side.stop)

    async def _answer(self, question: Mapping[str, Any]) -> None:
        """One question, answered whatever happens."""
        mark = {"id": question["id"], "episode": question["episode"]}
        try:
            async with self._turn(question["episode"]):
                said = await getattr(self, f"_do_{question['do']}")(question)
            line = json.dumps({**mark, **said}, allow_nan=False)
            if len(line) >= MOST_BYTES:
                raise ValueError(f"{question['do']} would answer {len(line):,} bytes")
        except Refusal as refusal:
            line = json.dumps({**mark, "error": str(refusal), "kind": "refused"})
        except BaseException as error:  # noqa: BLE001 - all of it is the package's, and is told
            line = json.dumps({**mark, "error": blame(error), "kind": "raised"})
        rest = memoryview(line.encode("ascii") + b"\n")
        with self._lock:
            while rest:
                rest = rest[os.write(self._answers, rest) :]

    def _turn(self, episode: str) -> asyncio.Lock:
        if not episode:
            return asyncio.Lock()
        return self._turns.setdefault(episode, asyncio.Lock())

    async def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        """A method of the side's, sync or async."""
        if inspect.iscoroutinefunction(method) or self._threads is None:
            result = method(*args)
        else:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._threads, method, *args)
        return await result if inspect.isawaitable(result) else result

    async def _do_open(self, question: Mapping[str, Any]) -> dict[str, Any]:
        made = _made(self._file, question["args"])
        at_once = int(getattr(made, "at_once", 1))
        if at_once > 1:
            self._threads = ThreadPoolExecutor(at_once)
        if hasattr(made, "begin"):
            await _refusing(self._call(made.begin))
        self._side = made
        stem = os.path.splitext(os.path.basename(self._file))[0]
        return {
            "name": getattr(made, "name", stem),
            "at_once": at_once,
            "restores": getattr(made, "restores", hasattr(made, "restore")),
            "compares": getattr(made, "compares", hasattr(made, "group")),
            "budget": getattr(made, "budget", {}),
            "tools": getattr(made, "tools", []),
            "more": getattr(made, "more", {}),
            "python": platform.python_version(),
        }

    async def _do_tasks(self, question: Mapping[str, Any]) -> dict[str, Any]:
        split = question["split"]
        if split not in self._tasks:
            self._tasks[split] = _Tasks(await _refusing(self._call(self._side.tasks, split)))
        paging = self._call(self._tasks[split].page, question["start"], question["most"])
        page: dict[str, Any] = await _refusing(paging)
        return page

    async def _do_start(self, question: Mapping[str, Any]) -> dict[str, Any]:
        saved = question.get("saved")
        if saved is None:
            episode = await self._call(self._side.start, question["task"])
        else:
            episode = await self._call(
                self._side.restore, question["task"], base64.b64decode(saved)
            )
        self._episodes[question["episode"]] = episode
        return {}

    async def _do_reply(self, question: Mapping[str, Any]) -> dict[str, Any]:
        said = await self._call(
            self._side.reply, self._episodes[question["episode"]], question["message"]
        )
        return said if isinstance(said, dict) else {"observations": said}

    async def _do_grade(self, question: Mapping[str, Any]) -> dict[str, Any]:
        said = await self._call(
            self._side.grade, self._episodes[question["episode"]], question["trajectory"]
        )
        if isinstance(said, dict):
            return said
        if isinstance(said, bool):
            return {"reward": float(said), "passed": said}
        if said is None:
            raise ValueError("the grade is None, so the attempt is unscored")
        return {"reward": float(said)}

    async def _do_save(self, question: Mapping[str, Any]) -> dict[str, Any]:
        saved = await self._call(self._side.save, self._episodes[question["episode"]])
        return {"saved": None if saved is None else base64.b64encode(saved).decode()}

    async def _do_close(self, question: Mapping[str, Any]) -> dict[str, Any]:
        self._turns.pop(question["episode"], None)
        episode = self._episodes.pop(question["episode"], None)
        if episode is not None:
            await self._call(self._side.close, episode)
        return {}

    async def _do_gold(self, question: Mapping[str, Any]) -> dict[str, Any]:
        gold = None
        if hasattr(self._side, "gold"):
            gold = await self._call(self._side.gold, question["task"])
        if not callable(gold):
            return {"replies": gold}
        policy = f"p{len(self._policies)}"
        self._policies[policy] = gold
        return {"policy": policy}

    async def _do_turn(self, question: Mapping[str, Any]) -> dict[str, Any]:
        return {"message": await self._call(self._policies[question["policy"]], question["seen"])}

    async def _do_forget(self, question: Mapping[str, Any]) -> dict[str, Any]:
        if hasattr(self._side, "forget"):
            saved = base64.b64decode(question["saved"])
            await self._call(self._side.forget, question["task"], saved)
        return {}

    async def _do_careless(self, question: Mapping[str, Any]) -> dict[str, Any]:
        if not hasattr(self._side, "careless"):
            return {"reply": None}
        return {"reply": await self._call(self._side.careless, question["task"], question["draw"])}

    async def _do_group(self, question: Mapping[str, Any]) -> dict[str, Any]:
        given = (question["task"], question["trajectories"], question["grades"])
        return {"grades": await self._call(self._side.group, *given)}


class _Tasks:
    """A side's tasks, by pages: a sequence, or an iterator that is read as far as is needed."""

    def __init__(self, tasks: Any) -> None:
        self._is_whole = hasattr(tasks, "__len__") and hasattr(tasks, "__getitem__")
        self._read: Sequence[Any] = tasks if self._is_whole else []
        self._stream: Iterator[Any] = iter(()) if self._is_whole else iter(tasks)
        self._lock = threading.Lock()

    def page(self, start: int, most: int) -> dict[str, Any]:
        """Up to `most` tasks from `start` on."""
        if self._is_whole:
            size = len(self._read)
            tasks = [self._read[place] for place in range(start, min(size, start + most))]
            return {"tasks": tasks, "size": size, "is_end": start + most >= size}
        with self._lock:
            assert isinstance(self._read, list)
            wanted = start + most
            self._read.extend(itertools.islice(self._stream, max(0, wanted - len(self._read))))
            tasks = self._read[start:wanted]
        return {"tasks": tasks, "size": None, "is_end": len(tasks) < most}


async def _refusing(work: Any) -> Any:
    """What is wrong with the arguments or the data is a sentence, not an accident."""
    try:
        return await work
    except ValueError as error:
        raise Refusal(_one_line(error)) from error


def _made(file: str, args: Mapping[str, Any]) -> Any:
    """The side of a file, made with these arguments.

    Raises:
        Refusal: it cannot be; says why, and what mends it.
    """
    module = _loaded(file)
    found = getattr(module, "Side", None)
    if not inspect.isclass(found):
        raise Refusal(f"{file} holds no class Side")
    for needed in ("tasks", "start", "reply", "grade", "close"):
        if not callable(getattr(found, needed, None)):
            raise Refusal(f"{file}: Side lacks {needed}")
    _check_args(found, args)
    try:
        return found(**args)
    except ImportError as error:
        raise Refusal(_mend(file, error)) from error
    except (ValueError, Refusal) as error:
        raise Refusal(_one_line(error)) from error


def _loaded(file: str) -> Any:
    stem = os.path.splitext(os.path.basename(file))[0]
    name = f"munro_side_of_{stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = os.path.dirname(os.path.abspath(file))
    # for helpers beside it; beside ours lie files that are called like packages
    sys.path.append(folder if folder != HERE else os.path.join(HERE, "parts"))
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Refusal(_mend(file, error)) from error
    except Exception as error:
        raise Refusal(f"{file} cannot be loaded: {blame(error)}") from error
    return module


def _mend(file: str, error: ImportError) -> str:
    """Which package is missing or broken, and the command that mends it."""
    python = sys.executable
    install = _install(file).replace("{python}", python)
    way_out = f": {python} -m pip install {install}" if install else ""
    return f"{python} cannot import what the side needs ({_one_line(error)}){way_out}"


def _install(file: str) -> str:
    """What a side says as `INSTALL`, read from its source: it may not have come that far."""
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read())
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="INSTALL")], value=ast.Constant(value=install)):
                return str(install)
    return ""


def _check_args(found: Any, args: Mapping[str, Any]) -> None:
    parameters = inspect.signature(found).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for name in args:
        if name not in parameters:
            close = difflib.get_close_matches(name, parameters, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {', '.join(parameters)}"
            raise Refusal(f"the side takes no argument {name!r}: {hint}")
    for name, one in parameters.items():
        is_plain = one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)
        if is_plain and one.default is one.empty and name not in args:
            raise Refusal(f"the side needs the argument {name!r}")


def blame(error: BaseException) -> str:
    """What and where, in one line: "KeyError: 'x' (mine.py:12)"."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if os.path.dirname(os.path.abspath(frame.filename)) != HERE
        or os.path.basename(frame.filename) not in OURS
    ]
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {_one_line(error)}{place}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
