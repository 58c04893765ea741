"""Evaluate on tables only what the fit has not seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scorer.rated_tables import write_tables

from hpedit.errors import HPEditError
from hpedit.scorer.evaluation.measure_tables import evaluate_tables, judges_of
from hpedit.scorer.tables.fit_tables import fit_tables


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scorer fitted on photos 0 to 29."""
    folder = tmp_path_factory.mktemp("fit")
    fit_tables(*write_tables(folder / "fitted", 0, 30), "good", folder / "scorer")
    return folder / "scorer"


def test_photos_seen_in_fitting_are_left_out_counted_and_said(scorer: Path, tmp_path: Path) -> None:
    both = evaluate_tables(scorer, *write_tables(tmp_path / "both", 20, 60))
    rest = evaluate_tables(scorer, *write_tables(tmp_path / "rest", 30, 60))
    assert (both["seen"], both["seen_sources"], both["seen_edits"], both["n"]) == ("excluded", 10, 30, 90)
    assert (rest["seen"], rest["seen_sources"], rest["seen_edits"]) == ("none", 0, 0)
    assert both["pearson"] == rest["pearson"]


def test_if_all_were_seen_there_is_nothing_to_measure_unless_that_is_asked_for(scorer: Path, tmp_path: Path) -> None:
    tables = write_tables(tmp_path / "seen", 0, 30)
    with pytest.raises(HPEditError, match=r"all 30 photos .* were used to fit") as caught:
        evaluate_tables(scorer, *tables)
    assert "--allow-seen" in (caught.value.hint or "")
    flattering = evaluate_tables(scorer, *tables, allow_seen=True)
    assert (flattering["seen"], flattering["seen_sources"], flattering["n"]) == ("included", 30, 90)


def test_the_scorers_deviation_is_checked_on_the_same_edits(scorer: Path, tmp_path: Path) -> None:
    found = evaluate_tables(scorer, *write_tables(tmp_path / "rest", 30, 60))
    assert found["deviation"]["n"] == found["n"] == 90
    assert 0.6 < found["deviation"]["z_spread"]["value"] < 1.6


def test_what_is_measured_must_be_said(scorer: Path) -> None:
    assert judges_of(scorer, (), curve=True) == (("good",), {})
    assert judges_of(None, ("one", "two"), curve=True) == (("one", "two"), {})
    with pytest.raises(HPEditError, match="--judge or --scorer is missing"):
        judges_of(None, (), curve=True)
    with pytest.raises(HPEditError, match="--scorer is missing"):
        judges_of(None, (), curve=False)
    with pytest.raises(HPEditError, match="--columns is for --judge"):
        judges_of(scorer, (), {"realism": (0, 10)}, curve=True)
    with pytest.raises(HPEditError, match="--judge is for --curve"):
        judges_of(scorer, ("good",), curve=False)
