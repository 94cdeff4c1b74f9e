"""An address that records what it is asked, and a stand-in for harnesses that asks it.

The stand-in takes lm-eval's and inspect's command lines and writes their logs, as the real ones
did when they were looked at; `benchmarks/evaluation/serving.py` runs the real ones.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

KEY = "the-key"


@dataclass
class Recording:
    """What `munro.evaluation.harnessed.Place` asks for, and what it was asked."""

    base_url: str = ""
    model: str = "m"
    key: str = KEY
    is_alive: bool = True
    asked: list[dict] = field(default_factory=list)
    says: str = "seed"
    """`seed`: the request's own; anything else is said always."""


@contextmanager
def recording() -> Iterator[Recording]:
    """An address on loopback."""
    place = Recording()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.headers["Authorization"] == f"Bearer {KEY}"
            place.asked.append(body)
            said = str(body.get("seed")) if place.says == "seed" else place.says
            told = {"choices": [{"index": 0, "message": {"content": said}}]}
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    place.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()


PROGRAM = r"""#!PYTHON -I
import json, os, sys, time, urllib.request
from pathlib import Path

MODE, COUNT = Path(__file__).with_suffix(".mode").read_text(), 4
if sys.argv[1] == "-I":
    print("1.0")
    sys.exit("absent" in MODE)
module, words = sys.argv[2], sys.argv[3:]


def option(name, default=""):
    return words[words.index(name) + 1] if name in words else default


def ask(base_url, key, seed, number):
    body = {"messages": [{"role": "user", "content": f"task {number}"}], "seed": seed}
    told = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
    request = urllib.request.Request(base_url, json.dumps(body).encode(), told)
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]


if MODE == "fails":
    sys.exit("ValueError: no such task here")
if MODE == "waits":
    time.sleep(600)
print("all is well")
if MODE == "nothing":
    sys.exit(0)
numbers = list(range(2 if MODE == "half" else COUNT)) + ([0] if MODE == "repeats" else [])
score = float("nan") if MODE == "nan" else 1.0
if module == "lm_eval":
    told = dict(pair.split("=", 1) for pair in option("--model_args").split(","))
    out = Path(option("--output_path")) / "m"
    out.mkdir()
    for task in option("--tasks").split(","):
        lines = []
        for n in numbers:
            said = ask(told["base_url"], os.environ["OPENAI_API_KEY"], int(told["seed"]), n)
            lines.append({
                "doc_id": n, "filter": "none", "metrics": ["exact_match"], "exact_match": score,
                "arguments": {"gen_args_0": {"arg_0": [f"task {n}"], "arg_1": {}}},
                "resps": [[said]], "filtered_resps": [said],
            })
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (out / f"samples_{task}_2026-11-28T10-00-00.000001.jsonl").write_text(text)
    counts = {t: {"original": COUNT, "effective": COUNT} for t in option("--tasks").split(",")}
    (out / "results_2026-11-28T10-00-00.000001.json").write_text(json.dumps({"n-samples": counts}))
else:
    url, key = os.environ["MUNRO_BASE_URL"] + "/chat/completions", os.environ["MUNRO_API_KEY"]
    samples = []
    for n in numbers:
        said = ask(url, key, int(option("--seed")), n)
        value = score if MODE == "nan" else "CI"[n % 2]
        samples.append({
            "id": n + 1, "epoch": 1, "input": f"task {n}", "metadata": {"category": "sums"},
            "output": {"choices": [{"message": {"content": said}, "stop_reason": "stop"}],
                       "usage": {"output_tokens": 3}},
            "scores": {"match": {"value": value}},
        })
    log = {"status": "error" if MODE == "error" else "success", "samples": samples,
           "error": {"message": "it broke"}, "results": {"total_samples": COUNT},
           "eval": {"task": "sums", "dataset": {"samples": COUNT}, "config": {}}}
    Path(option("--log-dir"), "log.json").write_text(json.dumps(log))
"""


def stand_in(folder: Path, mode: str = "") -> str:
    """The path of an interpreter that has both harnesses, of a sort."""
    program = folder / "python-with-harnesses"
    program.write_text(PROGRAM.replace("PYTHON", sys.executable, 1))
    program.with_suffix(".mode").write_text(mode)
    program.chmod(0o755)
    return str(program)
