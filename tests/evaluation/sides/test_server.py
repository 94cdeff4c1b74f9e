"""Twenty raters at once, a kill -9 in the middle, and no click that was answered is lost."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import defaultdict
from http.client import HTTPException

import pytest

from munro.evaluation.page_server import CannotListen
from munro.evaluation.sides.desk import Desk
from munro.evaluation.sides.journal import Journal, clicks_of
from munro.evaluation.sides.ratings import read_ratings
from munro.evaluation.sides.server import SidesServer, serve_in_thread
from munro.evaluation.sides.study import CLICKS, Asked
from tests.evaluation.sides.serving import Served, asked, token_of
from tests.evaluation.sides.studies import study

RATERS = tuple(f"r{number}" for number in range(1, 21))


@pytest.fixture
def server(tmp_path):
    folder = study(tmp_path, 4, criteria=("right",))
    journal = Journal(folder / CLICKS)
    with SidesServer(Desk(Asked.read(folder), journal)) as server:
        thread = serve_in_thread(server)
        yield server
        server.shutdown()
        thread.join()
    journal.close()


def port_of(server):
    return server.server_address[1]


def token(server, rater="r1"):
    return token_of(server.links()[rater])


class Client(threading.Thread):
    """A rater who clicks, sends again what was not answered, and remembers what was."""

    def __init__(self, port, token, rater, seed):
        super().__init__(daemon=True)
        self.port, self.token, self.rater = port, token, rater
        self.chosen = random.Random(seed)
        self.saved, self.failures = [], 0

    def run(self):
        while True:
            now = self.until_answered("GET", "/now")
            if "look" not in now:
                return
            self.click(now["look"], "preference", self.chosen.randint(1, 7))
            self.click(now["look"], "done", None)

    def click(self, look, field, value):
        body = {"look": look, "field": field, "value": value, "tab": self.rater}
        assert self.until_answered("POST", "/click", body) == {"saved": True}
        self.saved.append((look, field, value))

    def until_answered(self, method, path, body=None):
        while True:
            try:
                status, _, told = asked(self.port, method, path, self.token, body)
            except (OSError, HTTPException):  # nothing came, or half of an answer
                self.failures += 1
                time.sleep(0.01)
                continue
            assert status == 200, told
            return told


def test_twenty_raters_at_once_lose_no_click_to_a_kill(tmp_path):
    folder = study(tmp_path, 16, raters=RATERS, per_pair=5, criteria=())
    served = Served(folder)
    clients = [
        Client(served.port, token_of(served.links[rater]), rater, at)
        for at, rater in enumerate(RATERS)
    ]
    for client in clients:
        client.start()
    while sum(len(client.saved) for client in clients) < 60:
        time.sleep(0.002)
    served.kill()
    before = sum(len(client.saved) for client in clients)
    again = Served(folder, served.port)
    for client in clients:
        client.join(120)
        assert not client.is_alive()
    assert "80 looks are done" in again.end()
    assert before < 160 == sum(len(client.saved) for client in clients)
    assert any(client.failures for client in clients)
    kept = defaultdict(dict)
    for click in clicks_of(folder / CLICKS):
        kept[click.rater][click.look, click.field] = click.value
    for client in clients:
        for look, field, value in client.saved:
            assert kept[client.rater][look, field] == value
    found = read_ratings(folder)
    assert len(found.ratings) == 80
    assert not found.stale
    assert not found.windows


def test_the_page_may_run_nothing_but_its_own(server):
    status, headers, page = asked(port_of(server), "GET", "/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert '<script src="/page.js"></script>' in page
    assert page.count("<script") == 1
    for path in ("/page.js", "/page.css"):
        assert asked(port_of(server), "GET", path)[0] == 200
    script = asked(port_of(server), "GET", "/page.js")[2]
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
        assert way not in script


def test_only_the_token_says_who_one_is(server):
    for wrong in ("", "x", "ü"):
        status, _, told = asked(port_of(server), "GET", "/now", wrong.encode().decode("latin-1"))
        assert status == 403
        assert "not one of the study's" in told["error"]
    mine = asked(port_of(server), "GET", "/now", token(server, "r1"))[2]
    assert mine["total"] == 4
    assert {"left", "right", "prompt", "look"} <= mine.keys()
    assert "pair" not in mine  # nor anything that would tell a check, or who is who
    assert mine.keys() == {"done", "total", "look", "prompt", "left", "right", "criteria", "chosen"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:x"}, 421),
        ({"Host": "localhost:1"}, 200),  # a port that is forwarded
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Length": "99999"}, 413),
        ({"Content-Length": "-1"}, 413),
    ],
)
def test_other_pages_and_odd_requests_are_refused(server, headers, status):
    body = {"look": 0, "field": "preference", "value": 3}
    found = asked(port_of(server), "POST", "/click", token(server), body, **headers)
    assert found[0] == status
    assert list(found[2]) == (["saved"] if status == 200 else ["error"])


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 4000, b'{"look": 0}'])
def test_a_body_that_is_no_click_is_refused(server, body):
    assert asked(port_of(server), "POST", "/click", token(server), body)[0] == 400


def test_a_score_of_nine_by_hand_is_refused_and_told_in_the_report(server, tmp_path):
    port, mine = port_of(server), token(server)
    status, _, told = asked(
        port, "POST", "/click", mine, {"look": 0, "field": "preference", "value": 9}
    )
    assert (status, told["error"]) == (400, "A choice is a whole number from 1 to 7.")
    assert read_ratings(tmp_path / "study").refused == {"r1": ("preference=9",)}


def test_two_windows_one_is_told_to_come_along(server, tmp_path):
    port, mine = port_of(server), token(server)

    def click(look, field, value, tab):
        body = {"look": look, "field": field, "value": value, "tab": tab}
        return asked(port, "POST", "/click", mine, body)

    for field, value in (("preference", 2), ("left/right", 1), ("right/right", 1)):
        assert click(0, field, value, "one")[0] == 200
    assert click(0, "preference", 6, "two")[0] == 200
    assert click(0, "done", None, "one")[0] == 200
    status, _, told = click(0, "preference", 5, "two")
    assert (status, "another window" in told["error"]) == (409, True)
    assert asked(port, "GET", "/now", mine)[2]["look"] == 1
    found = read_ratings(tmp_path / "study")
    assert (found.stale["r1"], found.windows["r1"]) == (1, 1)


def test_hostile_long_and_right_to_left_answers_travel_as_they_are(tmp_path):
    texts = [
        "<script>alert(1)</script><img src=x onerror=alert(1)>\u2028</pre>",
        "ж" * 1_000_000,  # 2 MB
        "שלום \u202eolleh\u202c עולם",
    ]
    folder = study(tmp_path, 3, a=texts, criteria=())
    journal = Journal(folder / CLICKS)
    with SidesServer(Desk(Asked.read(folder), journal)) as server:
        thread = serve_in_thread(server)
        seen = []
        for look in range(3):
            now = asked(port_of(server), "GET", "/now", token(server))[2]
            seen += [now["left"], now["right"]]
            for field, value in (("preference", 1), ("done", None)):
                body = {"look": look, "field": field, "value": value, "tab": "t"}
                asked(port_of(server), "POST", "/click", token(server), body)
        server.shutdown()
        thread.join()
    journal.close()
    assert set(texts) <= set(seen)


def test_a_port_that_is_taken_is_one_sentence(server):
    with pytest.raises(CannotListen, match=r"nothing can listen at 127.0.0.1:\d+: Address already"):
        SidesServer(server.desk, port=port_of(server))
    with pytest.raises(CannotListen, match="Name another --port"):
        SidesServer(server.desk, port=99999)
    with pytest.raises(CannotListen, match=r"nothing can listen at no\.such\.host\.invalid"):
        SidesServer(server.desk, host="no.such.host.invalid")


def test_a_browser_that_says_half_and_goes_disturbs_nobody(server):
    with socket.create_connection(("127.0.0.1", port_of(server))) as line:
        line.sendall(b"POST /click HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    half = json.dumps({"look": 0}).encode()
    with socket.create_connection(("127.0.0.1", port_of(server))) as line:
        head = (
            f"POST /click HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token(server)}\r\n"
        )
        line.sendall(
            head.encode() + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n" + half
        )
    assert asked(port_of(server), "GET", "/now", token(server))[0] == 200
