"""One Chromium and a few servers for all tests here; every test is a rater of its own name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.rate.browser.study import SCRIPT, Rater, Server, write_study

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True,
}  # fmt: skip

NewServer = Callable[..., Server]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    # A module's own: while it lives it holds an event loop in this thread, in which no other test could start one.
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}")
    with api.sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    browser = chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewServer]:
    """Start a server over a study of its own, or over `edits`; options are those of the command."""
    pytest.importorskip("fastapi", reason="the server needs the extra [rate]")
    servers: list[Server] = []

    def start(
        *options: str,
        cases: int = 6,
        instruction: str = "make photo {} brighter",
        token: str = "",
        edits: Path | None = None,
    ) -> Server:
        folder = tmp_path_factory.mktemp("study")
        study = edits or write_study(folder / "edits", cases, instruction)
        server = Server(study, folder / "ratings.sqlite", options, token)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def scoring(new_server: NewServer) -> Server:
    return new_server("--practice", "0", "--retest", "0", "--overlap", "99", instruction="{} " + SCRIPT)


@pytest.fixture(scope="session")
def comparing(new_server: NewServer) -> Server:
    return new_server("--mode", "compare", "--practice", "0", "--retest", "0", "--overlap", "99")


_numbers = itertools.count(1)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Rater]]:
    """A new rater in a browser context of their own; at the end, the page must have had no fault and broken no CSP."""
    contexts, raters = [], []

    def come(server: Server, options: dict[str, Any] = DESKTOP) -> Rater:
        contexts.append(browser.new_context(**options))
        raters.append(Rater.at(contexts[-1], server, f"Rater {next(_numbers)}"))
        return raters[-1]

    yield come
    for context in contexts:
        context.close()
    assert [rater.faults for rater in raters if rater.faults] == []
