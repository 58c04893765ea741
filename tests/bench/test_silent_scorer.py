"""A scorer that its own fit found to have no signal: its figures are shown and nothing is concluded from them."""

import dataclasses

from tests.bench.made import SCORER, planted, rows

from hpedit.bench.comparison import compare_models
from hpedit.bench.model_verdict import model_verdict
from hpedit.report.bench_page import render_bench_page


def instrument(title, low, high, *, independent=False, doubt=""):
    gain = {"mean": (low + high) / 2, "ci95": [low, high]}
    overall = {"models": {"new": {"gain": gain}}}
    return {"title": title, "independent": independent, "overall": overall, "doubt": doubt}


def test_a_scorer_without_signal_says_nothing():
    silent = instrument("HP-Scorer", 0.1, 0.2, doubt="correlation is -0.1")
    assert "no signal" in model_verdict([silent], "new").text
    assert model_verdict([silent], "new").tone == "warn"
    unrated = {"title": "People", "independent": True, "overall": {"models": {}}}
    assert "no signal" in model_verdict([silent, unrated], "new").text
    people = instrument("People", 0.1, 0.2, independent=True)
    assert model_verdict([silent, people], "new").text == "Better edits: people see it."


def test_a_scorer_with_signal_is_heard():
    assert "scores the edits higher" in model_verdict([instrument("HP-Scorer", 0.1, 0.2)], "new").text


def test_the_page_and_the_tables_name_it_before_its_figures(tmp_path):
    silent = dataclasses.replace(SCORER, doubt="correlation is -0.1")
    pair = [
        planted(tmp_path / label, label, rows(label, 16, shift, exact=False), ((silent, shift),))
        for label, shift in (("base", 0.0), ("post", 0.5))
    ]
    result = compare_models(pair)
    assert any("has no signal" in note and "correlation is -0.1" in note for note in result["notes"])
    page = render_bench_page(result, [])
    assert page.index("has no signal, so its figures say nothing") < page.index('id="overall"')
    assert 'class="num gain good"' not in page
    assert 'class="chart outcome"' not in page
    heard = [
        planted(tmp_path / f"heard-{label}", label, rows(label, 16, shift, exact=False), ((SCORER, shift),))
        for label, shift in (("base", 0.0), ("post", 0.5))
    ]
    assert 'class="chart outcome"' in render_bench_page(compare_models(heard), [])
