"""Figures in README and docs are those that the benchmarks kept."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURES = runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))


def test_every_page_has_the_figures_of_the_baselines() -> None:
    marked = 0
    for page in FIGURES["PAGES"]:
        text = page.read_text(encoding="utf-8")
        marked += len(FIGURES["BLOCK"].findall(text))
        assert FIGURES["rewritten"](text) == text, f"{page.name} is older than its figures: make figures"
    assert marked >= 4, "no marks found: the test looks in the wrong place"


def test_a_figure_that_was_changed_by_hand_is_found() -> None:
    page = next(page for page in FIGURES["PAGES"] if "<!-- figures: demo -->" in page.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    start = text.index("<!-- figures: demo -->")
    changed = text[:start] + text[start:].replace("+0.", "+9.", 1)
    assert FIGURES["rewritten"](changed) == text
