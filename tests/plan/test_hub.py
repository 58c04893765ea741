"""What a hub may answer, from a real server."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hpedit.plan import hub

MODEL = "someone/editor"
COMMIT = "a" * 40
SIZES = {"model_index.json": 500, "transformer/w.safetensors": 4000, "editor.safetensors": 9000, "README.md": 100}


@pytest.fixture
def hub_says(online):
    """A hub that answers everything by (status, X-Error-Code), and 200 by the model's files."""
    servers = []

    def start(status=200, code=None, delay=0.0):
        class Handler(BaseHTTPRequestHandler):
            def answer(self, body=b""):
                time.sleep(delay)
                self.send_response(status)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", '"x"')
                if code:
                    self.send_header("X-Error-Code", code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def do_HEAD(self):
                asked.append(self.path)
                self.answer()

            def do_GET(self):
                asked.append(self.path)
                files = [{"rfilename": name, "size": size} for name, size in SIZES.items()]
                self.answer(json.dumps({"id": MODEL, "sha": COMMIT, "siblings": files}).encode())

            def log_message(self, *_):
                """Stay silent."""

        asked = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        online(f"http://127.0.0.1:{server.server_port}")
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_hub_that_has_it_tells_size_and_commit_without_a_download(hub_says):
    asked = hub_says()
    found = hub.query_hub_model(MODEL, None)
    assert (found.bytes, found.commit) == (4600, COMMIT), "a second copy at the top is not fetched"
    assert not any("safetensors" in path for path in asked)


@pytest.mark.parametrize(
    ("status", "code", "said", "hint", "network"),
    [
        (403, "GatedRepo", "is gated", "accept its licence", False),
        (401, None, "refuses the token", "hf auth login", False),
        (404, "RepoNotFound", "no model someone/editor", "check its name", False),
        (404, "RevisionNotFound", "has no revision abc", "editor.revision", False),
        (503, None, "can't answer for someone/editor now", "try later", True),
    ],
)
def test_what_the_hub_refuses_is_named(hub_says, status, code, said, hint, network):
    hub_says(status, code)
    with pytest.raises(hub.HubError, match=said) as error:
        hub.query_hub_model(MODEL, "abc")
    assert hint in error.value.hint
    assert error.value.network == network


def test_an_unreachable_hub_is_reported_at_once(online):
    online("http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(hub.HubError, match="can't be reached"):
        hub.query_hub_model(MODEL, None)
    assert time.monotonic() - began < 2 * hub.CONNECT_TIMEOUT


def test_a_network_that_swallows_everything_does_not_hang():
    """192.0.2.1 is kept for documentation: nobody answers there."""
    began = time.monotonic()
    assert not hub.hub_reachable("http://192.0.2.1:81", 0.3)
    assert time.monotonic() - began < 2.0


def test_offline_is_named_with_the_cache(tmp_path):
    with pytest.raises(hub.HubError, match="HF_HUB_OFFLINE is set") as error:
        hub.query_hub_model(MODEL, None)
    assert str(tmp_path / "hf" / "hub") in error.value.message


def test_a_cached_model_is_found_by_branch_and_by_commit(tmp_path):
    folder = tmp_path / "hf" / "hub" / "models--someone--editor"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "model_index.json").write_text("{}")
    assert hub.cached_snapshot(MODEL, COMMIT) == folder / "snapshots" / COMMIT
    assert hub.cached_snapshot(MODEL, None) is None
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert hub.cached_snapshot(MODEL, None) == folder / "snapshots" / COMMIT
    assert hub.cached_snapshot(MODEL, "b" * 40) is None
    assert hub.cached_snapshot(MODEL, COMMIT, "config.json") is None, "it is another kind of model"
