"""The address itself: one server a worker, a key an attempt, on the loopback and a Unix socket."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import os
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from munro.envs.agent_run import Address
from munro.rewards.errors import EnvironmentFailure
from munro.rollout.address import http, responses, told
from munro.rollout.address.asked import chat_of
from munro.rollout.address.errors import Refused, wrong
from munro.rollout.address.http import Asked, Reply
from munro.rollout.address.session import Session

MODEL = "policy"
"""What the policy is called, whichever checkpoint it began from."""
HOST = "127.0.0.1"
FOLDER = "munro-address-"
"""Begins the names of the sockets' folders; the process's number follows."""
MOST_PATH = 40
"""Bytes of the folder for temporary files; the kernel takes 107 of a socket's whole path."""
MOST_OVER = 4096
"""Keys of ended attempts that are told so."""


@dataclass(slots=True)
class _Attempt:
    session: Session
    threads: responses.Threads = field(default_factory=responses.Threads)
    running: set[asyncio.Task[Reply]] = field(default_factory=set)


@functools.cache
def folder_of(process: int) -> Path:
    """Where a process has its sockets, as long as it lives: boxes are shown the folder.

    Those of processes that were killed are taken away by the next one.
    """
    top = tempfile.gettempdir()
    top = top if len(os.fsencode(top)) <= MOST_PATH else "/tmp"
    for left in Path(top).glob(f"{FOLDER}*-*"):
        owner = left.name.removeprefix(FOLDER).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{process}-", dir=top))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Addresses:
    """Listens as long as an attempt has an address; all of it in one event loop."""

    def __init__(self) -> None:
        self._attempts: dict[str, _Attempt] = {}
        self._over: deque[str] = deque(maxlen=MOST_OVER)
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._socket = ""
        self._url = ""
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def opened(self, session: Session) -> AsyncIterator[Address]:
        """An address that leads to this session as long as this is open."""
        key = f"munro-{secrets.token_urlsafe(24)}"
        attempt = self._attempts[key] = _Attempt(session)
        try:
            async with self._opening:
                if not self._servers:
                    await self._listen()
            yield Address(base_url=self._url, key=key, model=MODEL, socket=self._socket)
        finally:
            session.close()
            self._over.append(key)
            del self._attempts[key]
            for task in [*attempt.running]:
                task.cancel()
            await asyncio.gather(*attempt.running, return_exceptions=True)
            async with self._opening:
                if not self._attempts:
                    await self._fall_silent()

    async def _listen(self) -> None:
        path = folder_of(os.getpid()) / f"{secrets.token_hex(8)}.sock"
        limit, self._socket = http.MOST_HEAD, str(path)
        self._servers.append(
            await asyncio.start_server(self._connected, HOST, 0, limit=limit, backlog=1024)
        )
        self._servers.append(
            await asyncio.start_unix_server(self._connected, path, limit=limit, backlog=1024)
        )
        path.chmod(0o666)  # a box's user is nobody; who has no key gets nothing
        port = self._servers[0].sockets[0].getsockname()[1]
        self._url = f"http://{HOST}:{port}/v1"

    async def _fall_silent(self) -> None:
        servers, self._servers = self._servers, []
        Path(self._socket).unlink(missing_ok=True)
        for server in servers:
            server.close()
        for connection in [*self._connections]:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await http.serve(reader, writer, self._answer)
        except asyncio.CancelledError:
            pass  # nobody waits for a connection but the loop, which would complain
        finally:
            self._connections.discard(task)

    async def _answer(self, asked: Asked) -> Reply:
        try:
            attempt = self._attempt_of(asked)
            return await self._routed(asked, attempt)
        except Refused as refusal:
            return Reply.json(refusal.status, refusal.body)

    def _attempt_of(self, asked: Asked) -> _Attempt:
        scheme, _, key = asked.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() == "bearer":
            if (attempt := self._attempts.get(key)) is not None:
                return attempt
            if key in self._over:
                raise Refused(403, "this key's attempt is over", code="attempt_over")
        raise Refused(
            401,
            "no attempt has this key: send the one of the address as a bearer token",
            code="invalid_api_key",
        )

    async def _routed(self, asked: Asked, attempt: _Attempt) -> Reply:
        path = asked.path.rstrip("/").removeprefix("/v1")
        if path in ("/models", f"/models/{MODEL}"):
            _refuse_method(asked, "GET")
            model = {"id": MODEL, "object": "model", "created": int(time.time()), "owned_by": "-"}
            is_one = path != "/models"
            return Reply.json(200, model if is_one else {"object": "list", "data": [model]})
        routes: dict[str, Callable[[Asked, _Attempt], Awaitable[Reply]]] = {
            "/chat/completions": _chat,
            "/responses": _responses,
        }
        if path not in routes:
            there = ", ".join(f"/v1{one}" for one in ("/models", *routes))
            raise Refused(404, f"there is no {asked.path[:80]!r}: {there}", code="not_found")
        _refuse_method(asked, "POST")
        return await self._within(attempt, partial(routes[path], asked, attempt))

    async def _within(self, attempt: _Attempt, work: Callable[[], Awaitable[Reply]]) -> Reply:
        """The answer, as long as the attempt lasts."""
        task: asyncio.Task[Reply] = asyncio.ensure_future(_kept(attempt, work))
        attempt.running.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            if task.cancelled() and attempt.session.is_over:
                message = "this key's attempt is over"
                raise Refused(403, message, code="attempt_over") from None
            task.cancel()
            raise
        finally:
            attempt.running.discard(task)


async def _kept(attempt: _Attempt, work: Callable[[], Awaitable[Reply]]) -> Reply:
    """What goes wrong on our side makes the attempt one that is not scored."""
    try:
        return await work()
    except Refused as refusal:
        attempt.session.refusal = str(refusal)
        raise
    except Exception as error:
        why = f"the address failed: {type(error).__name__}: {error}"
        attempt.session.fail(EnvironmentFailure(why))
        raise Refused(500, why, code="internal", kind="server_error") from error


async def _chat(request: Asked, attempt: _Attempt) -> Reply:
    asked = chat_of(_body_of(request), MODEL)
    return told.chat(await attempt.session.answer(asked), asked, MODEL)


async def _responses(request: Asked, attempt: _Attempt) -> Reply:
    asked, messages = attempt.threads.asked(_body_of(request), MODEL)
    turn = await attempt.session.answer(asked)
    attempt.threads.keep(turn, messages)
    return responses.responses(turn, asked, MODEL)


def _refuse_method(asked: Asked, method: str) -> None:
    if asked.method != method:
        raise Refused(405, f"{asked.path[:80]} takes {method}", code="method_not_allowed")


def _body_of(asked: Asked) -> Mapping[str, Any]:
    try:
        body = json.loads(asked.body)
    except (ValueError, RecursionError) as error:
        raise wrong(f"the body is no JSON: {str(error)[:100]}", code="invalid_json") from error
    if not isinstance(body, Mapping):
        raise wrong("the body must be a JSON object", code="invalid_json")
    return body
