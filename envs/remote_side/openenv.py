"""OpenEnv (0.10): a server of environments, and one WebSocket for each episode.

    [env.args]
    python = "/path/to/venv/bin/python"
    side = "openenv"
    server = "word_env"             # what `openenv init word_env` made; or url = "http://..."
    seeds = 200                     # or rows = "tasks.jsonl", or what the server itself lists

A server of ours runs in a thread of this process and ends with it. A session is a WebSocket: the
system closes it when we are killed, and the server then frees what the session held.

A row is `{"id", "reset", "prompt", "gold", "split"}`, all optional: `reset` goes to the
environment's reset, and without a prompt what reset shows is the prompt. A turn of `gold` is a
text, or calls: `[{"name": "step", "arguments": {...}}]`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any

INSTALL = "openenv==0.10.0"
FILES = ("server", "rows")
STEP = "step"
CAPACITY_S = 10.0
"""How long a place on the server is waited for: that of a session just closed frees late."""
READY_S = 60.0
MOST_BYTES = 8 << 20
WAYS = ("last", "sum", "max")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""No proxy stands between us and a server on this machine."""


class Side:
    """An OpenEnv server's environment."""

    name = "openenv"
    at_once = 64

    def __init__(
        self,
        server: str = "",
        url: str = "",
        rows: str = "",
        seeds: int = 0,
        say: str = "",
        system: str = "",
        reward: str = "last",
        pass_at: float = 1.0,
        sessions: int = 1,
    ) -> None:
        """
        Args:
            server: folder of an environment, which is served here.
            url: of a server that runs already.
            rows: JSON lines, one task each.
            seeds: so many tasks, each a seed of reset; test tasks are a fifth more, beyond them.
            say: field of the action that takes a turn's whole text; without it the policy calls
                the server's tools, or the one tool `step`.
            system: a system message before every prompt.
            reward: of an episode, out of its steps': the last, the sum or the max.
            pass_at: reward from which on an episode has passed.
            sessions: that the server takes at once (`max_concurrent_envs` in its app.py).
        """
        if bool(server) == bool(url):
            raise ValueError("give server (a folder that openenv init made) or url, one of them")
        if reward not in WAYS:
            raise ValueError(f"reward = {reward!r}: it is one of {', '.join(WAYS)}")
        self._connect = importlib.import_module("websockets.asyncio.client").connect
        self._rows = _read_rows(rows) if rows else []
        self._seeds, self._say, self._system = seeds, say, system
        self._reward, self._pass_at = reward, pass_at
        self.budget = {"boxes": sessions}
        self.url = (url or _served(server)).rstrip("/")
        self._schema: dict[str, Any] = {}
        self._tools: list[dict[str, Any]] = []
        self._is_mcp = False

    async def begin(self) -> None:
        """Hear which actions there are."""
        said = await asyncio.to_thread(_fetched, f"{self.url}/schema")
        self._schema = dict(said["action"])
        fields = dict(self._schema.get("properties") or {})
        fields.pop("metadata", None)
        if self._say:
            if fields.get(self._say, {}).get("type") != "string":
                there = ", ".join(fields)
                raise ValueError(f"say = {self._say!r}: no text of the action; it has {there}")
            return
        # an action of the generic kind is a call of a tool that the server lists
        self._is_mcp = not fields or {"tool_name", "arguments"} <= set(fields)
        if self._is_mcp:
            self._tools = await self._listed()
        else:
            parameters = {**self._schema, "properties": fields}
            parameters.pop("title", None)
            told = self._schema.get("description") or "Act in the environment."
            self._tools = [_tool(STEP, told, parameters)]

    async def tasks(self, split: str) -> list[dict[str, Any]]:
        """Rows, or seeds, or what the server lists."""
        if self._rows:
            rows = [row for row in self._rows if row.get("split", "train") == split]
        elif self._seeds:
            first, most = (0, self._seeds) if split == "train" else (self._seeds, self._seeds // 5)
            rows = [{"id": f"seed-{n}", "reset": {"seed": n}} for n in range(first, first + most)]
        else:
            rows = await asyncio.to_thread(_listed_tasks, self.url, split)
        return [await self._task(row) for row in rows]

    async def _task(self, row: dict[str, Any]) -> dict[str, Any]:
        reset = row.get("reset") or {}
        prompt, shown = row.get("prompt"), ""
        if not prompt:
            session = await self._opened(reset)
            await session.close()
            prompt = shown = session.shown
        messages = [{"role": "system", "content": self._system}] if self._system else []
        return {
            "id": row["id"],
            "messages": [*messages, {"role": "user", "content": prompt}],
            "tools": self._tools,
            "payload": {"reset": reset, "shown": shown, "gold": row.get("gold")},
        }

    async def start(self, task: dict[str, Any]) -> Session:
        """A session of the server's own, reset as the task says."""
        payload = task["payload"]
        session = await self._opened(payload["reset"])
        if payload["shown"] and session.shown != payload["shown"]:
            await session.close()
            raise RuntimeError(
                f"reset({payload['reset']}) shows {session.shown!r:.60}, and showed "
                f"{payload['shown']!r:.60} when the task was listed: give rows with a prompt"
            )
        return session

    async def reply(
        self, session: Session, message: dict[str, Any]
    ) -> dict[str, Any] | list[dict[str, Any]] | None:
        """A step for each call; or one that says the turn's text."""
        if self._say:
            text, error = await session.step({self._say: message["content"]})
            return None if session.is_done else [{"role": "user", "content": error or text}]
        calls = message.get("tool_calls") or ()
        if not calls:
            return None
        answers = []
        for call in calls:
            text, error = await self._carried_out(session, call)
            content = f"Error: {error}" if error else text
            answers.append(
                {"role": "tool", "tool_call_id": call["id"], "content": content, "error": error}
            )
        return {"observations": answers, "over": session.is_done}

    async def _carried_out(self, session: Session, call: dict[str, Any]) -> tuple[str, str]:
        if session.is_done:
            return "", "the episode is over"
        if call["error"]:
            return "", call["error"]
        names = [tool["function"]["name"] for tool in self._tools]
        if call["name"] not in names:
            return "", f"there is no tool {call['name'][:40]!r}; there are: {', '.join(names)}"
        arguments, error = _arguments_of(call)
        if error:
            return "", error
        if self._is_mcp:
            action = {"type": "call_tool", "tool_name": call["name"], "arguments": arguments}
            return await session.step(action)
        return await session.step(arguments)

    def grade(self, session: Session, trajectory: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """What its steps earned."""
        return graded(session.rewards, session.num_steps, self._reward, self._pass_at)

    async def close(self, session: Session) -> None:
        """The server frees the session."""
        await session.close()

    def gold(self, task: dict[str, Any]) -> list[Any] | None:
        """The row's."""
        turns = task["payload"]["gold"]
        return turns and [gold_turn(turn, n) for n, turn in enumerate(turns)]

    async def _opened(self, reset: dict[str, Any]) -> Session:
        """A session after its reset; a server that is full is asked again for a while."""
        until = time.monotonic() + CAPACITY_S
        while True:
            session = Session(await self._socket())
            try:
                await session.reset(reset)
            except Full as full:
                await session.close()
                if time.monotonic() > until:
                    mend = "say so in sessions, or raise max_concurrent_envs in its app.py"
                    raise RuntimeError(f"{full}: {mend}") from full
                await asyncio.sleep(0.05)
            except BaseException:
                await session.close()
                raise
            else:
                return session

    async def _socket(self) -> Any:
        return await self._connect(_ws(self.url), max_size=MOST_BYTES, proxy=None)

    async def _listed(self) -> list[dict[str, Any]]:
        session = await self._opened({})
        try:
            said = (await session.ask("step", {"type": "list_tools"}))["observation"]["tools"]
        finally:
            await session.close()
        return [_tool(t["name"], t.get("description") or "", t["input_schema"]) for t in said]


class Full(Exception):
    """The server takes no more sessions now."""


class WrongAction(Exception):
    """The policy's action is none; the message is what it is told."""


class Session:
    """One WebSocket. What is lost with it is never made again silently: a client that connects
    anew would go on in another session, and be graded for it."""

    def __init__(self, socket_: Any) -> None:
        self._socket = socket_
        self.shown = ""
        """What reset showed."""
        self.rewards: list[float] = []
        self.num_steps = 0
        self.is_done = False

    async def ask(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        """One message, and the data of its answer."""
        with suppress(Exception):  # a server that refused and closed is heard; a lost one raises
            await self._socket.send(json.dumps({"type": kind, "data": data}))
        said = json.loads(await self._socket.recv())
        given: dict[str, Any] = said.get("data") or {}
        if said.get("type") != "error":
            return given
        told = str(given.get("message", "no reason given"))
        if given.get("code") == "CAPACITY_REACHED":
            raise Full(told)
        if given.get("code") == "VALIDATION_ERROR":
            raise WrongAction(_wrong(given.get("errors") or [], told))
        raise RuntimeError(f"the server could not {kind}: {told}")

    async def reset(self, data: dict[str, Any]) -> None:
        """Begin."""
        said = await self.ask("reset", data)
        self.shown = shown(said.get("observation") or {})
        self.is_done = bool(said.get("done"))

    async def step(self, action: dict[str, Any]) -> tuple[str, str]:
        """One action: what is seen, or why it is none."""
        try:
            said = await self.ask("step", action)
        except WrongAction as wrong:
            return "", str(wrong)
        self.num_steps += 1
        if said.get("reward") is not None:
            self.rewards.append(float(said["reward"]))
        self.is_done = bool(said.get("done"))
        observation = said.get("observation") or {}
        error = observation.get("error") if "tool_name" in observation else None
        if error:
            return "", str(error.get("message", error) if isinstance(error, dict) else error)
        return shown(observation), ""

    async def close(self) -> None:
        """Also of one that is lost already."""
        await self._socket.close()


def graded(rewards: list[float], num_steps: int, way: str, pass_at: float) -> dict[str, Any]:
    """A grade out of the rewards of the steps that gave one.

    Raises:
        RuntimeError: steps were made and none gave any.
    """
    if num_steps and not rewards:
        raise RuntimeError(f"{num_steps} steps, and the environment gave no reward to any")
    paid = {"last": rewards[-1], "sum": sum(rewards), "max": max(rewards)} if rewards else {}
    reward = paid.get(way, 0.0)
    return {"reward": reward, "passed": reward >= pass_at, "parts": {"steps": float(num_steps)}}


def shown(observation: dict[str, Any]) -> str:
    """An observation as text: its one text, or its fields as JSON."""
    fields = {k: v for k, v in observation.items() if k not in ("metadata", "done", "reward")}
    if "tool_name" in fields and "result" in fields:
        fields = {"result": _content(fields["result"])}
    if len(fields) == 1:
        (value,) = fields.values()
        if isinstance(value, str):
            return value
    return json.dumps(fields, ensure_ascii=False)


def _content(result: Any) -> Any:
    """Of a tool's result in the MCP shape, its texts."""
    if isinstance(result, dict) and isinstance(result.get("content"), list):
        texts = [part.get("text") for part in result["content"] if isinstance(part, dict)]
        if texts and all(isinstance(text, str) for text in texts):
            return "\n".join(map(str, texts))
    return result


def gold_turn(turn: Any, number: int) -> Any:
    """A turn of a row's gold: a text, or calls."""
    if isinstance(turn, str):
        return turn
    calls = [
        {"id": f"gold{number:03d}{n:02d}", "name": call["name"], "arguments": call["arguments"]}
        for n, call in enumerate(turn)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _arguments_of(call: dict[str, Any]) -> tuple[dict[str, Any], str]:
    try:
        arguments = json.loads(call["arguments"] or "{}")
    except (ValueError, RecursionError) as error:
        return {}, f"{call['name']}: the arguments are not JSON ({str(error)[:100]})"
    if not isinstance(arguments, dict):
        return {}, f"{call['name']}: the arguments are no object"
    return arguments, ""


def _wrong(errors: list[Any], otherwise: str) -> str:
    told = [
        f"{'.'.join(map(str, one.get('loc') or ())) or 'action'}: {one.get('msg', '')}"
        for one in errors[:5]
        if isinstance(one, dict)
    ]
    return "; ".join(told) or otherwise


def _tool(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _read_rows(file: str) -> list[dict[str, Any]]:
    """The tasks of a file, each with an id.

    Raises:
        ValueError: the file, or a line of it, cannot be used.
    """
    rows = []
    try:
        with open(file, encoding="utf-8") as text:
            lines = text.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"rows = {file!r} cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number} is no JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("reset") or {}, dict):
            raise ValueError(f"{file}, line {number}: a row is an object, and so is its reset")
        rows.append({"id": f"row-{number}", **row})
    if not rows:
        raise ValueError(f"{file} holds no rows")
    return rows


def _served(folder: str) -> str:
    """Serve the environment of a folder in a thread of this process; the address.

    Raises:
        ValueError: there is no such environment, or it does not start.
    """
    manifest = os.path.join(folder, "openenv.yaml")
    if not os.path.isfile(manifest):
        raise ValueError(f"server = {folder!r} holds no openenv.yaml: openenv init makes one")
    importlib.import_module("openenv")
    yaml, uvicorn = importlib.import_module("yaml"), importlib.import_module("uvicorn")
    with open(manifest, encoding="utf-8") as text:
        said = yaml.safe_load(text) or {}
    module, _, attribute = str(said.get("app") or "server.app:app").partition(":")
    sys.path.insert(0, os.path.abspath(folder))
    try:
        app = getattr(importlib.import_module(module), attribute or "app")
    except ImportError as error:
        mend = f"{sys.executable} -m pip install {folder}"
        raise ValueError(f"{folder}: {module} cannot be imported ({error}): {mend}") from error
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", ws_max_size=MOST_BYTES)
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, args=([listening],), daemon=True).start()
    until = time.monotonic() + READY_S
    while not server.started:
        if time.monotonic() > until:
            raise ValueError(f"the server of {folder} was not ready within {READY_S:g} s")
        time.sleep(0.02)
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def _listed_tasks(url: str, split: str) -> list[dict[str, Any]]:
    """The tasks that the server itself lists.

    Raises:
        ValueError: it lists none.
    """
    (name, *_) = _fetched(f"{url}/list_environments")
    try:
        splits = [one["name"] for one in _fetched(f"{url}/{name}/splits")]
        if split not in splits:
            return []
        size = _fetched(f"{url}/{name}/num_tasks", {"split": split})["num_tasks"]
    except urllib.error.HTTPError as error:
        raise ValueError(
            f"the server lists no tasks ({error.code}): give rows, or seeds = 200"
        ) from error
    return [{"id": f"{split}-{n}", "reset": {"split": split, "index": n}} for n in range(int(size))]


def _fetched(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with DIRECT.open(request, timeout=READY_S) as answer:
            return json.loads(answer.read(MOST_BYTES))
    except urllib.error.HTTPError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{url} does not answer ({error})") from error


def _ws(url: str) -> str:
    return f"ws{url[4:]}/ws" if url.startswith("http") else f"{url}/ws"
