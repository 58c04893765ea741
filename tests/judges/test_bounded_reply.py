"""A judge's reply is bounded, whether it is endless, compressed or an error."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.judges.questions import edit_questions

from hpedit.judges import bounded_reply
from hpedit.judges.openai_judge import OpenAIJudge


@contextmanager
def sending(status: int, coding: str = "") -> Iterator[tuple[str, list[int]]]:
    """A server whose reply never ends, and the numbers of bytes that it got rid of."""
    sent: list[int] = []

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Send until the client hangs up."""
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            if coding:
                self.send_header("content-encoding", coding)
            self.end_headers()
            count = 0
            try:
                while count < 400 * 2**20:
                    count += self.wfile.write(b" " * 2**16)
            except OSError:
                pass
            sent.append(count)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", sent
        server.shutdown()


@pytest.mark.parametrize(("status", "coding"), [(200, ""), (500, ""), (200, "gzip")])
def test_an_endless_reply_is_cut_off_and_its_question_unscorable(status: int, coding: str) -> None:
    with sending(status, coding) as (url, sent):
        (answer,) = OpenAIJudge("m", [url], attempts=1, timeout=20.0).ask(edit_questions()[:1])
    assert answer.probabilities is None
    assert ("compressed" if coding else "more than") in (answer.reason or "")
    assert max(sent) < bounded_reply.MAX_REPLY + 64 * 2**20  # what sockets buffer on the way
