"""Import of ImagenHub: the score's formula, missing stays missing, and what is broken is refused."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from hpedit.errors import HPEditError
from hpedit.scorer.ratings_import import import_imagenhub, import_ratings

EDITS = "edit_id,source_id,editor,instruction\ne1,s1,A,make it red\ne2,s1,B,make it red\n"
MARKS = "edit_id,rater,semantic_consistency,perceptual_quality\ne1,r1,1,0.5\ne1,r2,0,1\ne2,r1,,0.5\ne2,r2,1,1\n"
ANSWERS = "edit_id,judge,edit_success,no_overedit,naturalness,no_artifacts\ne1,j,0,3,2,\ne2,j,ten,9,8,7\n"


def write(folder: Path, edits: str = EDITS, marks: str = MARKS, answers: str = ANSWERS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "edits.csv").write_text(edits)
    (folder / "human_ratings.csv").write_text(marks)
    (folder / "vlm_scores.csv").write_text(answers)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_raters_score_is_five_times_the_root_of_the_product_of_the_marks(tmp_path: Path) -> None:
    counts = import_imagenhub(write(tmp_path / "in"), tmp_path / "out")
    ratings = rows(tmp_path / "out" / "ratings.csv")
    assert [(row["edit_id"], row["rater"]) for row in ratings] == [("e1", "r1"), ("e1", "r2"), ("e2", "r2")]
    assert [float(row["score"]) for row in ratings] == [5 * math.sqrt(0.5), 0.0, 5.0]
    assert counts == {"edits": 2, "sources": 1, "ratings": 3, "raters": 2, "judges": ["j"], "missing_answers": 2}


def test_J1_an_empty_or_unreadable_answer_is_not_turned_into_a_number(tmp_path: Path) -> None:
    import_imagenhub(write(tmp_path / "in"), tmp_path / "out")
    scores = rows(tmp_path / "out" / "scores.csv")
    assert (scores[0]["edit_success"], scores[0]["no_artifacts"], scores[1]["edit_success"]) == ("0", "", "ten")


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("marks", MARKS + "e1,r1,1,1\n", r"human_ratings\.csv:6: e1, r1 is there twice"),
        ("marks", MARKS + "e9,r1,1,1\n", r"human_ratings\.csv:6: edit 'e9' is not in edits\.csv"),
        ("marks", MARKS + "e1,r3,2,1\n", "semantic_consistency is '2': not in 0 to 1"),
        ("marks", MARKS + "e1,r3,1,good\n", "perceptual_quality is 'good': not a number"),
        ("edits", EDITS + "e1,s2,A,again\n", r"edits\.csv:4: e1 is there twice"),
        ("answers", ANSWERS + "e1,j,1,1,1,1\n", r"vlm_scores\.csv:4: e1, j is there twice"),
        ("answers", "edit_id,judge\n", "has no column edit_success, no_overedit, naturalness, no_artifacts"),
    ],
)
def test_D6_broken_tables_are_refused_and_nothing_is_written(
    tmp_path: Path, part: str, text: str, message: str
) -> None:
    with pytest.raises(HPEditError, match=message):
        import_imagenhub(write(tmp_path / "in", **{part: text}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="holds the input"):
        import_imagenhub(write(tmp_path / "in"), tmp_path / "in")


def test_an_unknown_format_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="unknown format foo") as caught:
        import_ratings("foo", tmp_path, tmp_path / "out")
    assert "imagenhub" in caught.value.hint


def test_the_real_tables_come_over_whole_and_twice_the_same(imagenhub_source: Path, tmp_path: Path) -> None:
    counts = import_ratings("imagenhub", imagenhub_source, tmp_path / "a")
    import_imagenhub(imagenhub_source, tmp_path / "b")
    assert counts == {
        "edits": 784,
        "sources": 98,
        "ratings": 2352,
        "raters": 3,
        "judges": ["gemini_0shot", "gpt4o_0shot", "llava_0shot"],
        "missing_answers": 44,
    }
    for name in ("edits.csv", "ratings.csv", "scores.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    scores = [float(row["score"]) for row in rows(tmp_path / "a" / "ratings.csv")]
    assert sum(scores) / len(scores) / 5 == pytest.approx(0.1335, abs=5e-5)
