"""Ratings of other tools and of spreadsheets: what is an answer, of which edit, on which scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpedit.errors import HPEditError
from hpedit.ratings.import_export import import_responses, read_responses
from hpedit.ratings.reading_rules import ReadingRules, parse_rules


def rules(control: str = "", edit_field: str = "", scale: str = "", columns: Any = (), words: Any = ()) -> ReadingRules:
    return parse_rules(control, edit_field, scale, columns, words)


def result(name: str, kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"from_name": name, "type": kind, "value": {key: value}}


def export(path: Path, *tasks: tuple[dict[str, str], list[dict[str, Any]]]) -> Path:
    """A Label Studio export with one annotation by rater 7 a task."""
    made = [
        {"id": 100 + n, "data": data, "annotations": [{"id": n, "completed_by": 7, "result": results}]}
        for n, (data, results) in enumerate(tasks)
    ]
    (path / "ls.json").write_text(json.dumps(made))
    return path / "ls.json"


def quality(value: int) -> dict[str, Any]:
    return result("quality", "rating", "rating", value)


def comment(text: str) -> dict[str, Any]:
    return result("comment", "textarea", "text", [text])


def test_the_answering_control_is_chosen_once_and_comments_never_answer(tmp_path: Path) -> None:
    path = export(
        tmp_path,
        ({"edit_id": "a"}, [quality(4), comment("2")]),
        ({"edit_id": "b"}, [quality(5)]),
        ({"edit_id": "c"}, [comment("3")]),
    )
    found = read_responses(path)
    assert [(r.value, dict(r.axes)) for r in found] == [(4.0, {}), (5.0, {}), (None, {})]


def test_two_controls_that_could_answer_are_refused_and_named(tmp_path: Path) -> None:
    sharp = result("sharpness", "rating", "rating", 1)
    path = export(tmp_path, ({"edit_id": "a"}, [quality(4), sharp]), ({"edit_id": "b"}, [quality(2)]))
    with pytest.raises(HPEditError, match="quality or sharpness"):
        read_responses(path)
    first, second = read_responses(path, rules(control="quality"))
    assert (first.value, dict(first.axes), second.value) == (4.0, {"sharpness": 1.0}, 2.0)


def test_multiple_choice_becomes_flags_wherever_one_rater_chose_several(tmp_path: Path) -> None:
    faults = [result("faults", "choices", "choices", chosen) for chosen in (["blur", "hands"], ["blur"])]
    path = export(tmp_path, *(({"edit_id": f"e{n}"}, [quality(n), fault]) for n, fault in enumerate(faults)))
    assert [(r.value, r.flags) for r in read_responses(path)] == [(0.0, ("blur", "hands")), (1.0, ("blur",))]


def test_the_edits_id_is_a_field_of_the_data(tmp_path: Path) -> None:
    path = export(tmp_path, ({"id": "edit_17", "image": "x.png"}, [quality(4)]))
    assert read_responses(path, rules(edit_field="id"))[0].edits == ("edit_17",)
    with pytest.raises(HPEditError, match="no field 'name'"):
        read_responses(path, rules(edit_field="name"))


def test_a_pairwise_answer_names_its_two_fields(tmp_path: Path) -> None:
    vote = result("pw", "pairwise", "selected", "left")
    path = export(tmp_path, ({"image_a": "a.png", "image_b": "b.png"}, [vote]))
    with pytest.raises(HPEditError) as refused:
        read_responses(path)
    assert "--edit-field" in str(refused.value.hint)
    (found,) = read_responses(path, rules(edit_field="image_a,image_b"))
    assert (found.edits, found.value) == (("a.png", "b.png"), "A")


SHEETS = {
    "semicolons and decimal commas": "edit_id;rater;score\ne1;ann;4,5\ne2;ann;3\n",
    "tabs": "edit_id\trater\tscore\ne1\tann\t4.5\ne2\tann\t3\n",
    "quoted decimal commas": 'edit_id,rater,score\ne1,ann,"4,5"\ne2,ann,3\n',
    "empty rows": "edit_id,rater,score\ne1,ann,4.5\n,,\ne2,ann,3\n,,\n,,\n",
    "empty columns": "edit_id,rater,score,,\ne1,ann,4.5,,\ne2,ann,3,,\n",
    "both, from Excel": "\ufeffedit_id;rater;score;;\r\ne1;ann;4,5;;\r\ne2;ann;3;;\r\n;;;;\r\n",
}


@pytest.mark.parametrize("sheet", SHEETS)
def test_a_spreadsheets_table_is_read_as_meant(sheet: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(SHEETS[sheet].encode())
    assert [(r.edits, r.rater, r.value) for r in read_responses(tmp_path / "r.csv")] == [
        (("e1",), "ann", 4.5),
        (("e2",), "ann", 3.0),
    ]


def test_a_cell_beyond_the_named_columns_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("edit_id,rater,score,\ne1,ann,4,note\n")
    with pytest.raises(HPEditError, match=r"r\.csv:2: a cell beyond"):
        read_responses(tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("scale", "given", "scores"),
    [("1:5", (1, 3, 5), [0, 2.5, 5]), ("0:10", (0, 5, 10), [0, 2.5, 5]), ("0:100", (20, 50, 100), [1, 2.5, 5])],
)
def test_scores_are_brought_from_their_scale_in_every_format(
    scale: str, given: tuple[int, ...], scores: list[float], tmp_path: Path
) -> None:
    rows = [{"edit_id": f"e{n}", "rater": "ann", "score": value} for n, value in enumerate(given)]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.csv").write_text("edit_id,rater,score\n" + "".join(f"e{n},ann,{v}\n" for n, v in enumerate(given)))
    path = export(tmp_path, *(({"edit_id": f"e{n}"}, [quality(value)]) for n, value in enumerate(given)))
    for file in (tmp_path / "r.jsonl", tmp_path / "r.csv", path):
        assert [r.value for r in read_responses(file, rules(scale=scale))] == pytest.approx(scores)
    (tmp_path / "r.csv").write_text("edit_id,rater,score\ne1,ann,101\n")
    with pytest.raises(HPEditError, match=r"r\.csv:2: score is 101"):
        read_responses(tmp_path / "r.csv", rules(scale=scale))


@pytest.mark.parametrize("scale", ["5", "5:1", "a:b", "1:1", "0:inf", "nan:5"])
def test_a_scale_is_low_and_high(scale: str) -> None:
    with pytest.raises(HPEditError, match="--scale"):
        rules(scale=scale)


def test_a_table_in_which_0_never_occurs_is_remarked(tmp_path: Path) -> None:
    table = "edit_id,rater,score\n" + "".join(f"e{n},ann,{1 + n % 5}\n" for n in range(10))
    (tmp_path / "r.csv").write_text(table)
    assert "--scale 1:5" in import_responses("csv", tmp_path / "r.csv", tmp_path / "out")["note"]
    assert "note" not in import_responses("csv", tmp_path / "r.csv", tmp_path / "out", rules(scale="1:5"))


def test_argilla_prodigy_and_arena_by_a_map(tmp_path: Path) -> None:
    argilla = {"metadata": {"edit_id": "e1"}, "responses": [{"user_id": "u", "values": {"score": {"value": 4}}}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(argilla) + "\n")
    columns = ("edit_id=metadata.edit_id", "rater=responses.0.user_id", "score=responses.0.values.score.value")
    (found,) = read_responses(tmp_path / "a.jsonl", rules(columns=columns))
    assert (found.edits, found.rater, found.value) == (("e1",), "u", 4.0)
    prodigy = {"edit": "e1", "answer": "accept", "_annotator_id": "p"}
    (tmp_path / "p.jsonl").write_text(json.dumps(prodigy) + "\n")
    columns = ("edit_id=edit", "rater=_annotator_id", "score=answer")
    words = ("accept=5", "reject=0", "ignore=skip")
    (found,) = read_responses(tmp_path / "p.jsonl", rules(columns=columns, words=words))
    assert (found.rater, found.value) == ("p", 5.0)
    (tmp_path / "v.csv").write_text("model_a,model_b,judge,type\nx,y,ann,leftvote\nx,z,ann,bothbad_vote\n")
    columns = ("edit_a=model_a", "edit_b=model_b", "rater=judge", "vote=type")
    words = ("leftvote=A", "rightvote=B", "bothbad_vote=both_bad", "tievote=tie")
    assert [r.value for r in read_responses(tmp_path / "v.csv", rules(columns=columns, words=words))] == [
        "A",
        "both_bad",
    ]
