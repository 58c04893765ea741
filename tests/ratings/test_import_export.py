"""Import and export of ratings: versioned, reversible, and what a scorer is fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.rate.answered_store import answer, undo

from hpedit.errors import HPEditError
from hpedit.ratings.import_export import export_store, export_table, import_responses, read_responses
from hpedit.store.tables import read_ratings


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.sqlite"
    answer(path, "=HYPERLINK(1)", ("e1",), 3.0, client_id="a1")
    answer(path, "ben", ("e1",), 4.0, client_id="a2")
    answer(path, "ben", ("e2",), "skip", client_id="a3")
    answer(path, "ben", ("e1",), 5.0, client_id="a4", phase="retest")
    answer(path, "ben", ("p1",), 0.0, client_id="a5", phase="practice", expected=0.0)
    return path


def version_note(out: Path) -> dict[str, object]:
    note: dict[str, object] = json.loads(out.with_name(f"{out.name}.version.json").read_text())
    return note


def test_an_answer_taken_back_after_an_export_is_superseded_in_the_next(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "ratings.csv"
    first = export_store(db, out, "csv")
    before = out.read_bytes()
    undo(db, "a2")
    answer(db, "ben", ("e1",), 1.0, client_id="a6")
    second = export_store(db, out, "csv")
    assert second["version"] > first["version"]
    assert [(r.rater, r.value, r.id) for r in read_responses(out)] == [("=HYPERLINK(1)", 3.0, "a1"), ("ben", 1.0, "a6")]
    gone = {
        "id": "a2",
        "edits": ["e1"],
        "rater": "ben",
        "value": 4.0,
        "superseded_by": f"change {first['version'] + 1}",
    }
    assert version_note(out) == {"version": second["version"], "answers": 2, "superseded": [gone]}
    everything = tmp_path / "all.jsonl"
    export_store(db, everything, "jsonl", everything=True)
    states = {r.id: (r.phase, bool(r.superseded_by)) for r in read_responses(everything)}
    assert states["a2"] == ("rate", True)
    assert states["a5"] == ("practice", False)
    assert len(states) == 6
    export_store(db, out, "csv", as_of=first["version"])
    assert out.read_bytes() == before


def test_a_version_that_is_still_to_come_is_not_exported(db: Path, tmp_path: Path) -> None:
    last = export_store(db, tmp_path / "now.csv", "csv")["version"]
    assert export_store(db, tmp_path / "last.csv", "csv", as_of=last)["version"] == last
    with pytest.raises(HPEditError, match=f"no version {last + 1} yet"):
        export_store(db, tmp_path / "later.csv", "csv", as_of=last + 1)
    assert not (tmp_path / "later.csv").exists()


def test_an_export_holds_no_formula_and_every_reader_restores_the_name(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "ratings.csv"
    export_store(db, out, "csv")
    assert ",'=HYPERLINK(1)," in out.read_text()
    assert ",=" not in out.read_text()
    assert [rating.rater for rating in read_ratings(out)] == ["=HYPERLINK(1)", "ben"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "labelstudio"])
def test_an_export_is_imported_again(db: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"export.{'json' if form == 'labelstudio' else form}"
    result = export_store(db, out, form)
    assert (result["scores"], result["votes"], result["left_out"]) == (2, 0, 3)
    counts = import_responses(form, out, tmp_path / "in")
    assert (counts["ratings"], counts["raters"], counts["edits"]) == (2, 2, 1)
    first, second = read_responses(tmp_path / "in" / "ratings.csv")
    assert (first.source_id, first.task, first.ms, second.value) == ("photo", "color", 4000, 4.0)


def test_scores_and_votes_go_to_two_files(db: Path, tmp_path: Path) -> None:
    answer(db, "ben", ("x", "y"), "both_bad", client_id="v1")
    result = export_store(db, tmp_path / "r.csv", "csv")
    assert [Path(name).name for name in result["files"]] == ["r.csv", "r-votes.csv", "r.csv.version.json"]
    (vote,) = read_responses(tmp_path / "r-votes.csv")
    assert (vote.edits, vote.value) == (("x", "y"), "both_bad")


def test_a_table_becomes_label_studio_tasks_with_its_axes_and_pictures(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("edit_id,rater,score,quality\ne1,r1,3,8\ne1,r2,4,7\n")
    (tmp_path / "edits.csv").write_text(
        "edit_id,photo_id,instruction,source_file,edited_file\ne1,p,add a cat,s.jpg,e.jpg\n"
    )
    export_table(tmp_path / "t.csv", tmp_path / "edits.csv", tmp_path / "tasks.json", "labelstudio")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"]["text"] == "add a cat"
    assert task["data"]["edit_picture"] == "e.jpg"
    assert [r.axes for r in read_responses(tmp_path / "tasks.json")] == [{"quality": 8.0}, {"quality": 7.0}]
    assert "$source_picture" in (tmp_path / "tasks.config.xml").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("edit_id,rater,score\ne1,r1,3\ne1,r1,4\n", r"t\.csv:3: rater r1 scores edit e1 twice \(first: .*t\.csv:2\)"),
        ("edit_id,rater,score\ne1,r1,\n", "no answer that counts"),
        ("edit_id,rater,score\n", "no answer that counts"),
    ],
)
def test_repeated_ratings_and_empty_tables_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(HPEditError, match=message):
        import_responses("csv", tmp_path / "t.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_store_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ratings.sqlite"
    answer(path, "ben", ("e1",), 3.0, client_id="a1", phase="practice")
    with pytest.raises(HPEditError, match="no answer to export"):
        export_store(path, tmp_path / "r.csv", "csv")
    assert not (tmp_path / "r.csv").exists()


def test_a_file_of_no_known_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match=r"r\.xlsx: unknown format of ratings"):
        read_responses(tmp_path / "r.xlsx")
    with pytest.raises(HPEditError, match=r"r\.sqlite does not exist"):
        read_responses(tmp_path / "r.sqlite")
