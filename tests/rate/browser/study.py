"""A study of small pictures, the real server over it as a child process, and a rater in a real browser."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

SCRIPT = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> make it red & blue'
EDITORS = ("editor-alpha", "editor-beta")
SIZE = (48, 36)


def write_study(folder: Path, cases: int, instruction: str = "make photo {} brighter") -> Path:
    """`cases` photographs with two edits each, as PNG and a CSV table; every picture has a colour of its own."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in range(cases):
        photo = Image.fromarray(rng.integers(0, 200, (6, 8, 3), dtype=np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        photo.save(folder / f"photo-{case}.png")
        for index, editor in enumerate(EDITORS):
            name = f"{editor}-{case}"
            photo.point(lambda value, gain=1.15 + index / 4: min(255, int(value * gain))).save(folder / f"{name}.png")
            task = "color" if "red" in instruction else "relighting"
            rows.append([name, instruction.format(case), f"photo-{case}.png", f"{name}.png", editor, task])
    with (folder / "edits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["edit_id", "instruction", "source_file", "edited_file", "editor", "task"])
        writer.writerows(rows)
    return folder


@dataclass
class Server:
    """`hpedit rate serve`, or `bench check`, as a child process. `start` again after `kill` takes the same port."""

    edits: Path
    db: Path
    options: tuple[str, ...] = ()
    token: str = ""
    command: tuple[str, ...] = ("rate", "serve")
    port: int = 0
    url: str = ""
    process: subprocess.Popen[str] | None = None

    def start(self) -> Server:
        command = [sys.executable, "-m", "hpedit", *self.command, str(self.edits), "--db", str(self.db)]
        command += ["--port", str(self.port), "--seed", "1", *self.options]
        environment = {**os.environ, "HPEDIT_RATE_TOKEN": self.token}
        log = self.db.with_suffix(".log").open("a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.db.with_suffix(".log").read_text()
        self.port = int(self.url.rstrip("/").rsplit(":", 1)[1])
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def answers(self, rater: str, *, all_of_them: bool = False) -> list[Any]:
        """What the store holds of a rater, practice left out."""
        from hpedit.ratings.store import RatingStore

        with RatingStore.open(self.db) as store:
            found = store.answers(include_superseded=all_of_them)
        return [answer for answer in found if answer.rater == rater and answer.phase != "practice"]

    def values(self, rater: str) -> list[Any]:
        return [answer.value for answer in self.answers(rater)]


@dataclass
class Rater:
    """A person at the page: what they do, and what they can read."""

    page: Page
    server: Server
    name: str
    faults: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, context: BrowserContext, server: Server, name: str) -> Rater:
        rater = cls(context.new_page(), server, name)
        rater.page.set_default_timeout(60_000)
        rater.page.on("pageerror", lambda error: rater.faults.append(str(error)))
        rater.page.on("console", lambda message: rater._note(message.type, message.text))
        return rater

    def _note(self, kind: str, text: str) -> None:
        # Offline, signed out, refused: the browser itself logs these, and they are what the tests provoke.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.faults.append(text)

    def open(self, fragment: str = "") -> Rater:
        self.page.goto(self.server.url + fragment)
        return self

    def sign_in(self) -> Rater:
        self.open()
        self.page.fill("#name", self.name)
        self.page.click("#signin-button")
        return self

    def begin(self) -> Rater:
        """Sign in, pass the guide, and see the first item."""
        return self.sign_in().pass_guide()

    def pass_guide(self) -> Rater:
        self.page.click("#guide-go")
        return self.see()

    def see(self) -> Rater:
        """Wait until an item can be answered."""
        self.page.locator("#stage:not(.waiting) img.front").first.wait_for()
        # No decision counts in an item's first 300 ms.
        self.page.wait_for_timeout(340)
        return self

    def instruction(self) -> str:
        return self.page.inner_text("#instruction")

    def shown(self) -> str:
        """The address of the source: names the item."""
        address = self.page.locator("#stage img[data-which='0']").first.get_attribute("src")
        assert address
        return address

    def press(self, key: str) -> Rater:
        """Answer by a key, and wait for the next item."""
        before = self.shown()
        self.page.keyboard.press(key)
        self.moved_on(before)
        return self

    def moved_on(self, before: str) -> Rater:
        self.page.locator(f"#stage img[data-which='0'][src='{before}']").first.wait_for(state="detached")
        return self.see()

    def saved(self) -> Rater:
        self.page.locator("#status.saved").wait_for()
        return self

    def loaded(self, pictures: int) -> Rater:
        """Wait until so many pictures have come, those of the next items included."""
        came = "count => new Set(performance.getEntriesByType('resource').map((one) => one.name)" \
               ".filter((name) => name.includes('/picture/'))).size >= count"  # fmt: skip
        self.page.wait_for_function(came, arg=pictures)
        return self

    def notice(self, words: str) -> str:
        """The text of the notice that contains `words`."""
        bar = self.page.locator(".notice", has_text=words)
        bar.wait_for()
        return bar.inner_text()

    def stored(self, count: int) -> list[Any]:
        """Standing answers, once there are `count`; a few more moments show that none follows."""
        deadline = time.monotonic() + 60
        while len(self.server.answers(self.name)) < count and time.monotonic() < deadline:
            self.page.wait_for_timeout(50)
        self.page.wait_for_timeout(150)
        return self.server.values(self.name)
