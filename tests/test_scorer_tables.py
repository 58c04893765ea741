"""What `hpedit scorer eval` prints, and its options, in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.report.scorer_sample import make_curve, make_report
from tests.scorer.rated_tables import write_tables

from hpedit.cli.scorer_tables import agreement_lines, curve_lines, parse_numbers
from hpedit.errors import HPEditError
from hpedit.scorer.tables.fit_tables import fit_tables
from hpedit.stats.intervals import interval_text


def test_no_line_is_longer_than_80_columns() -> None:
    reason = (
        "correlation with people on photos not fitted on is 0.62, 95 % interval 0.52 to 0.71 (392 edits of 49 photos)"
    )
    seen = {"seen": "excluded", "seen_edits": 10_000, "seen_sources": 5_000, "reason": reason}
    lines = [*agreement_lines(make_report(8, **seen)), *curve_lines(make_curve())]
    assert max(len(line) for line in lines) <= 80
    assert sum(line.startswith(("bokeh", "color", "swap")) for line in lines) == 3


def test_every_measure_ties_and_trust_are_printed() -> None:
    text = "\n".join(agreement_lines(make_report()))
    for name in (
        "pearson",
        "spearman",
        "kendall",
        "pairwise_accuracy",
        "mae",
        "people tie",
        "stated deviation",
        "verdict:",
    ):
        assert name in text


def test_figures_that_flatter_are_said_first() -> None:
    first = next(iter(agreement_lines(make_report(seen="included", seen_edits=3, seen_sources=1))))
    assert first.startswith("INFLATED FIGURES")


def test_what_is_undefined_reads_na() -> None:
    assert interval_text({"value": None, "ci95": [None, None]}) == "n/a"
    assert interval_text({"value": 0.5, "ci95": [None, None]}) == "0.50"
    assert interval_text({"value": -0.001, "ci95": [-0.01, 0.001]}) == "0.00 [-0.01, 0.00]"
    text = "\n".join(curve_lines(make_curve()))
    assert "10           n/a: too few <to fit>" in text
    assert "one human    n/a" in text


@pytest.mark.parametrize("text", ["", "10,", "ten", "0", "-5", "1.5", "²"])
def test_numbers_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(HPEditError, match="is not a list of numbers"):
        parse_numbers(text)
    assert parse_numbers("10, 25") == [10, 25]


@pytest.mark.slow
def test_eval_prints_tables_json_page_and_curve(tmp_path: Path) -> None:
    fit_tables(*write_tables(tmp_path / "fitted", 0, 30), "good", tmp_path / "scorer")
    tables = write_tables(tmp_path / "all", 0, 60)
    arguments = [
        part
        for name, path in zip(("edits", "ratings", "scores"), tables, strict=True)
        for part in (f"--{name}", str(path))
    ]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hpedit", "scorer", "eval", *arguments, *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    scorer = ("--scorer", str(tmp_path / "scorer"))
    shown = run(*scorer, "--curve", "--numbers", "15,30", "--draws", "2", "--report", str(tmp_path / "page"))
    assert shown.returncode == 0, shown.stderr
    assert "pairwise_accuracy" in shown.stdout
    assert "one human" in shown.stdout
    assert "page: " in shown.stderr
    assert "--curve" in (tmp_path / "page" / "scorer.html").read_text()
    found = json.loads(run(*scorer, "--json").stdout)
    assert (found["n"], found["seen"]) == (90, "excluded")
    grown = json.loads(run("--judge", "good", "--curve", "--numbers", "15", "--draws", "1", "--json").stdout)
    assert grown["curve"]["points"][0]["number"] == 15
    refused = run()
    assert (refused.returncode, "error: --scorer is missing" in refused.stderr) == (2, True)
