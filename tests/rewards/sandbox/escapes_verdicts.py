"""Attempts on other runs and on the verdict: forged outcomes, and what a run leaves behind it."""

from __future__ import annotations

from dataclasses import replace

from tests.rewards.sandbox.escapes import QUICK, Attempt

FORGERIES = [
    Attempt(
        name="descriptors that were left", tries="find a descriptor that is not its own",
        bites="anyone",
        program="""
        fds = [int(n) for n in os.listdir("/proc/self/fd")]
        return [(f, os.readlink("/proc/self/fd/%d" % f)) for f in fds
                if f > 2 and os.path.exists("/proc/self/fd/%d" % f)]
        """,
    ),
    Attempt(
        name="write a verdict", tries="write verdicts into every descriptor there may be",
        bites="anyone",
        program="""
        import json
        body = json.dumps({"status": 0, "limit": None, "stdout": 6, "stderr": 0, "files": [],
                           "contents": [["stdout", 6], ["stderr", 0]], "cpu_s": 0, "wall_s": 0,
                           "memory_mb": 0}).encode()
        forgeries = [body + b"\\n", struct.pack("!cI", b"R", len(body) + 10) +
                     struct.pack("!I", len(body)) + body + b"forged",
                     struct.pack("!IQ", len(body), 6) + body + b"forged", b"0\\n", b"\\0" * 4]
        for fd in range(3, 1024):
            for forgery in forgeries:
                any_of([lambda: os.set_blocking(fd, False), lambda: os.write(fd, forgery)])
                any_of([lambda: os.write(fd, forgery)])
        """,
    ),
    Attempt(
        name="a brother's status", tries="have a brother with another status end first",
        bites="anyone",
        program="""
        # CLONE_PARENT: a child of its own parent
        if system(56, 0x8000, 0, 0, 0, 0) == 0:
            os._exit(0)
        if system(56, 0x8000 | signal.SIGCHLD, 0, 0, 0, 0) == 0:
            os._exit(0)
        time.sleep(0.3)
        """,
    ),
    Attempt(
        name="an orphan's status", tries="leave orphans that end well to who adopts them",
        program="""
        for _ in range(4):
            if not os.fork():
                if not os.fork():
                    time.sleep(0.05)
                    os._exit(0)
                os._exit(0)
        time.sleep(0.2)
        """,
    ),
    Attempt(
        name="output in flight",
        tries="hide the open end of its output in a message that nobody receives",
        program="""
        left, right = socket.socketpair()
        os.set_blocking(left.fileno(), False)
        for one in (left, right):
            socket.send_fds(one, [b"x"], [0, 1, 2, left.fileno(), right.fileno()])
        os.write(1, b"HELD by itself\\n")
        os.closerange(0, 64)
        os._exit(STATUS)
        """,
        shows=lambda outcome, host: outcome.usage.wall_s > 30,
    ),
    Attempt(
        name="gone but not ended", tries="look finished by closing all that it holds",
        limits=replace(QUICK, wall_s=1),
        program="""
        os.closerange(0, 64)
        if not os.path.exists(HOST["secret"]):
            time.sleep(30)
        """,
        shows=lambda outcome, host: outcome.usage.wall_s > 5 or outcome.limit != "wall",
    ),
]  # fmt: skip

LEFT = [
    Attempt(
        name="files", tries="leave files for the next run", bites="anyone",
        program="""
        for folder in (".", "/tmp", "/dev/shm", "/var/tmp", "/run", os.path.expanduser("~")):
            any_of([lambda: open(folder + "/" + HOST["mark"], "w").write("here") and None])
        """,
        then="""
        return any_of([lambda f=f: read(f + "/" + HOST["mark"]) for f in
                       (".", "/tmp", "/dev/shm", "/var/tmp", "/run", os.path.expanduser("~"))])
        """,
        shows=lambda outcome, host: host["_planted"](),
    ),
    Attempt(
        name="segments", tries="leave a System V segment", bites="anyone",
        program="any_of([lambda: call(libc.shmget(HOST['key'], 4096, 0o1666)) and None])",
        then="return call(libc.shmget(HOST['key'], 4096, 0o666)) + 1",
    ),
    Attempt(
        name="queue", tries="leave a message queue", bites="anyone",
        program="any_of([lambda: call(libc.msgget(HOST['key'], 0o1666)) and None])",
        then="return call(libc.msgget(HOST['key'], 0o666)) + 1",
    ),
    Attempt(
        name="named socket", tries="leave a process that answers on a socket", bites="anyone",
        program="""
        one = socket.socket(socket.AF_UNIX)
        one.bind("\\0" + HOST["mark"])
        one.listen()
        if not os.fork():
            os.setsid()
            os.closerange(0, one.fileno())
            os.closerange(one.fileno() + 1, 64)
            time.sleep(20)
            os._exit(0)
        """,
        then="""
        one = socket.socket(socket.AF_UNIX)
        one.connect("\\0" + HOST["mark"])
        return "answered"
        """,
    ),
    Attempt(
        name="key", tries="leave a key", bites="anyone",
        program="""
        any_of([lambda r=r: system(248, b"user", HOST["mark"].encode(), b"left", 4, r) and None
                for r in (-1, -2, -3, -4, -5)])
        """,
        then="""
        return any_of([lambda r=r: system(250, 10, r, b"user", HOST["mark"].encode(), 0)
                       for r in (-1, -2, -3, -4, -5)])
        """,
    ),
    Attempt(
        name="poisoned builtins", tries="change what the next run's words mean", bites="warm",
        program="""
        import builtins
        builtins.print = builtins.len = lambda *words, **more: "poisoned"
        builtins.poisoned = True
        """,
        then="""
        import builtins
        return hasattr(builtins, "poisoned") or len("") == "poisoned"
        """,
    ),
    Attempt(
        name="poisoned modules", tries="change modules and how they are found", bites="warm",
        program="""
        import json, types
        json.loads = lambda text: "poisoned"
        sys.modules["math"] = types.ModuleType("math")
        sys.modules["math"].poisoned = True
        sys.path.insert(0, "/tmp/poisoned")
        sys.meta_path.insert(0, types.SimpleNamespace(find_spec=lambda *words: None))
        """,
        then="""
        import json, math
        return [n for n, yes in {"json": json.loads("1") != 1, "math": hasattr(math, "poisoned"),
                "path": "/tmp/poisoned" in sys.path,
                "meta": any(type(f).__name__ == "SimpleNamespace" for f in sys.meta_path)
                }.items() if yes]
        """,
    ),
    Attempt(
        name="changed process", tries="change the next run's folder, mask, signals, environment",
        bites="warm",
        program="""
        import resource
        os.chdir("/")
        os.umask(0o777)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        os.environ["MARK"] = HOST["mark"]
        sys.argv.append(HOST["mark"])
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        """,
        then="""
        return [n for n, yes in {"folder": os.getcwd() == "/", "mask": os.umask(0o22) == 0o777,
                "signal": signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
                "environment": "MARK" in os.environ, "arguments": HOST["mark"] in sys.argv,
                }.items() if yes]
        """,
    ),
    Attempt(
        name="poisoned cache", tries="replace compiled modules of the standard library",
        program="""
        import importlib.util, json.tool
        path = importlib.util.cache_from_source(json.tool.__file__)
        for spot in (path, json.tool.__file__, os.path.dirname(path) + "/" + HOST["mark"]):
            if not os.path.exists(HOST["secret"]) and os.access(os.path.dirname(spot), os.W_OK):
                return spot
        """,
    ),
    Attempt(
        name="start-up files", tries="leave files that Python reads as it starts",
        program="""
        import site
        folder = os.path.expanduser("~/.local/lib/python%d.%d/site-packages" % sys.version_info[:2])
        def leave():
            os.makedirs(folder, exist_ok=True)
            with open(folder + "/usercustomize.py", "w") as file:
                file.write("import builtins; builtins.poisoned = True")
        if not os.path.exists(HOST["secret"]):
            any_of([leave])
        """,
        then="""
        import builtins
        return hasattr(builtins, "poisoned")
        """,
    ),
]  # fmt: skip
