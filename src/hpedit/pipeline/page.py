"""The live page of a run: index.html in its folder, which reloads itself; opened as a file or served.

It has no script. While the run is at work the page is written every few seconds, and once more when it ends.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hpedit.errors import HPEditError
from hpedit.pipeline.recipe import RunRecipe
from hpedit.pipeline.status import run_status
from hpedit.progress import format_clock
from hpedit.report import train_views
from hpedit.report.report_page import page_environment, page_style
from hpedit.report.train_data import TrainRun
from hpedit.report.training_curves import metric_charts
from hpedit.store.atomic import atomic_write

PAGE = "index.html"
EVERY = 5.0
"""Seconds between two writings of the page, and of its reloading."""
LINKS = (
    ("report.html", "The run's report: gain, intervals, worst cases"),
    ("train/report/report.html", "Training: alarms, held-out cases, groups"),
    ("bench/compare/report.html", "Benchmark: all models and instruments"),
    ("cases/dataset/README.md", "The training cases: dataset card"),
    ("scorer/probe.png", "What the scorer was probed with"),
)


class LivePage:
    """Keeps index.html up to date while its block lasts."""

    def __init__(self, folder: Path, recipe: RunRecipe) -> None:
        self.folder, self.recipe = folder, recipe
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name="live page", daemon=True)

    def __enter__(self) -> LivePage:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.refresh(live=False)

    def _keep(self) -> None:
        while not self._ended.wait(EVERY):
            self.refresh()

    def refresh(self, *, live: bool = True) -> None:
        """Write the page; what can't be read at this moment, half a second after a kill say, is left out."""
        with self._writing, suppress(OSError, HPEditError):
            atomic_write(self.folder / PAGE, render_page(self.folder, live=live).encode("utf-8", "replace"))


def render_page(folder: Path, *, live: bool) -> str:
    """The page of a run as text.

    Args:
        folder: The run's.
        live: Whether it reloads itself.
    """
    status = run_status(folder)
    if not live and status["phase"] == "running":
        # This process still holds the lock while it writes the last page.
        phases = {one["phase"] for one in status["stages"]}
        status["phase"] = "done" if phases == {"done"} else "failed" if "failed" in phases else "stopped"
    train = _training(folder)
    return page_environment().get_template("run.html.jinja").render(
        style=page_style(),
        title=folder.resolve().name,
        phase=status["phase"],
        reload=int(EVERY) if live else 0,
        stages=[_stage(one) for one in status["stages"]],
        links=[(path, text) for path, text in LINKS if (folder / path).is_file()],
        alarms=[alarm["text"] for alarm in train_views.alarm_views(train)] if train else [],
        curves=metric_charts(train.metrics)[0] if train else [],
        grid=train.grids[-1].relative_to(folder).as_posix() if train and train.grids else "",
    )  # fmt: skip


def _training(folder: Path) -> TrainRun | None:
    try:
        return TrainRun.open(folder / "train")
    except HPEditError:
        return None


def _stage(one: dict[str, Any]) -> dict[str, Any]:
    share = one["done"] / one["total"] if one["total"] else 0.0
    return {
        "name": one["name"],
        "phase": one["phase"],
        "tone": {"done": "good", "failed": "bad", "stopped": "warn"}.get(one["phase"], ""),
        "time": format_clock(one["seconds"]) if one["seconds"] else "",
        "doing": one["doing"] if one["phase"] == "running" else "",
        "count": f"{one['done']} of {one['total']}" if one["total"] and one["phase"] == "running" else "",
        "share": f"{share:.0%}" if one["phase"] == "running" and one["total"] else "",
        "eta": format_clock(one["eta"]) if one["eta"] else "",
        "note": one["note"],
    }
