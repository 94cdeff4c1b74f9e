"""The page over HTTP: some files of ours, and answers as JSON. It takes GET and writes nothing."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from munro.evaluation.page_server import PageHandler, PageServer, may_ask
from munro.machine.report.page import ASSETS
from munro.machine.watch.answers import Answers, BadQuestion
from munro.machine.watch.shown import NotThere
from munro.rollout.store.store import StoreError

FILES = {
    "/": ("watch.html", "text/html"),
    **{
        f"/{name}": (name, kind)
        for kind, names in {
            "text/javascript": (
                "text.js",
                "figures.js",
                "tokens.js",
                "group.js",
                "table.js",
                "watch.js",
            ),
            "text/css": ("report.css", "watch.css"),
        }.items()
        for name in names
    },
}


class Server(PageServer):
    """Serves answers about runs.

    Args:
        answers: about the runs.
        host: that it listens at.
        port: 0 for a free one.

    Raises:
        CannotListen: it cannot listen there.
    """

    def __init__(self, answers: Answers, host: str, port: int) -> None:
        self.answers = answers
        super().__init__(host, port, Handler)


class Handler(PageHandler):
    """One connection."""

    server: Server

    def do_GET(self) -> None:  # noqa: N802 - as the library calls it
        """A file of the page, or an answer."""
        if not may_ask(self.headers.get("Host", ""), self.server.host):
            self._refuse(403, "this page is not served under that name of the host.")
            return
        parts = urlsplit(self.path)
        if parts.path in FILES:
            name, kind = FILES[parts.path]
            self.send_bytes(200, (ASSETS / name).read_bytes(), f"{kind}; charset=utf-8")
            return
        asked = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
        kind = parts.path.removeprefix("/")
        if kind not in self.server.answers.kinds:
            self._refuse(404, "there is nothing of that name.")
            return
        try:
            answer = self.server.answers.to(kind, asked)
        except BadQuestion as error:
            self._refuse(400, str(error))
        except (NotThere, StoreError) as error:
            self._refuse(410, str(error))
        else:
            self.send_json(200, answer)

    def _refuse(self, status: int, sentence: str) -> None:
        self.send_json(status, {"error": sentence})
