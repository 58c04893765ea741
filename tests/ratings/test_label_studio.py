"""Import and export of Label Studio JSON: our answers come back equal, and its own exports are read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ratings.test_response_tables import SCORES, VOTE_RESPONSES

from hpedit.errors import HPEditError
from hpedit.ratings.label_studio import labeling_config, read_label_studio, write_label_studio
from hpedit.ratings.reading_rules import ReadingRules
from hpedit.ratings.responses import Response


def export(tmp_path: Path, tasks: Any) -> Path:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def choice(name: str, *values: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "x", "type": "choices", "value": {"choices": list(values)}}


@given(responses=st.lists(SCORES, min_size=1, max_size=4) | st.lists(VOTE_RESPONSES, min_size=1, max_size=4))
@settings(max_examples=50)
def test_every_answer_comes_back_equal(tmp_path_factory: pytest.TempPathFactory, responses: list[Response]) -> None:
    path = tmp_path_factory.getbasetemp() / "tasks.json"
    path.write_text(write_label_studio(responses, {}), encoding="utf-8")
    rest = list(responses)
    for response in read_label_studio(path):
        rest.remove(response)
    assert not rest


def test_an_export_of_label_studio_is_read_with_its_annotators(tmp_path: Path) -> None:
    tasks = [
        {
            "id": 4,
            "data": {"edit_id": "e1", "source_id": "photo", "task": "color"},
            "annotations": [
                {
                    "id": 11,
                    "completed_by": {"id": 2, "email": "anna@example.org"},
                    "result": [choice("score", "3"), choice("flags", "unsafe", "impossible")],
                    "lead_time": 4.288,
                    "created_at": "2026-01-02T03:04:05.000000Z",
                    "was_cancelled": False,
                },
                {
                    "id": 12,
                    "completed_by": 7,
                    "result": [{"from_name": "score", "type": "rating", "value": {"rating": 5}}],
                },
                {"id": 13, "completed_by": 8, "result": [], "was_cancelled": True},
                {"id": 14, "completed_by": 9, "result": []},
            ],
            "predictions": [{"result": [choice("score", "0")]}],
        }
    ]
    first, second, cancelled, empty = read_label_studio(export(tmp_path, tasks))
    assert (first.rater, first.value, first.ms, first.id) == ("anna@example.org", 3.0, 4288, "11")
    assert (first.flags, first.source_id, first.task) == (("unsafe", "impossible"), "photo", "color")
    assert (second.rater, second.value) == ("7", 5.0)
    assert (cancelled.value, cancelled.counts) == ("skip", False)
    assert (empty.value, empty.counts) == (None, False)


def test_old_completions_without_annotators_are_two_people(tmp_path: Path) -> None:
    tasks = [{"id": 1, "data": {"edit_id": "e"}, "completions": [{"result": [choice("score", n)]} for n in "24"]}]
    assert [(r.rater, r.value) for r in read_label_studio(export(tmp_path, tasks))] == [
        ("unknown-1", 2.0),
        ("unknown-2", 4.0),
    ]


def test_votes_are_read_from_choices_and_from_the_pairwise_control(tmp_path: Path) -> None:
    pairwise = {"from_name": "pw", "type": "pairwise", "value": {"selected": "right"}}
    for results, votes in (
        ([[choice("vote", "both_bad")], [choice("vote", "tie")]], ["both_bad", "tie"]),
        ([[pairwise]], ["B"]),
        ([[choice("better", "Left")]], ["A"]),
        ([[choice("vote", "tie")], [choice("better", "Left")]], ["tie", None]),
    ):
        annotations = [{"completed_by": n, "result": result} for n, result in enumerate(results)]
        tasks = [{"id": 1, "data": {"edit_a": "a", "edit_b": "b"}, "annotations": annotations}]
        assert [r.value for r in read_label_studio(export(tmp_path, tasks))] == votes


def test_another_name_of_the_control_is_found_or_given(tmp_path: Path) -> None:
    annotation = {"completed_by": 1, "result": [choice("stars", "4"), choice("comment", "nice")]}
    path = export(tmp_path, [{"id": 9, "data": {}, "annotations": [annotation]}])
    assert [(r.edits, r.value) for r in read_label_studio(path)] == [(("9",), 4.0)]
    two = [{"completed_by": 1, "result": [choice("a", "4"), choice("b", "1")]}]
    path = export(tmp_path, [{"id": 9, "data": {}, "annotations": two}])
    with pytest.raises(HPEditError, match="a or b"):
        read_label_studio(path)
    (given_name,) = read_label_studio(path, ReadingRules(control="b"))
    assert (given_name.value, given_name.axes) == (1.0, {"a": 4.0})


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"data": 1}, "not a list of tasks"),
        ([{"id": 1, "score": "3"}], "task 1 has no data or no annotations"),
        (
            [{"id": 1, "data": {"edit_id": "e"}, "annotations": [{"result": [choice("score", "7")]}]}],
            r"task 1, annotation 1: score is 7",
        ),
        (
            [{"id": 1, "data": {"edit_id": "e"}, "annotations": [{"result": [choice("score", "bad")]}]}],
            "score is 'bad', not a number",
        ),
        (
            [{"id": 1, "data": {"edit_id": "e"}, "annotations": [{"result": [choice("score", "1e999")]}]}],
            "score is '1e999', not a number",
        ),
        (
            [{"id": 1, "data": {"edit_id": "e"}, "annotations": [{"result": [choice("score", "1", "2")]}]}],
            "score has 2 answers",
        ),
        (
            [{"id": 1, "data": {"edit_a": "e", "edit_b": "f"}, "annotations": [{"result": [choice("vote", "C")]}]}],
            "vote is 'C'",
        ),
        (
            [{"id": 1, "data": {"edit_id": "e"}, "annotations": [{"result": [{"from_name": "score"}]}]}],
            "result of score has no value",
        ),
    ],
)
def test_a_broken_export_is_one_error_with_its_task(tmp_path: Path, tasks: Any, message: str) -> None:
    with pytest.raises(HPEditError, match=message):
        read_label_studio(export(tmp_path, tasks))


def test_an_endless_time_is_no_time(tmp_path: Path) -> None:
    annotation = {"result": [choice("score", "3")], "lead_time": math.inf}
    (response,) = read_label_studio(export(tmp_path, [{"id": 1, "data": {}, "annotations": [annotation]}]))
    assert (response.value, response.ms) == (3.0, None)


def test_torn_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"id": 1, "da')
    with pytest.raises(HPEditError, match=r"t\.json is not valid JSON"):
        read_label_studio(tmp_path / "t.json")


@pytest.mark.parametrize("values", [[3.0, 5.0], [3.5, 5.0]])
def test_the_labeling_config_has_the_controls_that_the_answers_name(values: list[float]) -> None:
    responses = [Response(("e",), "r", value, axes={'q"<': 1.0}) for value in values]
    items = {"e": {"instruction": "make it <red>", "source": "s.png", "edit": "e.png"}}
    config = ElementTree.fromstring(labeling_config(responses, items))
    tasks = json.loads(write_label_studio(responses, items))
    names = {
        result["from_name"] for task in tasks for annotation in task["annotations"] for result in annotation["result"]
    }
    controls = {element.get("name"): element for element in config.iter() if element.get("toName")}
    assert names <= set(controls)
    assert controls["score"].tag == ("Choices" if values[0] == 3 else "Number")
    variables = {element.get("value", "")[1:] for element in config.iter() if element.get("value", "").startswith("$")}
    assert variables == {"text", "source_picture", "edit_picture"} <= set(tasks[0]["data"])
