"""Import of ImagenHub: the score's formula, missing stays missing, and what is broken is refused."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from tests.shared_data import shared_data

from hpedit.errors import HPEditError
from hpedit.scorer.tables.ratings_import import import_genai, import_imagenhub, import_magicbrush, import_ratings
from hpedit.store.csv_rows import read_csv_rows

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
    assert [(row["semantic_consistency"], row["perceptual_quality"]) for row in ratings] == [
        ("1", "0.5"),
        ("0", "1"),
        ("1", "1"),
    ]
    assert counts == {"edits": 2, "sources": 1, "ratings": 3, "raters": 2, "judges": ["j"], "missing_answers": 2}


def test_an_empty_or_unreadable_answer_is_not_turned_into_a_number(tmp_path: Path) -> None:
    import_imagenhub(write(tmp_path / "in"), tmp_path / "out")
    scores = rows(tmp_path / "out" / "scores.csv")
    assert (scores[0]["edit_success"], scores[0]["no_artifacts"], scores[1]["edit_success"]) == ("0", "", "ten")


@pytest.mark.parametrize(
    ("part", "text", "message"),
    [
        ("marks", MARKS + "e1,r1,1,1\n", r"human_ratings\.csv:6: e1, r1 appears twice"),
        ("marks", MARKS + "e9,r1,1,1\n", r"human_ratings\.csv:6: edit 'e9' is not in edits\.csv"),
        ("marks", MARKS + "e1,r3,2,1\n", "semantic_consistency is '2': not in 0 to 1"),
        ("marks", MARKS + "e1,r3,1,good\n", "perceptual_quality is 'good': not a number"),
        ("edits", EDITS + "e1,s2,A,again\n", r"edits\.csv:4: e1 appears twice"),
        ("answers", ANSWERS + "e1,j,1,1,1,1\n", r"vlm_scores\.csv:4: e1, j appears twice"),
        ("answers", "edit_id,judge\n", "has no column edit_success, no_overedit, naturalness, no_artifacts"),
    ],
)
def test_broken_tables_are_refused_and_nothing_is_written(tmp_path: Path, part: str, text: str, message: str) -> None:
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


BRUSH = "edit_id,photo_id,turn,instruction,category,object_type,source_file,edited_file\n"
BRUSH_EDITS = (
    BRUSH + "1_1,1,1,=add a cat,Object Addition,Animals,s,e\n1_2,1,2,forest,Scene Changes,Background/Scene,s,e\n"
)
BRUSH_EDITS += "2_1,2,1,smile,Attribute Changes,People,s,e\n3_1,3,1,a view,Scene Changes,People,s,e\n"
BRUSH_MARKS = "edit_id,rater,alignment,quality,consistency,overall\n1_1,r,10,9,8,7\n1_2,r,1,2,,0\n2_1,r,5,5,5,\n"


def brush(folder: Path, marks: str = BRUSH_MARKS) -> Path:
    folder.mkdir()
    (folder / "edits.csv").write_text(BRUSH_EDITS)
    (folder / "human_ratings.csv").write_text(marks)
    return folder


def test_magicbrush_marks_are_halved_and_kept_by_axis_and_other_tasks_are_named(tmp_path: Path) -> None:
    counts = import_ratings("magicbrush", brush(tmp_path / "in"), tmp_path / "out")
    assert [tuple(row.values()) for row in rows(tmp_path / "out" / "ratings.csv")] == [
        ("1_1", "r", "3.5", "10", "9", "8"),
        ("1_2", "r", "0.0", "1", "2", ""),
    ]
    edits = rows(tmp_path / "out" / "edits.csv")
    assert [row["task"] for row in edits] == ["addition", "background", "attribute_changes", "scene_changes"]
    assert [row["source_id"] for row in edits] == ["1", "1", "2", "3"]
    assert counts["other_tasks"] == {"attribute_changes": 1, "scene_changes": 1}
    assert (counts["sources"], counts["unrated"]) == (3, 2)


def test_an_instruction_that_is_a_formula_is_written_as_text_and_read_back(tmp_path: Path) -> None:
    import_magicbrush(brush(tmp_path / "in"), tmp_path / "out")
    assert ",'=add a cat," in (tmp_path / "out" / "edits.csv").read_text()
    assert read_csv_rows(tmp_path / "out" / "edits.csv", ("instruction",))[0]["instruction"] == "=add a cat"


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (BRUSH_MARKS + "3_1,r,1,1,1,11\n", r"human_ratings\.csv:5: overall is '11': not in 0 to 10"),
        (BRUSH_MARKS + "3_1,r,x,1,1,1\n", r"human_ratings\.csv:5: alignment is 'x': not a number"),
        (BRUSH_MARKS + "9_1,r,1,1,1,1\n", r"human_ratings\.csv:5: edit '9_1' is not in"),
    ],
)
def test_broken_magicbrush_marks_are_refused_with_their_line(tmp_path: Path, marks: str, message: str) -> None:
    with pytest.raises(HPEditError, match=message):
        import_magicbrush(brush(tmp_path / "in", marks), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_judge_that_was_not_asked_or_not_understood_has_no_vote_and_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text(
        "pair_id,instruction,source_caption,human,j,k\n7,red,a cat,tie,A,\n8,blue,a dog,both_bad,unreadable,\n"
    )
    counts = import_genai(tmp_path, tmp_path / "out")
    assert (counts["votes"], counts["unreadable"], counts["not_asked"]) == (
        {"tie": 1, "both_bad": 1},
        {"j": 1},
        {"k": 2},
    )
    votes = [tuple(row.values()) for row in rows(tmp_path / "out" / "judge_votes.csv")]
    assert votes == [
        ("7-A", "7-B", "j", "A"),
        ("7-A", "7-B", "k", ""),
        ("8-A", "8-B", "j", "unreadable"),
        ("8-A", "8-B", "k", ""),
    ]
    (tmp_path / "votes.csv").write_text("pair_id,instruction,source_caption,human\n7,red,a cat,left\n")
    with pytest.raises(HPEditError, match=r"votes\.csv:2: human is 'left'"):
        import_genai(tmp_path, tmp_path / "again")


def test_the_real_magicbrush_tables_come_over_whole(tmp_path: Path) -> None:
    counts = import_magicbrush(shared_data("magicbrush", "human_ratings.csv"), tmp_path / "out")
    assert (counts["edits"], counts["sources"], counts["ratings"], counts["unrated"]) == (315, 155, 1190, 29)
    assert counts["tasks"] == {"addition": 137, "removal": 29, "swap": 74, "background": 8, "color": 30}
    assert counts["other_tasks"] == {"attribute_changes": 36, "scene_changes": 1}
