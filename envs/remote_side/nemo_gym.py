"""NeMo Gym (0.4): a resource server over HTTP: seed_session, its tools, verify.

    [env.args]
    python = "/path/to/venv/bin/python"     # 3.12 or later
    side = "nemo_gym"
    server = "workplace_assistant"          # of the package's own; or url = "http://..."
    rows = "train.jsonl"                    # else the example rows that the package ships

A server of the package's runs in a thread of this process and ends with it. An episode is a
session (a cookie), played as the package's own simple agent plays it: every call is posted as it
was written, what comes back is the observation word for word, and `verify` gets all of it in the
shape of the Responses API. Servers that need models of their own (judges) are started by the
package's command and given as `url`.
"""

from __future__ import annotations

import base64
import http.client
import importlib
import inspect
import json
import os
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterable
from typing import Any

INSTALL = "nemo-gym==0.4.0"
FILES = ("rows", "test_rows")
READY_S = 60.0
CALL_S = 600.0
MOST_BYTES = 8 << 20
PARAMS = "responses_create_params"
RESERVED = ("seed_session", "verify", "aggregate_metrics", "mcp")


class Side:
    """A NeMo Gym resource server's environment."""

    name = "nemo_gym"
    at_once = 32

    def __init__(
        self,
        server: str = "",
        url: str = "",
        rows: str = "",
        test_rows: str = "",
        pass_at: float = 1.0,
    ) -> None:
        """
        Args:
            server: name of a resource server of the package, which is served here.
            url: of one that runs already.
            rows: JSON lines with `responses_create_params`; else the server's example rows.
            test_rows: the same, held out.
            pass_at: reward from which on an episode has passed.
        """
        if bool(server) == bool(url):
            raise ValueError(
                "give server (a name, such as workplace_assistant) or url, one of them"
            )
        self._pass_at = pass_at
        self._app: Any = None
        if not rows and not server:
            raise ValueError("url needs rows: the tasks of that server, as JSON lines")
        if server:
            folder, self._app = _made(server)
            rows = rows or os.path.join(folder, "data", "example.jsonl")
        self._rows = {
            "train": read_rows(rows),
            "test": read_rows(test_rows) if test_rows else [],
        }
        self.url = (url or _served(self._app)).rstrip("/")

    def tasks(self, split: str) -> list[dict[str, Any]]:
        """The rows."""
        return [task_of(row, split, number) for number, row in enumerate(self._rows[split])]

    def start(self, task: dict[str, Any]) -> Session:
        """A session of the server's own."""
        payload = task["payload"]
        session = Session(self.url, self._rows[payload["split"]][payload["row"]])
        try:
            session.post("seed_session", session.row)
        except BaseException:
            session.close()
            raise
        return session

    def reply(self, session: Session, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Post every call, one after the other; a turn without one ends the episode."""
        calls = message.get("tool_calls") or ()
        session.say(message["content"])
        if not calls:
            return None
        names = [tool["name"] for tool in session.row[PARAMS].get("tools") or ()]
        return [session.call(call, names) for call in calls]

    def grade(self, session: Session, trajectory: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """What the server's `verify` says of all that was said and called."""
        said = session.post("verify", {**session.row, "response": session.response()})
        reward = said.get("reward")
        if isinstance(reward, bool) or not isinstance(reward, int | float):
            raise RuntimeError(f"verify gave the reward {reward!r:.60}")
        return {"reward": float(reward), "passed": reward >= self._pass_at}

    def close(self, session: Session) -> None:
        """Also forget the session in the server, which by itself keeps every one it ever had."""
        session.close()
        for kept in vars(self._app).values() if self._app is not None else ():
            if isinstance(kept, dict):
                kept.pop(session.id, None)

    def gold(self, task: dict[str, Any]) -> list[Any] | None:
        """The row's ground truth, where that is a list of calls."""
        truth = self._rows[task["payload"]["split"]][task["payload"]["row"]].get("ground_truth")
        return gold_of(truth)


class Session:
    """One episode's connection and cookie, and what was said in it."""

    def __init__(self, url: str, row: dict[str, Any]) -> None:
        self.row = row
        self._at = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if self._at.scheme == "https" else None
        self._http = (kind or http.client.HTTPConnection)(self._at.netloc, timeout=CALL_S)
        self._cookies: dict[str, str] = {}
        self._output: list[dict[str, Any]] = []

    @property
    def id(self) -> str:
        """Of the session, out of its signed cookie; empty where that holds none."""
        return session_id(self._cookies.values())

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """A question that must be answered.

        Raises:
            RuntimeError: it is not.
        """
        status, text = self._posted(path, body)
        if status != http.client.OK:
            raise RuntimeError(f"{path} answered {status}: {text[:300]}")
        said: dict[str, Any] = json.loads(text)
        return said

    def call(self, call: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """A call of a tool, and the answer to it."""
        error, text = call["error"], ""
        arguments: Any = None
        if not error:
            try:
                arguments = json.loads(call["arguments"] or "{}")
            except (ValueError, RecursionError) as wrong:
                error = f"the arguments are not JSON ({str(wrong)[:100]})"
        if not error and (call["name"] not in names or call["name"] in RESERVED):
            error = f"there is no tool {call['name'][:40]!r}"
        if not error:
            status, text = self._posted(call["name"], arguments)
            if status >= http.client.INTERNAL_SERVER_ERROR:
                raise RuntimeError(f"{call['name']} answered {status}: {text[:300]}")
            if status != http.client.OK:
                error = f"{status}: {text[:2000]}"
        content = text if not error else json.dumps({"error": error})
        said = {"call_id": call["id"], "name": call["name"], "arguments": call["arguments"]}
        self._output.append({"type": "function_call", **said})
        self._output.append(
            {"type": "function_call_output", "call_id": call["id"], "output": content}
        )
        return {"role": "tool", "tool_call_id": call["id"], "content": content, "error": error}

    def say(self, text: str) -> None:
        """Keep what the policy said beside its calls."""
        if text.strip():
            part = {"type": "output_text", "text": text, "annotations": []}
            self._output.append(
                {
                    "type": "message",
                    "id": f"msg_{len(self._output)}",
                    "role": "assistant",
                    "status": "completed",
                    "content": [part],
                }
            )

    def response(self) -> dict[str, Any]:
        """All of it, as the Responses API would show it."""
        params = self.row[PARAMS]
        return {
            "id": "resp_munro",
            "object": "response",
            "created_at": time.time(),
            "model": "policy",
            "output": self._output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": params.get("tools") or [],
        }

    def close(self) -> None:
        """Also of one that is lost already."""
        self._http.close()

    def _posted(self, path: str, body: Any) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self._cookies.items())
        target = f"{self._at.path.rstrip('/')}/{urllib.parse.quote(path, safe='')}"
        self._http.request("POST", target, json.dumps(body), headers)
        answer = self._http.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self._cookies[key.strip()] = rest.partition(";")[0]
        said = answer.read(MOST_BYTES + 1)
        if len(said) > MOST_BYTES:
            raise RuntimeError(f"{path} answered more than {MOST_BYTES:,} bytes")
        return answer.status, said.decode(errors="replace")


def session_id(cookies: Iterable[str]) -> str:
    """What a signed cookie of starlette's calls the session; empty where none is such."""
    for value in cookies:
        try:
            held = json.loads(base64.b64decode(value.split(".")[0] + "=="))
        except ValueError:
            continue
        if isinstance(held, dict):
            return str(held.get("session_id", ""))
    return ""


def task_of(row: dict[str, Any], split: str, number: int) -> dict[str, Any]:
    """A row as a task: Responses input and tools in the chat shape."""
    params = row[PARAMS]
    return {
        "id": str(row.get("id", number)),
        "messages": messages_of(params.get("input")),
        "tools": [
            {"type": "function", "function": {k: tool[k] for k in TOOL_KEYS if k in tool}}
            for tool in params.get("tools") or ()
            if tool.get("type") == "function"
        ],
        "payload": {"split": split, "row": number},
        "labels": {key: str(row[key]) for key in ("category", "environment_name") if row.get(key)},
    }


TOOL_KEYS = ("name", "description", "parameters")


def messages_of(given: Any) -> list[dict[str, Any]]:
    """The input of a Responses request as messages.

    Raises:
        ValueError: it holds something other than texts.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages = []
    for item in given or ():
        content = item.get("content")
        if isinstance(content, list):
            content = "\n".join(part.get("text", "") for part in content)
        if item.get("type", "message") != "message" or not isinstance(content, str):
            raise ValueError(f"an input item of type {item.get('type')!r} is no text message")
        role = "system" if item["role"] == "developer" else item["role"]
        messages.append({"role": role, "content": content})
    if not messages:
        raise ValueError("a row without input")
    return messages


def gold_of(truth: Any) -> list[Any] | None:
    """Calls of a ground truth as turns, and a last word; None where it is no list of calls."""
    if not isinstance(truth, list) or not all(
        isinstance(call, dict) and {"name", "arguments"} <= set(call) for call in truth
    ):
        return None
    turns: list[Any] = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": f"gold{n:03d}", "name": call["name"], "arguments": call["arguments"]}
            ],
        }
        for n, call in enumerate(truth)
    ]
    return [*turns, "It is done."]


def read_rows(file: str) -> list[dict[str, Any]]:
    """The rows of a file.

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
            messages_of(row[PARAMS]["input"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{file}, line {number} is no row with {PARAMS}.input ({error})"
            ) from error
        rows.append(row)
    if not rows:
        raise ValueError(f"{file} holds no rows")
    return rows


def _made(name: str) -> tuple[str, Any]:
    """The folder of a resource server of the package, and the server, made but not served.

    Raises:
        ValueError: there is none of that name, or it cannot be made alone.
    """
    base = importlib.import_module("nemo_gym.base_resources_server")
    home = os.path.dirname(importlib.import_module("resources_servers").__path__[0] + "/")
    folder = os.path.join(home, name)
    if not name.isidentifier() or not os.path.isfile(os.path.join(folder, "app.py")):
        raise ValueError(f"server = {name!r}: the package has no {folder}/app.py")
    module = importlib.import_module(f"resources_servers.{name}.app")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base.SimpleResourcesServer)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ValueError(f"server = {name!r}: {len(found)} resource servers in its app.py")
    utils = importlib.import_module("nemo_gym.server_utils")
    kinds = importlib.import_module("nemo_gym.config_types")
    omega = importlib.import_module("omegaconf")
    server: Any = found[0]
    try:
        config = server.model_fields["config"].annotation(
            host="127.0.0.1", port=0, entrypoint="app.py", name=name
        )
        head = kinds.BaseServerConfig(host="127.0.0.1", port=0)
        client = utils.ServerClient(
            head_server_config=head, global_config_dict=omega.DictConfig({})
        )
        return folder, server(config=config, server_client=client)
    except ValueError as error:  # pydantic's own are such
        told = " ".join(str(error).split())[:300]
        raise ValueError(
            f"server = {name!r} needs more than itself ({told}): start it with the package's own "
            "command, and give its url and rows"
        ) from error


def _served(server: Any) -> str:
    """Serve it in a thread of this process; the address.

    Raises:
        ValueError: it does not start.
    """
    uvicorn = importlib.import_module("uvicorn")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(server.setup_webserver(), log_level="warning"))
    threading.Thread(target=running.run, args=([listening],), daemon=True).start()
    until = time.monotonic() + READY_S
    while not running.started:
        if time.monotonic() > until:
            raise ValueError(f"the server was not ready within {READY_S:g} s")
        time.sleep(0.02)
    return f"http://127.0.0.1:{listening.getsockname()[1]}"
