"""Edits to rate, and real servers on them: in a thread of the test's process, or a process of their own."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from hpedit.rate.batched_writer import BatchedWriter
from hpedit.rate.image_cache import ImageCache
from hpedit.rate.launch import prepare_case_check, prepare_rating
from hpedit.rate.server import RatingApp, open_listener, uvicorn_server
from hpedit.rate.sessions import RatingService, RatingSettings
from hpedit.ratings.store import RatingStore
from hpedit.web.security import NetworkPolicy

COLUMNS = ("edit_id", "case_id", "photo_id", "editor", "task", "instruction", "source_file", "edited_file")


def photo(seed: int, size: tuple[int, int] = (24, 16), noise: float = 0.0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    values = np.asarray(small) + rng.normal(0.0, noise, (size[1], size[0], 3)) if noise else np.asarray(small)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def write_table(folder: Path, rows: list[dict[str, str]]) -> Path:
    with (folder / "edits.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def make_edits(folder: Path, cases: int = 4, editors: int = 2, size: tuple[int, int] = (24, 16)) -> Path:
    """A folder with edits.csv; edits are named e<case>-<editor>."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in range(cases):
        photo(case, size).save(folder / f"s{case}.png")
        for editor in range(editors):
            photo(1000 + case, size, noise=5.0 + 60.0 * editor).save(folder / f"secret-model-{editor}-{case}.png")
            rows.append(
                {
                    "edit_id": f"e{case}-{editor}",
                    "case_id": f"c{case}",
                    "photo_id": f"p{case}",
                    "editor": f"secret-model-{editor}",
                    "task": "color",
                    "instruction": f"make thing {case} red",
                    "source_file": f"s{case}.png",
                    "edited_file": f"secret-model-{editor}-{case}.png",
                }
            )
    return write_table(folder, rows)


class Rater:
    """A browser's side of one rater, over real HTTP."""

    def __init__(self, base: str, name: str = "Anna", token: str | None = None, sign_in: bool = True) -> None:
        self.base = base
        # There is no TLS here, and loading certificates takes longer than most tests.
        self.http = httpx.Client(base_url=base, headers={"Origin": base, "X-HPEdit": "1"}, timeout=10, verify=False)
        if sign_in:
            self.ok(self.http.post("/api/session", json={"rater": name, "token": token}))

    @staticmethod
    def ok(response: httpx.Response) -> dict[str, Any]:
        assert response.status_code == 200, (response.status_code, response.text)
        value: dict[str, Any] = response.json()
        return value

    def next(self) -> dict[str, Any] | None:
        return self.ok(self.http.get("/api/next")).get("item")

    def post_answer(self, item: dict[str, Any], value: Any, client_id: str = "", **more: Any) -> httpx.Response:
        body = {"client_id": client_id or str(uuid.uuid4()), "assignment": item["assignment"], "value": value, **more}
        return self.http.post("/api/answer", json=body)

    def answer(self, item: dict[str, Any], value: Any, client_id: str = "", **more: Any) -> dict[str, Any]:
        return self.ok(self.post_answer(item, value, client_id, **more))

    def undo(self, answer: str | None = None, client_id: str = "") -> httpx.Response:
        return self.http.post("/api/undo", json={"client_id": client_id or str(uuid.uuid4()), "answer": answer})

    def picture(self, address: str) -> httpx.Response:
        return self.http.get(address)

    def rate_all(self, value: Any = 3) -> int:
        """Answer until nothing is left; how many that were."""
        count = 0
        while (item := self.next()) is not None:
            self.answer(item, value if item["kind"] == "score" else "A")
            count += 1
        return count


class Serving:
    """A running server in a thread of this process."""

    def __init__(self, store: RatingStore, service: RatingService, cache: ImageCache, base: str) -> None:
        self.store, self.service, self.cache, self.base = store, service, cache, base
        self.raters: list[Rater] = []

    def rater(self, name: str = "Anna", token: str | None = None, sign_in: bool = True) -> Rater:
        self.raters.append(Rater(self.base, name, token, sign_in))
        return self.raters[-1]


@contextmanager
def serving(
    edits: Path, db: Path, *, kind: str = "score", token: str | None = None, practice: int = 0,
    gold: Path | None = None, port: int = 0, cases: Path | None = None, names: tuple[str, ...] = (), **settings: Any,
) -> Iterator[Serving]:  # fmt: skip
    run = RatingSettings(kind, **{"retests": 0, "seed": "7", **settings})  # type: ignore[arg-type]
    with RatingStore.hold(db) as store, open_listener("127.0.0.1", port) as listener:
        if kind == "check":
            service, cache = prepare_case_check(store, edits, run)
        else:
            service, cache = prepare_rating(store, edits, run, gold=gold, practice=practice, cases=cases)
        port = listener.getsockname()[1]
        writer = BatchedWriter(store, service.reload)
        policy = NetworkPolicy.of_address("127.0.0.1", port, token, names)
        server = uvicorn_server(RatingApp(service, writer, cache, policy, port).app())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running = Serving(store, service, cache, f"http://127.0.0.1:{port}")
        try:
            yield running
        finally:
            for rater in running.raters:
                rater.http.close()
            server.should_exit = True
            thread.join()
            writer.close()


class Child:
    """`hpedit rate serve` as a process of its own."""

    def __init__(self, edits: Path, db: Path, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "hpedit", "rate", "serve", str(edits), "--db", str(db), *options]
        self.log = db.with_name("server.log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **environment}
            )
        assert self.process.stdout is not None
        self.base = self.process.stdout.readline().strip().rstrip("/")

    def wait_ready(self, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if httpx.get(self.base + "/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def error_of(response: httpx.Response) -> str:
    """The error of a refused request; every one is JSON with error and hint."""
    body = json.loads(response.text)
    assert set(body) == {"error", "hint"}, body
    return str(body["error"])
