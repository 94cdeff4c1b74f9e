"""Runs in the interpreter of the tests: pytest, and a plugin that reports what each test did.

All that is ours is imported, and what it needs of pytest remembered, before any file of the
repository is. Reports go to a descriptor as a chain of keyed digests, so that a line which was not
written here in its turn is noticed. The code under test lives in the same interpreter, and can do
whatever this can: this makes a forgery dear, twins and canaries make it useless, and nothing in one
interpreter can rule it out.

Standard library and pytest; sent as text by `munro.envs.swe.run`.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.metadata
import json
import os
import random
import sys
import unittest
from collections.abc import Callable, Iterator
from typing import Any

import pytest

MOST_MESSAGES, MESSAGE = 200, 1500
WATCHED = {
    "_pytest.runner": (
        "runtestprotocol call_and_report pytest_runtest_call pytest_runtest_makereport "
        "pytest_runtest_protocol CallInfo.from_call check_interactive_exception"
    ),
    "_pytest.reports": (
        "TestReport.from_item_and_call TestReport.__init__ BaseReport.passed BaseReport.failed"
    ),
    "_pytest.python": "Function.runtest Function.setup pytest_pyfunc_call Module.collect",
    "_pytest.unittest": (
        "TestCaseFunction.runtest TestCaseFunction.addError TestCaseFunction.addFailure"
    ),
    "_pytest.assertion.rewrite": (
        "rewrite_asserts AssertionRewriter.run AssertionRewriter.visit_Assert"
        " AssertionRewritingHook.exec_module"
    ),
    "_pytest.main": "Session.perform_collect Session._perform_collect pytest_runtestloop",
    "_pytest.raises": "RaisesExc.__exit__ raises",
    "_pytest.python_api": "approx ApproxScalar.__eq__",
    "_pytest.skipping": "pytest_runtest_makereport",
    "pluggy._hooks": "HookCaller.__call__",
    "pluggy._manager": "PluginManager._hookexec",
    "pluggy._callers": "_multicall",
}
"""By module, what decides whether a test passed."""


def machinery() -> dict[str, Any]:
    """What decides whether a test passed, by name, as it is now."""
    found: dict[str, Any] = {}
    for module, names in WATCHED.items():
        for name in names.split():
            thing: Any = sys.modules.get(module)
            for part in name.split("."):
                thing = vars(thing).get(part) if thing is not None else None
            if thing is not None:
                found[f"{module}.{name}"] = _inner(thing)
    for name, thing in vars(unittest.TestCase).items():
        if name.startswith(("assert", "fail")) or name == "run":
            found[f"TestCase.{name}"] = _inner(thing)
    for name, thing in vars(builtins).items():
        if callable(thing) and not name.startswith("_"):
            found[name] = thing
    for name, thing in vars(Report).items():
        if callable(thing):
            found[f"the report's {name}"] = _inner(thing)
    return found


def _inner(thing: Any) -> tuple[Any, Any]:
    """A function and its code, under whatever it is wrapped in."""
    thing = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    return thing, getattr(thing, "__code__", None)


class Report:
    """The plugin."""

    def __init__(self, told: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        self._send, self._skip = send, frozenset(told["skip"])
        self._only = frozenset(told["only"])
        self._seed = told["seed"] if told["shuffle"] else None
        self._before: dict[str, Any] = {}
        self._flagged: set[str] = set()
        self._outcomes: dict[str, list[tuple[str, str]]] = {}
        self._seconds: dict[str, float] = {}
        self._raised: dict[str, bool] = {}
        self._message = ""
        self._messages = 0
        self.count = 0

    def remember(self) -> None:
        """What the machinery is, before any code of the repository has run."""
        self._before = machinery()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what has run already or is not asked for; another order where one is asked."""
        items[:] = [
            item for item in items if item.nodeid not in self._skip and self._is_asked(item.nodeid)
        ]
        if self._seed is not None:
            random.Random(self._seed).shuffle(items)
        self._send({"kind": "collected", "count": len(items)})

    def _is_asked(self, test: str) -> bool:
        path, colons, rest = test.partition("::")
        bare = f"{path}{colons}{rest.partition('[')[0]}"
        return not self._only or test in self._only or bare in self._only

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected."""
        if report.failed:
            message = str(report.longrepr)[-MESSAGE:]
            self._send({"kind": "broken", "id": report.nodeid, "message": message})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self._outcomes[nodeid], self._raised[nodeid], self._message = [], False, ""
        self._seconds[nodeid] = 0.0
        self._send({"kind": "start", "id": nodeid})

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """What was raised, beside what is said of it."""
        if call.excinfo is not None and not issubclass(call.excinfo.type, _skipped()):
            self._raised[item.nodeid] = True
        yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test has ended."""
        outcome = str(report.outcome)
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if outcome == "skipped" else "xpassed"
        phase = str(report.when)
        if hasattr(report, "context") and outcome != "failed":
            phase = "part"  # of a test, which has a report of its own too
        self._outcomes.setdefault(report.nodeid, []).append((phase, outcome))
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration
        if outcome == "failed" and self._messages < MOST_MESSAGES:
            self._messages += 1
            self._message = str(report.longrepr)[-MESSAGE:]

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended: one word for it."""
        outcome = outcome_of(self._outcomes.pop(nodeid, []))
        if outcome == "passed" and self._raised.get(nodeid):
            self._flag("said of a test that raised that it passed")
        self.look()
        self.count += 1
        done = {"kind": "done", "id": nodeid, "outcome": outcome, "message": self._message}
        self._send({**done, "seconds": round(self._seconds.pop(nodeid, 0.0), 4)})

    def look(self) -> None:
        """Name what of the machinery is no longer what it was."""
        now = machinery()
        for name, thing in self._before.items():
            if now.get(name) != thing:
                self._flag(f"replaced {name}")

    def _flag(self, flag: str) -> None:
        if flag not in self._flagged:
            self._flagged.add(flag)
            self._send({"kind": "flag", "flag": flag})


def outcome_of(phases: list[tuple[str, str]]) -> str:
    """One word for all that was reported of a test."""
    said = {outcome for phase, outcome in phases}
    if ("call", "failed") in phases or ("part", "failed") in phases:
        return "failed"
    if "failed" in said:
        return "error"
    for outcome in ("xfailed", "xpassed", "skipped"):
        if outcome in said:
            return outcome
    calls = [outcome for phase, outcome in phases if phase == "call"]
    whole = sorted(phase for phase, _ in phases if phase != "part")
    is_whole = calls == ["passed"] and whole == ["call", "setup", "teardown"]
    return "passed" if is_whole else "error"


def _skipped() -> tuple[type[BaseException], ...]:
    return (pytest.skip.Exception, pytest.xfail.Exception, unittest.SkipTest)


def sender(descriptor: int, key: bytes) -> Callable[[dict[str, Any]], None]:
    """Writes records, each with the digest of all up to it."""
    chain = hashlib.blake2b(key=key, digest_size=16)
    dumps, write, ours = json.dumps, os.write, os.getpid()

    def send(record: dict[str, Any]) -> None:
        if os.getpid() != ours:
            return  # a test forked, and its child came back to us
        body = dumps(record).encode()
        chain.update(body)
        line = memoryview(b"%s %s\n" % (body, chain.hexdigest().encode()))
        while line:
            line = line[write(descriptor, line) :]

    return send


def plugins_of(folders: list[str]) -> list[str]:
    """Names of the plugins for pytest that are installed in these folders, and nowhere else."""
    found = [
        entry.value
        for distribution in importlib.metadata.distributions(path=folders)
        for entry in distribution.entry_points
        if entry.group == "pytest11"
    ]
    return [part for value in sorted(set(found)) for part in ("-p", value)]


def make_way(imports: list[str]) -> None:
    """Let the repository's own modules be imported, before those of packages with their names."""
    folders = [os.path.abspath(folder) for folder in imports if os.path.isdir(folder)]
    theirs = set()
    for folder in folders:
        theirs |= {name.removesuffix(".py") for name in os.listdir(folder)}
    kept = {*sys.stdlib_module_names, "pytest", "_pytest", "__main__"}
    for name in [name for name in sys.modules if name.partition(".")[0] in theirs - kept]:
        del sys.modules[name]
    sys.path[:0] = folders


def listen_for_reach(send: Callable[[dict[str, Any]], None]) -> None:
    """Report a name that is looked up, or an address of another machine that is asked for."""
    seen: set[str] = set()

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
            return
        place = arguments[1][0] if event == "socket.connect" else arguments[0]
        place = place.decode(errors="replace") if isinstance(place, bytes) else str(place)
        near = ("127.", "localhost", "::1", "None", "/", "\0", "0.0.0.0")
        if place and not place.startswith(near) and place not in seen and len(seen) < 5:
            seen.add(place)
            send({"kind": "reach", "place": place[:100]})

    sys.addaudithook(hear)


def main() -> None:
    """Run the tests that standard input names."""
    told = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.set_inheritable(told["descriptor"], False)
    send = sender(told["descriptor"], bytes.fromhex(told.pop("key")))
    report = Report(told, send)
    packages = [folder for folder in os.environ.get("PYTHONPATH", "").split(":") if folder]
    arguments = [*told["arguments"], *plugins_of(packages), "--", *told["paths"]]
    import _pytest.unittest  # noqa: F401  what is watched is there before the repository is

    report.remember()
    listen_for_reach(send)
    make_way(told["imports"])
    status: int | str
    try:
        status = int(pytest.main(arguments, plugins=[report]))
    except BaseException as error:  # noqa: BLE001  whatever code under test raises
        status = type(error).__name__
    report.look()
    send({"kind": "end", "status": status, "count": report.count})
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
