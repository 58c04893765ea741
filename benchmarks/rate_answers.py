"""Answers per second of the rating app, each fsynced before its reply, all in one run so that ratios hold.

    python benchmarks/rate_answers.py --write      # and keep the figures in benchmarks/baselines/

A server process and CLIENTS threads that ask for the next item and answer it as fast as they are replied to. Three
ways take turns, and each figure is the median of the rounds: "full" as served, "off" with SQLite's fsync switched off,
"alone" as served with a single client. full/off is what durability costs; full/alone is what one fsync for all who
wait gains.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from PIL import Image

from hpedit.rate.batched_writer import BatchedWriter
from hpedit.rate.launch import prepare_rating
from hpedit.rate.server import RatingApp, open_listener, run_until_signal, uvicorn_server
from hpedit.rate.sessions import RatingSettings
from hpedit.ratings.store import RatingStore
from hpedit.web.security import NetworkPolicy

BASELINE = Path(__file__).parent / "baselines" / "rate_answers.json"
CLIENTS = 20
ITEMS = 400
WAYS = {"full": ("FULL", CLIENTS), "off": ("OFF", CLIENTS), "alone": ("FULL", 1)}
"""SQLite's setting `synchronous`, and clients."""


def serve_child(folder: Path, synchronous: str) -> None:
    """The server's process: as `hpedit rate serve`, but with another setting of SQLite."""
    settings = RatingSettings("score", overlap=CLIENTS, retests=0, seed="0")
    with RatingStore.hold(folder / "ratings.sqlite") as store, open_listener("127.0.0.1", 0) as listener:
        store.connection.execute(f"PRAGMA synchronous = {synchronous}")
        service, cache = prepare_rating(store, folder, settings, practice=0)
        with contextlib.closing(BatchedWriter(store, service.reload)) as writer:
            port = listener.getsockname()[1]
            policy = NetworkPolicy.of_address("127.0.0.1", port, None)
            server = uvicorn_server(RatingApp(service, writer, cache, policy, port).app())
            run_until_signal(server, listener, lambda: print(port, flush=True))


def make_edits(folder: Path) -> None:
    """Small pictures: the answers are measured, not the pictures."""
    rows = ["edit_id,instruction,source_file,edited_file"]
    Image.new("RGB", (8, 8)).save(folder / "source.png")
    for number in range(ITEMS):
        Image.new("RGB", (8, 8), (number % 256, number // 256, 9)).save(folder / f"{number}.png")
        rows.append(f"e{number},make it red,source.png,{number}.png")
    (folder / "edits.csv").write_text("\n".join(rows) + "\n")


class Client(threading.Thread):
    """One rater on one kept connection."""

    def __init__(self, port: int, name: str, end: float) -> None:
        super().__init__()
        self.connection, self.base = HTTPConnection("127.0.0.1", port), f"http://127.0.0.1:{port}"
        self.cookie, self.end, self.rater = "", end, name
        self.seconds: list[float] = []

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The reply to one request."""
        headers = {"Origin": self.base, "X-HPEdit": "1", "Content-Type": "application/json", "Cookie": self.cookie}
        self.connection.request(method, path, json.dumps(body) if body else None, headers)
        response = self.connection.getresponse()
        text = response.read()
        assert response.status == 200, text
        self.cookie = (response.getheader("Set-Cookie") or self.cookie).split(";")[0]
        reply: dict[str, Any] = json.loads(text)
        return reply

    def run(self) -> None:
        """Answer until the time is over."""
        self.ask("POST", "/api/session", {"rater": self.rater, "token": None})
        while time.monotonic() < self.end:
            item = self.ask("GET", "/api/next")["item"]
            body = {"client_id": str(uuid.uuid4()), "assignment": item["assignment"], "value": 3}
            began = time.perf_counter()
            self.ask("POST", "/api/answer", body)
            self.seconds.append(time.perf_counter() - began)
        self.connection.close()


def measure(way: str, seconds: float) -> dict[str, float]:
    """One round: answers per second, and the time that a rater waits for the tick."""
    synchronous, clients = WAYS[way]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_edits(folder)
        command = [sys.executable, __file__, "--serve", synchronous, "--folder", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            end = time.monotonic() + seconds
            raters = [Client(port, f"rater {number}", end) for number in range(clients)]
            for rater in raters:
                rater.start()
            for rater in raters:
                rater.join()
            server.terminate()
        with RatingStore.open(folder / "ratings.sqlite") as store:
            stored = len(store.answers())
    waits = sorted(wait for rater in raters for wait in rater.seconds)
    assert stored == len(waits), "every confirmed answer is stored once"
    return {
        "answers_per_second": stored / seconds,
        "wait_ms_p50": 1000 * waits[len(waits) // 2],
        "wait_ms_p99": 1000 * waits[int(len(waits) * 0.99)],
    }


def fsync_ms(folder: Path) -> float:
    """The median time of one fsync of 4 KiB here, which bounds what one client alone can reach."""
    times = []
    with (folder / "probe").open("wb") as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def run(rounds: int, seconds: float) -> dict[str, Any]:
    """All ways in turn, `rounds` times."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            found[way].append(measure(way, seconds))
    ways = {
        way: {name: round(statistics.median(one[name] for one in rows), 1) for name in rows[0]}
        for way, rows in found.items()
    }
    rate = {way: figures["answers_per_second"] for way, figures in ways.items()}
    with tempfile.TemporaryDirectory() as name:
        return {
            "clients": CLIENTS,
            "ways": ways,
            "ratio_full_to_off": round(rate["full"] / rate["off"], 2),
            "ratio_full_to_alone": round(rate["full"] / rate["alone"], 2),
            "fsync_ms": round(fsync_ms(Path(name)), 2),
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        }


def main() -> None:
    """Print the figures as JSON; --write keeps them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the figures as the baseline")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--serve", choices=("FULL", "OFF"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve_child(asked.folder, asked.serve)
        return
    text = json.dumps(run(asked.rounds, asked.seconds), indent=2) + "\n"
    sys.stdout.write(text)
    if asked.write:
        BASELINE.parent.mkdir(exist_ok=True)
        BASELINE.write_text(text)


if __name__ == "__main__":
    main()
