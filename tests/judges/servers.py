"""Real servers on the loopback: our own judge's, and one that misbehaves as told."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler"], None]


@dataclass
class Faulty:
    """A server whose replies to chat completions are given in order; the last is repeated.

    `requests` holds (path, headers in small letters, body) of all it was sent.
    """

    replies: Sequence[Reply]
    models: Reply = field(default=lambda handler: handler.send_json(200, {"object": "list", "data": []}))
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    @property
    def asked(self) -> int:
        return len(self.requests)


class Handler(BaseHTTPRequestHandler):
    state: Faulty
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.state.models(self)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.state.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.state.requests.append((self.path, headers, json.loads(body)))
            self.state.times.append(time.monotonic())
            reply = self.state.replies[min(self.state.asked, len(self.state.replies)) - 1]
            self.state.under_way += 1
            self.state.most_under_way = max(self.state.most_under_way, self.state.under_way)
        try:
            reply(self)
        finally:
            with self.state.lock:
                self.state.under_way -= 1

    def send_text(self, code: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(code)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_json(self, code: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.send_text(code, json.dumps(value), headers)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(*replies: Reply, port: int = 0, **options: Any) -> Iterator[Faulty]:
    """A server that misbehaves, in a thread."""
    state = Faulty(replies, **options)
    handler = type("Bound", (Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(masses: dict[str, float] | None, said: str | None = None, **message: Any) -> dict[str, Any]:
    """A chat completion whose first token has these probabilities; None sends no logprobs."""
    logprobs = None
    if masses is not None:
        top = [{"token": t, "logprob": math.log(m) if m > 0 else -9999.0, "bytes": None} for t, m in masses.items()]
        first = max(top, key=lambda one: one["logprob"]) if top else {"token": "x", "logprob": 0.0}
        logprobs = {"content": [{**first, "top_logprobs": top}]}
        said = said if said is not None else str(first["token"])
    content = {"role": "assistant", "content": said, **message}
    return {"choices": [{"index": 0, "message": content, "logprobs": logprobs, "finish_reason": "length"}]}


def says(masses: dict[str, float] | None, said: str | None = None, **message: Any) -> Reply:
    return lambda handler: handler.send_json(200, completion(masses, said, **message))


GOOD = says({"4": 0.75, "5": 0.25})


def status(code: int, message: str = "no", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send_json(code, {"error": {"message": message}}, named)


def raw(text: str, kind: str = "application/json") -> Reply:
    return lambda handler: handler.send_text(200, text, {"content-type": kind})


def slow(seconds: float, then: Reply = GOOD) -> Reply:
    def reply(handler: Handler) -> None:
        time.sleep(seconds)
        then(handler)

    return reply


def reset(handler: Handler) -> None:
    """Tear the connection down without a word, as a killed process does."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    # The handler flushes its files when it ends; they are gone.
    handler.wfile = handler.rfile = open("/dev/null", "r+b", buffering=0)  # type: ignore[assignment]  # noqa: SIM115
