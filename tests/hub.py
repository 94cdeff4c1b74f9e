"""A hub of our own on loopback: what the hub's client asks for, over a few folders."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class FakeHub:
    """Models by name, each with its commits by revision, and what was asked."""

    url: str = ""
    commits: dict[str, dict[str, Path]] = field(default_factory=dict)
    """Name, to commit, to the folder of its files."""
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name, to branch, to commit."""
    gated: set[str] = field(default_factory=set)
    unknown_login: set[str] = field(default_factory=set)
    """Names that are answered as to who has a token that does not hold any more."""
    asked: list[str] = field(default_factory=list)
    pushed: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Name, to file, to what was uploaded."""

    def add(self, name: str, folder: Path, *, branch: str = "main") -> str:
        """Put a folder's files on a branch; the commit."""
        names = "".join(str(path.name) for path in sorted(folder.iterdir()))
        stamp = f"{name}{branch}{folder}{names}"
        commit = hashlib.sha1(stamp.encode()).hexdigest()
        self.commits.setdefault(name, {})[commit] = folder
        self.refs.setdefault(name, {})[branch] = commit
        return commit

    @property
    def fetched(self) -> list[str]:
        """Names of the files that were read."""
        return [path.rsplit("/", 1)[-1] for path in self.asked if path.startswith("GET /files/")]


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub that answers for as long as this lasts."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def environment(hub: FakeHub, cache: Path, *, offline: bool = False) -> dict[str, str]:
    """Variables under which a process uses this hub and that cache."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": "hf_" + "x" * 30,
    }


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = self._chunks()
            self._answer(body)

        def _chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _answer(self, body: bytes = b"") -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                self._api(parts[2:], body)
            elif parts[:3] == ["api", "repos", "create"]:
                asked = json.loads(body)
                name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                hub.pushed.setdefault(name, {})
                self._json({"url": f"{hub.url}/{name}", "id": name, "name": name})
            elif parts[:2] == ["api", "validate-yaml"]:
                self._json({"errors": [], "warnings": []})
            elif "resolve" in parts:
                at = parts.index("resolve")
                self._file("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
            elif parts[0] == "files":
                name, commit, file = "/".join(parts[1:-2]), parts[-2], parts[-1]
                self._send(200, (hub.commits[name][commit] / file).read_bytes())
            else:
                self._refuse(404, "EntryNotFound")

        def _api(self, parts: list[str], body: bytes) -> None:
            kinds = [part for part in ("revision", "tree", "preupload", "commit") if part in parts]
            at = parts.index(kinds[0]) if kinds else len(parts)
            name, kind = "/".join(parts[:at]), kinds[0] if kinds else "revision"
            if kind == "preupload":
                files = json.loads(body)["files"]
                how = {"uploadMode": "regular", "shouldIgnore": False}
                sent = [{"path": file["path"], **how} for file in files]
                return self._json({"files": sent})
            if kind == "commit":
                return self._commit(name, body)
            revision = "/".join(parts[at + 1 :]) or "main"
            found = self._commit_of(name, revision)
            if found is None:
                return None
            commit, folder = found
            files = [path for path in sorted(folder.iterdir()) if path.is_file()]
            if kind == "tree":
                tree = [
                    {
                        "type": "file", "path": path.name, "size": path.stat().st_size,
                        "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
                    }
                    for path in files
                ]  # fmt: skip
                return self._json(tree)
            siblings = [{"rfilename": path.name, "size": path.stat().st_size} for path in files]
            return self._json({"id": name, "sha": commit, "siblings": siblings, "tags": []})

        def _commit_of(self, name: str, revision: str) -> tuple[str, Path] | None:
            if name in hub.gated:
                return self._refuse(403, "GatedRepo")
            if name in hub.unknown_login:
                told = "Invalid credentials in Authorization header"
                self._send(401, b"{}", **{"X-Error-Message": told})
                return None
            if name not in hub.commits:
                return self._refuse(404, "RepoNotFound")
            commit = hub.refs[name].get(revision, revision)
            if commit not in hub.commits[name]:
                return self._refuse(404, "RevisionNotFound")
            return commit, hub.commits[name][commit]

        def _file(self, name: str, revision: str, file: str) -> None:
            found = self._commit_of(name, revision)
            if found is None:
                return
            commit, folder = found
            if not (folder / file).is_file():
                self._refuse(404, "EntryNotFound")
                return
            read = (folder / file).read_bytes()
            if self.command == "GET":
                hub.asked.append(f"GET /files/{name}/{commit}/{file}")
            more = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(read).hexdigest()}"'}
            self._send(200, read, **more)

        def _commit(self, name: str, body: bytes) -> None:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    hub.pushed[name][value["path"]] = base64.b64decode(value["content"])
            oid = hashlib.sha1(body).hexdigest()
            self._json({"commitUrl": f"{hub.url}/{name}/commit/{oid}", "commitOid": oid})

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

        def _refuse(self, status: int, code: str) -> None:
            self._send(status, b"{}", **{"X-Error-Code": code, "X-Error-Message": code})

        def _send(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def use(monkeypatch: Any, hub: FakeHub, cache: Path, *, offline: bool = False) -> None:
    """Have this process's client, which may be imported already, use that hub and that cache."""
    from huggingface_hub import constants

    for name, value in environment(hub, cache, offline=offline).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
