"""Twenty raters, five answers a second each, and a server that is killed in the midst of it."""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from tests.rate.serving import Child, make_edits

from hpedit.ratings.store import RatingStore

RATERS, PER_SECOND, KILLS = 20, 5, 3
UPTIME = 1.5
"""Seconds of storm before each kill, and after the last: longer where a busy machine took few answers."""
STORM = RATERS * PER_SECOND // 2
"""Answers between two kills at least."""
PATIENCE = 90.0
"""Seconds until a server must answer again; it takes one to start."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class StormRater(threading.Thread):
    """Answers at a steady pace, and repeats every request until it is confirmed, as the page does."""

    def __init__(self, port: int, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.over = over
        self.base, self.port = f"http://127.0.0.1:{port}", port
        self.name_ = f"rater {number}"
        self.cookie, self.confirmed, self.errors = "", {}, []  # type: tuple[str, dict[str, float], list[str]]
        self.repeats = 0
        self.random = random.Random(number)

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=3)
            headers = {"Origin": self.base, "X-HPEdit": "1", "Content-Type": "application/json", "Cookie": self.cookie}
            try:
                connection.request(method, path, json.dumps(body) if body else None, headers)
                response = connection.getresponse()
                text = response.read().decode()
                self.cookie = (response.getheader("Set-Cookie") or self.cookie).split(";")[0]
                if response.status == 200:
                    reply: dict[str, Any] = json.loads(text)
                    return reply
                self.errors.append(f"{response.status} {text}")
            except (OSError, HTTPException):
                self.repeats += 1
            finally:
                connection.close()
            time.sleep(0.1)
        raise AssertionError(f"{self.name_}: the server did not come back")

    def run(self) -> None:
        self.ask("POST", "/api/session", {"rater": self.name_, "token": None})
        while not self.over.is_set():
            began = time.monotonic()
            item = self.ask("GET", "/api/next").get("item")
            if item is None:
                return
            name, value = str(uuid.uuid4()), float(self.random.randrange(6))
            self.ask("POST", "/api/answer", {"client_id": name, "assignment": item["assignment"], "value": value})
            self.confirmed[name] = value
            time.sleep(max(0.0, 1 / PER_SECOND - (time.monotonic() - began)))


def let_rage(raters: list[StormRater]) -> None:
    """Wait for UPTIME seconds and STORM answers."""
    before, give_up = sum(len(rater.confirmed) for rater in raters), time.monotonic() + PATIENCE
    time.sleep(UPTIME)
    while sum(len(rater.confirmed) for rater in raters) < before + STORM:
        assert time.monotonic() < give_up, "too few answers"
        time.sleep(0.05)


@pytest.mark.slow
def test_kill_9_in_a_storm_of_twenty_raters_loses_and_doubles_nothing(tmp_path: Path) -> None:
    edits, db, port = make_edits(tmp_path / "edits", cases=60, size=(8, 8)), tmp_path / "r.sqlite", free_port()
    options = ("--port", str(port), "--practice", "0", "--overlap", "20", "--retest", "0")
    server = Child(edits, db, *options)
    server.wait_ready()
    over = threading.Event()
    raters = [StormRater(port, number, over) for number in range(RATERS)]
    for rater in raters:
        rater.start()
    for _ in range(KILLS):
        let_rage(raters)
        assert server.end(signal.SIGKILL) == -signal.SIGKILL
        server = Child(edits, db, *options)
    let_rage(raters)
    over.set()
    for rater in raters:
        rater.join()
    assert server.end() == 0
    with RatingStore.open(db) as store:
        answers = store.answers()
    confirmed = {name: value for rater in raters for name, value in rater.confirmed.items()}
    stored = {answer.client_id: answer.value for answer in answers}
    # Everything that was confirmed is there, with its value; nothing is there that was not sent; nothing twice.
    assert stored == confirmed
    assert len(answers) == len(stored)
    assert len({(answer.rater, answer.item) for answer in answers}) == len(answers)
    assert [error for rater in raters for error in rater.errors] == []
    # The storm was one: every kill broke off requests.
    assert sum(rater.repeats for rater in raters) >= KILLS * RATERS / 2
    assert len(answers) >= STORM * (KILLS + 1)
    with sqlite3.connect(db) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_a_real_limit_on_the_file_is_said_and_recovered_from(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    edits, db, port = make_edits(tmp_path / "edits", cases=30, size=(8, 8)), tmp_path / "r.sqlite", free_port()
    server = Child(edits, db, "--port", str(port), "--practice", "0")
    server.wait_ready()
    rater = StormRater(port, 1, threading.Event())
    rater.ask("POST", "/api/session", {"rater": "Anna", "token": None})
    item = rater.ask("GET", "/api/next")["item"]
    body = {"client_id": str(uuid.uuid4()), "assignment": item["assignment"], "value": 3}
    limit = db.with_name(db.name + "-wal").stat().st_size
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def lift_the_limit() -> None:
        while not rater.errors:
            time.sleep(0.01)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    threading.Thread(target=lift_the_limit, daemon=True).start()
    # It is refused, aloud, and then taken.
    assert rater.ask("POST", "/api/answer", body)["duplicate"] is False
    assert rater.errors
    assert all(error[:3] in ("503", "507") and "locked" not in error for error in rater.errors)
    assert server.end() == 0
    with RatingStore.open(db) as store:
        assert [answer.value for answer in store.answers()] == [3]


@pytest.mark.slow
def test_a_second_server_refuses_and_the_first_ends_cleanly(tmp_path: Path) -> None:
    edits, db = make_edits(tmp_path / "edits", size=(8, 8)), tmp_path / "r.sqlite"
    server = Child(edits, db, "--port", "0")
    server.wait_ready()
    command = [sys.executable, "-m", "hpedit", "rate", "serve", str(edits), "--db", str(db), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert second.stdout == ""
    assert second.stderr.endswith("is in use by another rating server\nhint: stop it, or choose another --db\n")
    assert server.end(signal.SIGINT) == 0
    log = server.log.read_text()
    assert "8 edits to score, 3 raters each; so far 0 answers of 0 raters" in log
    assert log.endswith(f"stopped; 0 answers in {db}\n")
    assert "Traceback" not in log
    # The folder is left without a trace of the writer: all is in the one file.
    assert not db.with_name(db.name + "-wal").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "0.0.0.0"), "needs a token"),
        (("--host", "0.0.0.0", "--token", "short"), "at least 16"),
        (("--host", "127.0.0.300", "--token", "x" * 16), "cannot be used"),
        (("--mode", "compare", "--gold", "nowhere.csv"), "not a file"),
    ],
)
def test_what_cannot_be_served_ends_with_error_and_hint(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    edits = make_edits(tmp_path / "edits", cases=1, size=(8, 8))
    command = [
        sys.executable,
        "-m",
        "hpedit",
        "rate",
        "serve",
        str(edits),
        "--db",
        str(tmp_path / "r.sqlite"),
        *options,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_the_token_of_the_environment_is_not_printed(tmp_path: Path) -> None:
    edits = make_edits(tmp_path / "edits", cases=1, size=(8, 8))
    token = "correct-horse-battery-staple"
    server = Child(edits, tmp_path / "r.sqlite", "--port", "0", HPEDIT_RATE_TOKEN=token)
    server.wait_ready()
    assert server.end() == 0
    log = server.log.read_text()
    assert "raters need the token" in log
    assert token not in log
