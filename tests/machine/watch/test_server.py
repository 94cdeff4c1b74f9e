"""The page over HTTP: who is answered, what every answer carries, and what is told where a run's
folder is not as it should be."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from munro.evaluation.page_server import POLICY, CannotListen, is_loopback, may_ask, url_of
from munro.machine.cli.main import munro
from munro.machine.report.page import ASSETS
from munro.machine.run.files import RunError
from munro.machine.run.folder import RunFolder, Status
from munro.machine.watch import answers as answers_module
from munro.machine.watch.answers import Answers, BadQuestion
from munro.machine.watch.open import opened
from munro.machine.watch.server import FILES, Server
from munro.machine.watch.shown import NotThere
from munro.rollout.store.store import RolloutStore, StoreError
from tests.builders import make_group
from tests.machine.builders import HOSTILE, make_run
from tests.machine.watch.watching import answers_about, get, make_watched, served


@pytest.fixture(autouse=True)
def _looks_every_time(monkeypatch):
    monkeypatch.setattr(answers_module, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(answers_module, "READ_S", math.inf)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [make_watched(folder / name).path for name in ("one", "two")]


@pytest.fixture(scope="module")
def server(runs):
    with served(*runs) as server:
        yield server


# who is answered, and with what


@pytest.mark.parametrize(
    ("called", "host", "answered"),
    [
        ("127.0.0.1:8000", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("[::1]:80", "::1", True),
        ("evil.example:8000", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("192.168.1.4", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("localhost:x", "127.0.0.1", False),
        ("[::1", "::1", False),
        ("192.168.1.4:80", "0.0.0.0", True),
        ("localhost:80", "0.0.0.0", True),
        (socket.gethostname(), "0.0.0.0", True),
        ("evil.example", "0.0.0.0", False),
        ("node7.lab", "node7.lab", True),
    ],
)
def test_only_who_calls_this_machine_by_its_own_name_is_answered(called, host, answered):
    assert may_ask(called, host) is answered


def test_a_rebound_name_gets_nothing_and_is_told_nothing(server):
    status, headers, body = get(server, "/news?at=", Host="evil.example")
    assert status == 403
    assert list(body) == ["error"]
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/", "/watch.js", "/news?at=", "/nothing", "/group?run=9"])
def test_every_answer_carries_the_policy(server, path):
    _, headers, _ = get(server, path)
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'; script-src 'self'")


def test_the_files_of_the_page_are_there_and_no_other(server):
    html = get(server, "/")[2]
    named = set(re.findall(r'(?:src|href)="([^"]+)"', html)) - {"data:,"}
    assert {f"/{name}" for name in named} | {"/"} == FILES.keys()
    for path in FILES:
        assert get(server, path)[0] == 200
    for path in ("/machine.css", "/../page/watch.js", "/%2e%2e/config.py", "/etc/passwd"):
        assert get(server, path)[0] == 404


def test_no_script_makes_markup_out_of_text():
    for path, (name, _) in FILES.items():
        code = (ASSETS / name).read_text()
        assert not re.findall(
            r"innerHTML|outerHTML|insertAdjacent\w+|document\.write|eval\(", code
        ), path
        assert not re.search(r"\son\w+=|style=|javascript:", code if name.endswith("html") else "")


def test_what_loopback_is_and_what_a_person_opens():
    assert is_loopback("127.0.0.1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("node7")
    assert url_of("::1", 80) == "http://[::1]:80/"
    assert url_of("0.0.0.0", 80) == "http://localhost:80/"


# answers


def test_the_first_news_are_everything_and_the_next_what_is_new(runs):
    answers = answers_about(*runs)
    news = answers.to("news", {})
    assert [run["name"] for run in news["runs"]] == ["one", "two"]
    assert [f["id"] for f in news["figures"]][:2] == ["climb", "entropy"]
    first = news["runs"][0]
    assert first["curves"]["steps"] == list(range(1, 41))
    assert first["given"] == {"total": 2, "counts": {"too_hard": 2}}
    assert first["stored"]["rollouts"]["attempts"] == 96
    again = answers.to("news", {"at": "0.1.40,0.1.40", "tag": news["tag"], "names": news["names"]})
    assert "figures" not in again
    assert [run["curves"]["steps"] for run in again["runs"]] == [[], []]
    assert len(json.dumps(again)) < 4000


def test_what_a_page_has_of_another_generation_is_told_anew(tmp_path):
    run = make_run(tmp_path / "one")
    answers = answers_about(run.path)
    news = answers.to("news", {})
    run.metrics.truncate_after(10)
    news = answers.to("news", {"at": "0.1.40", "tag": news["tag"], "names": news["names"]})
    (told,) = news["runs"]
    assert (told["generation"], told["curves"]["steps"]) == (1, list(range(1, 11)))


@pytest.mark.parametrize("at", ["x", "1", "1.2.3.4", "-1.0.0", "0.1.99999", "9" * 40, "0.0.5"])
def test_a_page_that_says_nonsense_of_what_it_has_gets_everything(runs, at):
    (told, _) = answers_about(*runs).to("news", {"at": at})["runs"]
    assert told["curves"]["start"] == 0
    assert len(told["curves"]["steps"]) == 40


def test_attempts_are_filtered_sorted_and_paged(runs):
    ask = answers_about(*runs)
    ask.look()
    of = {"run": "0"}
    page = ask.to("attempts", of | {"count": "10", "from": "90"})
    assert (page["found"], page["stored"], len(page["rows"])) == (96, 96, 6)
    failed = ask.to("attempts", of | {"verdict": "failed", "step": "20", "env": "puzzles"})["rows"]
    assert {(row["solved"], row["step"], row["env"]) for row in failed} == {(False, 20, "puzzles")}
    best = ask.to("attempts", of | {"order": "advantage"})["rows"]
    assert [row["advantage"] for row in best] == [1.0] * 40
    found = ask.to("attempts", of | {"text": "ALERT(1)"})
    assert (found["found"], found["looked"]) == (4, 96)
    dropped = ask.to("attempts", of | {"store": "dropped", "given_up": "too_hard"})
    assert dropped["found"] == 8
    assert {row["advantage"] for row in dropped["rows"]} == {None}


def test_a_group_its_attempts_and_their_tokens(runs):
    ask = answers_about(*runs)
    ask.look()
    place = {"run": "0", "step": "10", "index": "40"}
    group = ask.to("group", place)
    assert [one["attempt"] for one in group["attempts"]] == list(range(6))
    assert group["pass_rate"] == 0.5
    attempt = ask.to("attempt", place | {"attempt": "0"})
    assert HOSTILE in attempt["reply"]
    tokens = ask.to("tokens", place | {"attempt": "0"})
    assert tokens["texts"] == ["[1]", "[2]", "[3]", "[4]", "[5]", "[6]", "[7]"]
    assert tokens["probability"] == [None] * 4 + [0.60653] * 3
    assert tokens["version"] == [None] * 4 + [0] * 3
    assert not tokens["has_texts"]
    given = ask.to("given", {"run": "0"})
    assert [row["stored"] for row in given["rows"]] == [True, True]
    assert ask.to("group", {"run": "0", "store": "dropped", "step": "9", "index": "9"})["given_up"]


@pytest.mark.parametrize(
    ("kind", "asked", "refusal"),
    [
        ("attempts", {"order": "zzz"}, BadQuestion),
        ("attempts", {"verdict": "zzz"}, BadQuestion),
        ("attempts", {"from": "x"}, BadQuestion),
        ("attempts", {"step": "1" * 30}, BadQuestion),
        ("attempts", {"run": "2"}, NotThere),
        ("attempts", {"run": "-1"}, NotThere),
        ("attempts", {"store": "../.."}, NotThere),
        ("group", {"step": "10", "index": "99"}, NotThere),
        ("group", {"step": "11"}, StoreError),
        ("attempt", {"step": "10", "index": "40", "attempt": "99"}, NotThere),
    ],
)
def test_what_makes_no_sense_or_is_gone_is_told(runs, server, kind, asked, refusal):
    answers = answers_about(*runs)
    answers.look()
    with pytest.raises(refusal) as told:
        answers.to(kind, asked)
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    status, _, body = get(server, f"/{kind}?{query}")
    assert status == (400 if refusal is BadQuestion else 410)
    assert body["error"]
    assert "\n" not in str(told.value)


# folders that are not as they should be


def told_of(path):
    return answers_about(path).to("news", {})["runs"][0]


def test_a_run_that_is_only_begun_says_so_and_grows(tmp_path):
    run = RunFolder(tmp_path / "new")
    run.begin({}, seed=0, provenance={})
    answers = answers_about(run.path)
    news = answers.to("news", {})
    (told,) = news["runs"]
    assert (told["step"], told["curves"]["steps"], news["figures"]) == (None, [], [])
    run.metrics.append(1, {"pass_rate/sampled": 0.5})
    RolloutStore(run.rollouts).write(1, [make_group()], [[1.0, -1.0]])
    news = answers.to("news", {"at": "0.1.0", "tag": news["tag"], "names": news["names"]})
    assert news["runs"][0]["stored"]["rollouts"]["attempts"] == 2
    assert [f["id"] for f in news["figures"]] == ["climb", "gates"]
    assert news["runs"][0]["curves"]["columns"] == {"pass_rate/sampled": [0.5]}


def test_watching_makes_nothing_in_the_folder(tmp_path):
    run = make_watched(tmp_path / "one")
    shutil.rmtree(run.dropped)
    (run.path / "journal.jsonl").unlink()
    before = sorted(path.name for path in run.path.rglob("*"))
    told_of(run.path)
    assert sorted(path.name for path in run.path.rglob("*")) == before


def test_a_run_that_lacks_its_last_file_or_has_half_of_one_shows_the_rest(tmp_path):
    run = make_watched(tmp_path / "one")
    whole = (run.rollouts / "step-000030.parquet").read_bytes()
    (run.rollouts / "step-000030.parquet").write_bytes(whole[: len(whole) // 2])
    (run.rollouts / "step-000040.parquet").unlink()
    (run.rollouts / "step-000020.parquet").write_bytes(b"PAR1 no")
    (run.path / "config.toml").write_text("[[[")
    told = told_of(run.path)
    assert told["stored"]["rollouts"]["steps"] == [10, 30]
    assert len([one for one in told["troubles"] if "step-000020" in one]) == 1
    assert told["curves"]["lines"] == 40


def test_a_folder_that_another_version_wrote_shows_what_is_understood(tmp_path):
    run = make_run(tmp_path / "one")
    info = json.loads((run.path / "run.json").read_text())
    info |= {"restarts": [{"step": 3}, 7], "something": {"new": 1}, "provenance": ["model"]}
    info |= {"resumes": ["late", 3], "cause": None}
    (run.path / "run.json").write_text(json.dumps(info))
    (run.path / "config.toml").write_text('clip = "no table"\nnum_steps = "many"')
    with run.metrics.path.open("a") as file:
        file.write('{"version": 9}\n"a line"\n')
    told = told_of(run.path)
    assert told["segments"] == []
    assert (told["cause"], told["num_steps"]) == ("", None)
    assert [event["step"] for event in told["events"]] == [3, 20]
    assert told["curves"]["lines"] == 40
    assert told["troubles"] == [
        f"1 lines of {run.metrics.path} are no step's metrics, and were left out."
    ]
    (run.path / "run.json").write_text(json.dumps(info | {"status": "dreaming"}))
    assert any("run.json cannot be read" in one for one in told_of(run.path)["troubles"])


def test_an_attempt_that_another_version_stored_otherwise_says_so(runs, monkeypatch):
    answers = answers_about(*runs)
    answers.look()
    shelf = answers.runs[0].shelves["rollouts"]
    place = {"run": "0", "step": "10", "index": "40", "attempt": "0"}
    real = shelf.group
    for changed in ({"grade_parts": "[1]"}, {"messages": '[{"a": 1}, 2]'}, {"calls": "{"}):
        monkeypatch.setattr(
            shelf, "group", lambda *asked, of=changed: [row | of for row in real(*asked)]
        )
        with pytest.raises(NotThere, match="another one wrote it"):
            answers.to("attempt", place)


def test_a_run_of_another_machine_is_not_called_dead_while_it_writes(tmp_path):
    run = RunFolder(tmp_path / "far")
    run.begin({}, seed=0, provenance={"model": "/home/of/another/machine"})
    run.metrics.append(1, {"pass_rate/sampled": 0.5})
    told = told_of(run.path)
    assert told["status"] == Status.INTERRUPTED
    assert "runs on another machine" in told["troubles"][0]


def test_a_folder_that_is_removed_meanwhile_says_so(tmp_path):
    run = make_run(tmp_path / "one")
    answers = answers_about(run.path)
    answers.to("news", {})
    shutil.rmtree(run.path)
    told = answers.to("news", {})["runs"][0]
    assert "is gone" in told["troubles"][0]
    assert told["stored"]["rollouts"]["attempts"] == 0


def test_fifty_runs_at_once(tmp_path):
    first = make_run(tmp_path / "run-0", num_steps=8, rollouts_every=9).path
    paths = [first, *(shutil.copytree(first, tmp_path / f"run-{n}") for n in range(1, 50))]
    answers = answers_about(*paths)
    news = answers.to("news", {})
    assert [run["name"] for run in news["runs"]] == [path.name for path in paths]
    assert all(run["curves"]["lines"] == 8 for run in news["runs"])


def test_steps_that_are_packed_meanwhile_are_not_read_again_and_those_taken_again_are(
    tmp_path, monkeypatch
):
    run = make_run(tmp_path / "one")
    answers = answers_about(run.path)
    answers.look()
    shelf = answers.runs[0].shelves["rollouts"]
    read = []
    real = shelf._read
    monkeypatch.setattr(shelf, "_read", lambda steps: read.append(steps) or real(steps))
    store = RolloutStore(run.rollouts)
    store.pack()
    answers.look()
    assert (read, len(shelf)) == ([], 96)
    store.write(20, [make_group()], [[1.0, -1.0]])
    answers.look()
    assert (read, len(shelf)) == ([[20]], 96 - 24 + 2)
    store.drop_after(20)
    answers.look()
    assert shelf.steps == [10, 20]


def test_attempts_of_a_long_run_come_newest_first_and_keep_no_curve_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(answers_module, "READ_S", -1.0)
    monkeypatch.setattr("munro.machine.watch.shelf.STEPS_AT_ONCE", 2)
    run = make_run(tmp_path / "one", rollouts_every=8)
    RolloutStore(run.rollouts).pack(keep=2)
    answers = answers_about(run.path)
    seen = []
    for _ in range(3):
        (told,) = answers.to("news", {})["runs"]
        assert told["curves"]["lines"] == 40
        stored = told["stored"]["rollouts"]
        seen.append((stored["steps"], stored["waiting"]))
    assert seen == [([32, 40], 3), ([16, 40], 1), ([8, 40], 0)]
    assert stored["attempts"] == 5 * 24


# the command


def test_a_climb_that_fetches_its_model_yet_is_watched(tmp_path):
    run = RunFolder(tmp_path / "runs" / "new")
    holds = (
        "import sys, pathlib; from munro.machine.run.folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).held(): print('held', flush=True); input()"
    )
    climb = subprocess.Popen(
        [sys.executable, "-c", holds, str(run.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with climb:
        assert climb.stdout.readline() == "held\n"
        answers = Answers(opened([run.path]))
        (told,) = answers.to("news", {})["runs"]
        assert "its model comes first" in str(told)
        run.begin({}, seed=0, provenance={})
        (told,) = answers.to("news", {})["runs"]
        assert "its model comes first" not in str(told)
        climb.stdin.write("\n")
    with pytest.raises(RunError, match=r"it has no run\.json"):
        opened([tmp_path / "runs"])


def test_what_is_no_run_or_cannot_be_listened_at_is_one_clear_line(runs, tmp_path):
    with pytest.raises(RunError, match=r"There is no run at .*/nowhere: there is no such folder"):
        opened([tmp_path / "nowhere"])
    assert not (tmp_path / "nowhere").exists()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"127.0.0.1:{port}: Address already in use. Name"):
            Server(answers_about(*runs), "127.0.0.1", port)
    for host, port in (("no.such.host.invalid", 0), ("127.0.0.1", 99999)):
        with pytest.raises(CannotListen, match=rf"nothing can listen at {host}:{port}: "):
            Server(answers_about(*runs), host, port)


def test_runs_of_one_name_are_told_apart_and_one_named_twice_is_one(runs, tmp_path):
    other = make_run(tmp_path / "one", num_steps=8).path
    names = [run.name for run in opened([runs[0], other, runs[0], runs[1]])]
    assert names == [str(runs[0]), str(other), "two"]


def test_a_table_in_the_terminal(runs):
    done = CliRunner().invoke(munro, ["watch", *map(str, runs), "--terminal"])
    assert done.exit_code == 0, done.output
    assert done.output.count("finished") == 2
    assert "too hard 2" in done.output
