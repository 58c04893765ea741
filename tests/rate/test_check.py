"""Checks of cases: valid answers, stored once however often they are sent, never taken for ratings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rate.serving import Serving, error_of, make_edits, photo, serving

from hpedit.errors import HPEditError
from hpedit.rate.requests import MAX_INSTRUCTION
from hpedit.ratings.import_export import export_store
from hpedit.ratings.store import REWORDED, RatingStore
from hpedit.records import Case
from hpedit.store.tables import write_cases


@pytest.fixture
def checks(tmp_path: Path) -> Iterator[Serving]:
    cases = [Case(f"c{n}", "color", f"Make thing {n} red", (photo(n), photo(50 + n)), f"p{n}") for n in range(3)]
    write_cases(tmp_path / "cases.parquet", cases)
    with serving(tmp_path / "cases.parquet", tmp_path / "check.sqlite", kind="check", overlap=1) as running:
        yield running


def test_item_is_a_source_with_its_references_and_no_edit(checks: Serving) -> None:
    rater = checks.rater()
    item = rater.next()
    assert item is not None
    assert (item["kind"], item["edits"], len(item["references"])) == ("check", [], 1)
    assert item["task"] == "Colour change"
    assert rater.picture(item["source"]).status_code == 200
    assert rater.picture(item["references"][0]).status_code == 200
    assert "Check instructions" in rater.http.get("/").text


@pytest.mark.parametrize(
    "value",
    [
        "good", "A", 3, "mend", REWORDED, REWORDED + "  ", REWORDED + "a\x07b", REWORDED + "x" * (MAX_INSTRUCTION + 1),
        "keep:x", REWORDED + "make it \u202eder", REWORDED + "\u200b\u2060", REWORDED + "?!",
    ],
)  # fmt: skip
def test_what_no_button_gives_is_refused(checks: Serving, value: object) -> None:
    rater = checks.rater()
    item = rater.next()
    assert item is not None
    assert rater.post_answer(item, value).status_code == 422
    assert checks.store.answers() == []


def test_an_unchanged_instruction_is_refused_with_a_hint(checks: Serving) -> None:
    rater = checks.rater()
    item = rater.next()
    assert item is not None
    refused = rater.post_answer(item, f"{REWORDED}  {item['instruction']} ")
    assert refused.status_code == 422
    assert "the new instruction equals the old one" in error_of(refused)


def test_a_changed_instruction_is_stored_once_in_one_spelling(checks: Serving) -> None:
    rater = checks.rater()
    item = rater.next()
    assert item is not None
    # A combining accent, a line break and blanks: one spelling, one line.
    sent = f"{REWORDED}  Paint the cafe\u0301\n red "
    rater.answer(item, sent, "client-0001", flags=["vague"])
    assert rater.answer(item, sent, "client-0001", flags=["vague"])["duplicate"] is True
    assert rater.answer(item, f"{REWORDED}Paint the caf\u00e9 red", "client-0002", flags=["vague"])["duplicate"] is True
    assert rater.post_answer(item, "drop", "client-0003").status_code == 409
    stored = checks.store.answers()
    assert [(one.value, one.flags) for one in stored] == [(f"{REWORDED}Paint the caf\u00e9 red", ("vague",))]


def test_markup_in_a_changed_instruction_is_kept_as_text(checks: Serving) -> None:
    rater = checks.rater()
    item = rater.next()
    assert item is not None
    rater.answer(item, REWORDED + "<script>alert(1)</script> {answer}")
    assert checks.store.answers()[0].value == REWORDED + "<script>alert(1)</script> {answer}"


def test_a_case_is_given_to_as_many_people_as_asked(checks: Serving) -> None:
    for name in ("Anna", "Ben"):
        rater = checks.rater(name)
        while (item := rater.next()) is not None:
            rater.answer(item, "keep")
    assert len(checks.store.answers()) == 3


def test_checks_are_no_ratings(checks: Serving, tmp_path: Path) -> None:
    rater = checks.rater()
    item = rater.next()
    assert item is not None
    rater.answer(item, "keep")
    with pytest.raises(HPEditError, match="holds checks of cases, not ratings"):
        export_store(checks.store.path, tmp_path / "out.csv", "csv")


def test_what_is_no_table_of_cases_is_named(tmp_path: Path) -> None:
    (tmp_path / "cases.parquet").write_bytes(b"not parquet")
    for name in ("cases.parquet", "proposed.parquet"):
        with (
            pytest.raises(HPEditError, match=f"{name} is not a table of cases"),
            serving(tmp_path / name, tmp_path / "check.sqlite", kind="check"),
        ):
            pass


def test_store_of_checks_takes_no_ratings_and_no_other_words(tmp_path: Path) -> None:
    cases, db = tmp_path / "cases.parquet", tmp_path / "check.sqlite"
    write_cases(cases, [Case("c", "color", "Make it red", (photo(1),), "p")])
    with serving(cases, db, kind="check"):
        pass
    with (
        pytest.raises(HPEditError, match="made with kind check, not score"),
        serving(make_edits(tmp_path / "edits"), db),
    ):
        pass
    write_cases(cases, [Case("c", "color", "Make it blue", (photo(1),), "p")])
    with pytest.raises(HPEditError, match="another instruction"), serving(cases, db, kind="check"):
        pass
    with RatingStore.open(db) as store:
        assert [item["instruction"] for item in store.items()] == ["Make it red"]
