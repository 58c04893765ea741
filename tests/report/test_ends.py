"""The ends of what a report may hold, in a real browser: nothing, one, ten thousand; offline, odd names, on paper."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bench.made import planted, rows
from tests.report import sample

from hpedit.bench.comparison import compare_models
from hpedit.records import Case, Edit
from hpedit.report.bench_page import write_bench_page
from hpedit.report.bench_pictures import collect_bench_pictures
from hpedit.report.report_data import ReportData
from hpedit.report.report_page import write_report
from hpedit.store.atomic import read_jsonl
from hpedit.store.tables import write_edits

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
A4 = {"width": 688, "height": 1017}
"""What the margins leave of an A4 sheet, in CSS pixels, 96 an inch."""
MANY = 10_000
HIDDEN = """[...document.querySelectorAll("main *")].filter(element =>
    element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflowX !== "visible"
).map(element => `${element.tagName}.${element.className}`)"""
"""What would have to be scrolled to be read."""
DARK = """[...document.querySelectorAll("main, main *")].filter(element => {
    const [red, green, blue, alpha = 1] = getComputedStyle(element).backgroundColor.match(/[0-9.]+/g).map(Number);
    return alpha > 0.5 && element.innerText && 0.3 * red + 0.6 * green + 0.1 * blue < 160;
}).map(element => `${element.tagName}.${element.className}`)"""
"""Texts on a dark ground."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}")
    with api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield opened
        opened.close()


class Opened:
    """A page opened without a network, with what it asked for and complained of."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        began = time.monotonic()
        self.page.goto(path.as_uri())
        self.seconds = time.monotonic() - began
        self.asked = [url for url in self.asked if not url.startswith("data:")]

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def overhang(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def whole(count: int) -> ReportData:
    """Every part of a report, `count` times each."""
    few = sample.pictures(min(count, 32))
    agreement = sample.agreement()
    points = [agreement.points[i % 160] for i in range(count)]
    return dataclasses.replace(
        sample.full(1),
        summary=sample.summary(count) if count else None,
        pictures=[dataclasses.replace(few[i % 32], case_id=f"case-{i}") for i in range(count)],
        metrics=sample.metrics(count),
        agreements=[dataclasses.replace(agreement, points=points)],
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, MANY])
def test_a_report_of_0_1_and_10k_of_everything_opens_offline(browser: Any, tmp_path: Path, count: int) -> None:
    began = time.process_time()
    path = write_report(tmp_path, whole(count))
    assert time.process_time() - began < 5
    assert path.stat().st_size < 20e6
    with Opened(browser, path) as opened:
        assert opened.asked == [path.as_uri()]
        assert opened.said == []
        assert opened.seconds < 5
        assert opened.overhang() == 0
        assert opened.page.locator("section").count() == 9
        assert (opened.page.locator("article.case").count() > 0) == (count > 0)
        broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
        assert opened.page.evaluate(broken) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["with blanks", "100% #1?", "\u00fc\u05e9\U0001f600", "a'b\"c&d<i>"])
def test_odd_names_of_the_folder_and_in_it(browser: Any, tmp_path: Path, name: str) -> None:
    picture = dataclasses.replace(sample.pictures(1)[0], case_id=name, task=name, instruction=name)
    path = write_report(
        tmp_path / name, ReportData(title=name, pictures=[picture], command=f"hpedit demo --out '{name}'")
    )
    with Opened(browser, path) as opened:
        assert opened.page.title() == name
        assert opened.page.locator("d").count() == 0
        assert name in opened.page.locator("article.case").inner_text()
        assert opened.said == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_print_is_dark_on_white_and_nothing_is_cut_off(browser: Any, tmp_path: Path, scheme: str) -> None:
    path = write_report(tmp_path, sample.full(40))
    with Opened(browser, path, viewport=A4, color_scheme=scheme) as opened:
        opened.page.emulate_media(media="print", color_scheme=scheme)
        assert opened.overhang() == 0
        assert opened.page.evaluate(HIDDEN) == []
        assert opened.page.evaluate(DARK) == []
        assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        assert opened.page.pdf(format="A4", print_background=True).startswith(b"%PDF")


@pytest.mark.slow
def test_a_file_of_10k_steps_is_read_shown_and_opened(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in sample.metrics(MANY)) + '{"step": 10001, "sc')
    began = time.process_time()
    rows = read_jsonl(file)
    path = write_report(tmp_path, ReportData(metrics=rows))
    assert time.process_time() - began < 5
    assert len(rows) == MANY, "a last line that a kill tore is left out"
    assert path.stat().st_size < 1e6
    with Opened(browser, path) as opened:
        assert opened.seconds < 5
        charts = opened.page.locator("#training svg.chart")
        assert charts.count() >= 4
        assert "8000" in charts.first.inner_html(), "the axis reaches the last thousands"


@pytest.mark.slow
def test_a_comparison_of_10k_cases_is_written_opened_and_printed(browser: Any, tmp_path: Path) -> None:
    pair = [planted(tmp_path / name, name, rows(name, MANY, shift)) for name, shift in (("base", 0.0), ("post", 0.2))]
    image = sample.crops(1, 8)[0]
    for folder in pair:
        table = folder.rows()
        write_edits(folder.path / "edits.parquet", (Edit(row.edit_id, row.case_id, "e", 0, image) for row in table))
    cases = [Case(row.case_id, row.task, "x", (image,), row.source_id) for row in rows("c", MANY)]
    result = compare_models(pair, tasks=False)
    began = time.process_time()
    pictures = collect_bench_pictures(cases, pair, result["instruments"], {})
    path = write_bench_page(tmp_path, result, pictures)
    assert time.process_time() - began < 5
    assert path.stat().st_size < 20e6
    with Opened(browser, path, viewport=A4, color_scheme="dark") as opened:
        assert opened.page.locator("article.case").count() == len(pictures) > 10
        assert (opened.asked, opened.said) == ([path.as_uri()], [])
        opened.page.emulate_media(media="print", color_scheme="dark")
        assert opened.overhang() == 0
        assert opened.page.evaluate(HIDDEN) == []
        assert opened.page.evaluate(DARK) == []
