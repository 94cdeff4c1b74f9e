"""The life of a server that Munro starts: one per checkpoint, and never longer than its users.

The servers here answer as vLLM does and hold no model; `test_judge_served.py` starts the real one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from munro.rewards.errors import GraderError
from munro.rewards.judge import Judge, JudgeConfig
from munro.rewards.serving import server as judge_server
from munro.rewards.serving.config import JudgeServerConfig

KEEPER = Path(judge_server.__file__).with_name("server_child.py")

STAND_IN = r"""
import http.server, json, os, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import signal, time; "
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
print("a stand-in is up", flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        known = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        self.answer({"data": [{"id": "judge"}]} if known else {}, 200 if known else 401)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "die now" in body["messages"][-1]["content"]:
            os._exit(3)
        notes = body["response_format"]["json_schema"]["schema"]["properties"]["notes"]
        text = json.dumps({"notes": str(notes["maxLength"]), "verdict": "yes"})
        self.answer({"choices": [{"message": {"content": text}}]})

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A folder that passes for a checkpoint, served by a stand-in."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    serve_by(monkeypatch, STAND_IN)
    return folder


def serve_by(monkeypatch, program):
    monkeypatch.setattr(
        judge_server,
        "command_line",
        lambda path, port, config, name: [sys.executable, "-I", "-c", program, str(port)],
    )


def config_for(checkpoint, **server):
    return JudgeConfig(
        model=str(checkpoint),
        cache="",
        logs=str(checkpoint.parent),
        retries=1,
        backoff_s=0,
        server=JudgeServerConfig(**server),
    )


def family(pid):
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def are_gone(pids):
    for _ in range(3000):
        if not any(psutil.pid_exists(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


def test_judges_of_one_checkpoint_share_a_server_that_ends_with_the_last(checkpoint):
    with Judge(config_for(checkpoint)) as first:
        with Judge(config_for(checkpoint)) as second:
            assert first.wait(first.equivalence("", "a", "b")).passed
            grade = second.wait(second.equivalence("", "a", "b"))
            assert grade.reason == "600"  # a judge of our own has bounded notes
            (server,) = judge_server._servers.values()
            pids = family(server.process.pid)
            assert len(pids) >= 3
        assert server.is_alive
    assert are_gone(pids)
    assert judge_server._servers == {}


def test_a_server_that_died_is_said_to_have_and_started_anew(checkpoint):
    with Judge(config_for(checkpoint)) as judge:
        with pytest.raises(GraderError, match=r"judge 'judge': the server of .* ended: "):
            judge.wait(judge.equivalence("", "a", "die now"))
        assert judge.wait(judge.equivalence("", "a", "b")).passed


def test_a_server_that_does_not_come_up_is_one_sentence_with_the_error_in_its_log(
    checkpoint, monkeypatch
):
    program = "print('starting'); raise ValueError('no room for the cache')"
    serve_by(monkeypatch, program)
    with Judge(config_for(checkpoint)) as judge:
        with pytest.raises(GraderError, match=r"ended: ValueError: no room for the cache \(the"):
            judge.wait(judge.check())
        (log,) = checkpoint.parent.glob("server-model-*.log")
        assert "starting" in log.read_text()
    assert judge_server._servers == {}


def test_a_server_that_never_answers_is_given_up_at_a_named_deadline(checkpoint, monkeypatch):
    serve_by(monkeypatch, "import time; print('loading', flush=True); time.sleep(600)")
    with (
        Judge(config_for(checkpoint, start_timeout_s=2.5)) as judge,
        pytest.raises(GraderError, match=r"server.start_timeout_s = 2.5; its log ends: "),
    ):
        judge.wait(judge.check())
    assert judge_server._servers == {}


def test_closing_a_judge_ends_the_wait_for_its_server(checkpoint, monkeypatch):
    serve_by(monkeypatch, "import time; time.sleep(600)")
    judge = Judge(config_for(checkpoint))
    failures = []

    def ask():
        try:
            judge.wait(judge.check())
        except GraderError as failure:
            failures.append(str(failure))

    asking = threading.Thread(target=ask)
    asking.start()
    while not any(server.process for server in judge_server._servers.values()):
        time.sleep(0.01)
    judge.close()
    asking.join()
    assert failures
    assert judge_server._servers == {}


def test_one_checkpoint_has_one_way_of_being_served(checkpoint):
    with Judge(config_for(checkpoint)) as one, Judge(config_for(checkpoint, max_batch=1)) as other:
        one.wait(one.check())
        with pytest.raises(GraderError, match="one checkpoint has one server"):
            other.wait(other.check())


PARENT = """
import sys
from munro.rewards.serving import server as judge_server
from munro.rewards.judge import Judge, JudgeConfig
judge_server.command_line = lambda path, port, config, name: [
    sys.executable, "-I", "-c", open(sys.argv[1]).read(), str(port)]
judge = Judge(JudgeConfig(model=sys.argv[2], cache="", logs=sys.argv[2]))
judge.wait(judge.check())
print([s.process.pid for s in judge_server._servers.values()], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["killed", "at its end"])
def test_a_server_does_not_outlive_the_process_that_wanted_it(checkpoint, tmp_path, how):
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    command = [sys.executable, "-c", PARENT, str(program), str(checkpoint)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        (pid,) = json.loads(parent.stdout.readline())
        pids = family(pid)
        assert len(pids) >= 3
        if how == "killed":
            parent.kill()
        else:
            parent.stdin.close()
        parent.wait()
    assert are_gone(pids)


def test_the_keeper_ends_when_its_command_does_and_takes_the_orphans_along():
    orphan = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)'], start_new_session=True).pid, flush=True); sys.exit(3)"
    )
    command = [sys.executable, "-I", str(KEEPER), str(os.getpid()), sys.executable, "-c", orphan]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        pid = int(keeper.stdout.readline())
        assert keeper.wait() == 3
    assert are_gone([pid])


def test_the_keeper_ends_its_command_when_told():
    command = [sys.executable, "-I", str(KEEPER), str(os.getpid()), sys.executable, "-c"]
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with subprocess.Popen([*command, program], stdin=subprocess.PIPE, stdout=-1) as keeper:
        assert keeper.stdout is not None
        pid = int(keeper.stdout.readline())
        keeper.send_signal(signal.SIGTERM)
        keeper.wait()
    assert are_gone([pid])


def test_with_talks_the_pipes_are_the_commands_own():
    command = [sys.executable, "-I", str(KEEPER), str(os.getpid()), "--talks", sys.executable, "-c"]
    program = "import os; print(os.getpid(), input(), flush=True); print(input())"
    with subprocess.Popen([*command, program], stdin=subprocess.PIPE, stdout=-1) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.write(b"hello\n")
        keeper.stdin.flush()
        pid, said = keeper.stdout.readline().split()
        assert said == b"hello"
        keeper.send_signal(signal.SIGTERM)  # it waits for the next line
        keeper.wait()
    assert are_gone([int(pid)])


def test_the_last_error_of_a_log_is_found_behind_what_vllm_says_after_it(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "INFO 11-22 07:00:00 [api.py:1] starting\n"
        "(EngineCore pid=7) ERROR 11-22 07:00:01 [core.py:9] ValueError: too long: 9000 tokens\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n\n"
    )
    assert judge_server.last_words(log) == "ValueError: too long: 9000 tokens"
    log.write_text(
        "pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, no such architecture\n    For further information visit https://x\n"
    )
    assert judge_server.last_words(log) == "Value error, no such architecture"
    log.write_text("loading\nhalf way\n")
    assert judge_server.last_words(log) == "half way"
    log.write_text("")
    assert judge_server.last_words(log) == "it said nothing"
    assert "cannot be read" in judge_server.last_words(tmp_path / "none")


def test_a_checkpoint_that_changes_is_another_judge(tmp_path):
    (tmp_path / "model.safetensors").write_text("a")
    before = judge_server.fingerprint(tmp_path)
    assert judge_server.fingerprint(tmp_path) == before
    (tmp_path / "model.safetensors").write_text("bb")
    assert judge_server.fingerprint(tmp_path) != before


def test_the_special_texts_of_a_checkpoint_are_read_from_its_tokenizer(tmp_path):
    tokens = [
        {"content": "<|x|>", "special": True},
        {"content": "  ", "special": False},
        {"content": "<turn-1>", "special": True},
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    assert judge_server.special_texts(str(tmp_path)) == ("<turn-1>", "<|x|>")
    assert judge_server.special_texts(str(tmp_path / "none")) == ()


def test_the_key_of_a_server_is_in_no_command_line():
    config = JudgeServerConfig(max_model_len=99, extra_args=("--seed", "1"))
    command = judge_server.command_line("/model", 1234, config)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--max-model-len") + 1] == "99"
    assert command[-2:] == ["--seed", "1"]
    assert judge_server.environment(config, "the-key")["VLLM_API_KEY"] == "the-key"
    assert "the-key" not in " ".join(command)
