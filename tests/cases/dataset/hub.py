"""A small hub on 127.0.0.1: the few endpoints that a push uses, with repositories in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import pytest

TOKEN = "hf_right"


@dataclass
class Hub:
    """What the hub has, and how it is to misbehave."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repositories: visible files by path."""
    private: dict[str, bool] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    """dataset or model."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files by SHA-256, whether a commit names them or not."""
    received: list[str] = field(default_factory=list)
    """SHA-256 of each large file in the order of arrival, whole ones alone."""
    let_in: int = 0
    """Large files that it began to take."""
    commits: list[str] = field(default_factory=list)
    cut_after: int | None = None
    """Large files that it still takes; in the midst of the next it hangs up, and of all after it."""
    cut_answers: bool = False
    """It makes a commit, and hangs up before it says so."""
    hold: threading.Event | None = None
    """Set when a large file is half received; the rest is never read."""
    status: int | None = None
    """Answers everything by this."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def head(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def _answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _refused(self) -> bool:
        if self.hub.status is not None:
            self._answer({"error": "no"}, self.hub.status)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid credentials"}, 401)
        else:
            return False
        return True

    def do_GET(self) -> None:
        if self._refused():
            return
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)(/tree/main|/revision/main)?", path)
        repo = found[1] if found else ""
        if repo not in self.hub.files:
            self._answer({"error": f"nothing at {path}"}, 404)
        elif found and found[2] == "/tree/main":
            files = self.hub.files[repo].items()
            self._answer([{"type": "file", "path": p, "oid": _git(d), "size": len(d)} for p, d in files])
        else:
            names = [{"rfilename": name} for name in self.hub.files[repo]]
            self._answer({"id": repo, "sha": self.hub.head(), "siblings": names})

    def do_POST(self) -> None:
        data = self._body()
        if self._refused():
            return
        path = unquote(urlsplit(self.path).path)
        if path == "/api/repos/create":
            self._create(json.loads(data))
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/preupload/main", path):
            self._answer({"files": [self._mode(found[1], one) for one in json.loads(data)["files"]]})
        elif re.fullmatch(r"(?:/datasets)?/[^/]+/[^/]+\.git/info/lfs/objects/batch", path):
            self._answer({"transfer": "basic", "objects": [self._place(one) for one in json.loads(data)["objects"]]})
        elif found := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/commit/main", path):
            self._commit(found[1], data)
        else:
            self._answer({"error": f"nothing at {path}"}, 404)

    def _create(self, wanted: dict[str, Any]) -> None:
        repo = f"{wanted['organization']}/{wanted['name']}"
        if repo in self.hub.files:
            self._answer({"error": "You already created this dataset repo", "url": self._page(repo)}, 409)
            return
        self.hub.kinds[repo] = wanted.get("type") or "model"
        self.hub.files[repo] = {".gitattributes": b"*.parquet filter=lfs\n"}
        self.hub.private[repo] = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self._answer({"url": self._page(repo)})

    def _page(self, repo: str) -> str:
        return f"{self.hub.url}/{'datasets/' * (self.hub.kinds[repo] == 'dataset')}{repo}"

    def _mode(self, repo: str, one: dict[str, Any]) -> dict[str, Any]:
        large = one["path"].endswith((".parquet", ".png", ".safetensors"))
        old = self.hub.files[repo].get(one["path"])
        oid = None if old is None else hashlib.sha256(old).hexdigest() if large else _git(old)
        return {
            "path": one["path"],
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": False,
            "oid": oid,
        }

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        answer = {"oid": one["oid"], "size": one["size"]}
        if one["oid"] not in self.hub.stored:
            answer["actions"] = {"upload": {"href": f"{self.hub.url}/store/{one['oid']}"}}
        return answer

    def do_PUT(self) -> None:
        name, size = self.path.rpartition("/")[2], int(self.headers["Content-Length"])
        with self.hub.lock:
            # Several come at a time, so each is counted as it is let in.
            cut = self.hub.cut_after is not None and self.hub.let_in >= self.hub.cut_after
            self.hub.let_in += not cut
        if cut:
            self.rfile.read(size // 2)
            if self.hub.hold is not None:
                self.hub.hold.set()
                threading.Event().wait(20)
            self.close_connection = True
            self.connection.close()
            return
        data = self.rfile.read(size)
        assert hashlib.sha256(data).hexdigest() == name
        with self.hub.lock:
            self.hub.stored[name] = data
            self.hub.received.append(name)
        self._answer({})

    def _commit(self, repo: str, data: bytes) -> None:
        after = dict(self.hub.files[repo])
        for line in data.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                after[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                after[value["path"]] = self.hub.stored[value["oid"]]
            elif entry["key"] == "deletedFile":
                del after[value["path"]]
        self.hub.files[repo] = after
        self.hub.commits.append(repo)
        if self.hub.cut_answers:
            self.close_connection = True
            self.connection.close()
            return
        self._answer({"commitUrl": f"{self._page(repo)}/commit/{self.hub.head()}", "commitOid": self.hub.head()})


def _git(data: bytes) -> str:
    """Hash of a blob as git has it."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that listens on a free port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client in this process talks to, without waits between its own retries."""
    import huggingface_hub.utils._http as client

    class NoWaits:
        sleep = staticmethod(lambda _seconds: None)
        time, monotonic, perf_counter = client.time.time, client.time.monotonic, client.time.perf_counter

    with running() as found:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(client, "time", NoWaits)
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found
