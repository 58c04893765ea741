"""The scorer's page: what it says, that it needs nothing else, and what it looks like in a real browser."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.report.scorer_sample import make_curve, make_report

from hpedit.report.scorer_charts import Reference, deviation_plot, growth_plot, reliability_plot, task_plot
from hpedit.report.scorer_page import render_scorer_page, write_scorer_page
from hpedit.stats.intervals import Interval


class Links(HTMLParser):
    """Collects what a page would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe") or any(name in ("src", "href", "onclick") for name, _ in attrs):
            self.found.append(tag)


def test_the_page_stands_alone_with_its_twin(tmp_path: Path) -> None:
    report, curve = make_report(8), make_curve()
    page = write_scorer_page(tmp_path / "out", report, curve, command="hpedit scorer eval")
    text = page.read_text()
    assert page == tmp_path / "out" / "scorer.html"
    assert Links(text).found == []
    assert json.loads((tmp_path / "out" / "scorer.json").read_text()) == json.loads(
        json.dumps({"title": "HP-Scorer against people", "command": "hpedit scorer eval", "simulated": False,
                    "report": report, "curve": curve})
    )  # fmt: skip
    named = write_scorer_page(tmp_path / "mine.html", report)
    assert (named, (tmp_path / "mine.json").is_file()) == (tmp_path / "mine.html", True)
    assert write_scorer_page(tmp_path / "out", report, curve, command="hpedit scorer eval").read_text() == text


def test_names_of_tasks_and_judges_are_shown_not_run() -> None:
    text = render_scorer_page(make_report(judge="<script>alert(1)</script>", scorer="f00"), make_curve())
    assert "<script>" not in text
    assert "&lt;b&gt;own&lt;/b&gt;" in text
    assert "too few &lt;to fit&gt;" in text


def test_figures_that_flatter_are_marked_and_simulated_raters_named() -> None:
    seen = {"seen": "included", "seen_edits": 12, "seen_sources": 3}
    text = render_scorer_page(make_report(**seen), simulated=True)
    assert "These figures are too optimistic." in text
    assert "that took no part in fitting" not in text
    assert "simulated raters" in text
    assert "These figures are too optimistic." not in render_scorer_page(make_report())


def test_a_curve_alone_makes_a_page() -> None:
    text = render_scorer_page(None, make_curve())
    assert "how many ratings are enough?" in text
    assert "Does a score mean" not in text


def test_the_plot_shows_every_bin_its_interval_and_the_identity() -> None:
    report = make_report()
    drawing = reliability_plot(report["reliability"], title="t")
    bins = report["reliability"]["bins"]
    assert drawing.count("<circle") == drawing.count("whisker") == len(bins)
    assert drawing.count('class="diagonal"') == 1
    assert drawing.count("<rect") == 10
    drawing = deviation_plot(report["deviation"], title="t")
    assert drawing.count("<circle") == len(report["deviation"]["bins"])


def test_nothing_to_draw_is_an_empty_text() -> None:
    assert reliability_plot({"bins": []}, title="t") == ""
    assert deviation_plot({"bins": []}, title="t") == ""
    assert task_plot([("a", [("post", None)])], title="t") == ""
    assert growth_plot([(10, None)], [Reference("judge", Interval(0.5), "base")], title="t") == ""


def test_a_single_number_has_its_range_as_a_line() -> None:
    found = {"mean": 0.6, "low": 0.5, "high": 0.7, "fits": 3}
    assert growth_plot([(25, found)], [], title="t").count("whisker") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (320, "light")])
def test_the_page_fits_the_screen_and_says_nothing_on_the_console(tmp_path: Path, width: int, scheme: Any) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("no /usr/bin/chromium")
    page_file = write_scorer_page(tmp_path, make_report(8), make_curve())
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.locator("svg.chart").count() == 2 + 2 + 8 + 2
        assert page.locator("#tasks tbody tr").count() == 8
        assert said == []
        browser.close()
