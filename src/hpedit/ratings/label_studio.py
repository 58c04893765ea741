"""Label Studio's JSON, both ways (labelstud.io/guide/task_format; its full JSON export, not JSON-MIN).

A task is an item, an annotation one person's answer, a cancelled annotation a skipped item. Label Studio takes an
annotation's `completed_by` only from its own users, so on the way there the rater's name and all else that it has no
place for travel in a hidden text control, `hpedit`, which it keeps; coming back without that, the annotator is the
rater. The visible controls hold the answer itself, so what is changed in Label Studio is what is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from xml.sax.saxutils import quoteattr

from hpedit.errors import HPEditError
from hpedit.ratings.responses import SKIP, VOTES, Response
from hpedit.store.atomic import dump_json, read_json
from hpedit.store.csv_rows import is_number

HIDDEN = "hpedit"
FLAGS = ("unsafe", "impossible")
_CARRIED = (
    *("rater", "id", "phase", "task", "case_id", "source_id"),
    *("ms", "time", "late", "expected", "superseded_by", "simulated"),
)
_ITEM = ("task", "case_id", "source_id")
_VOTE_WORDS: Mapping[str, str] = {
    **{vote.lower(): vote for vote in VOTES},
    "left": "A",
    "right": "B",
    "both bad": "both_bad",
}


def write_label_studio(responses: Sequence[Response], items: Mapping[str, Mapping[str, str]]) -> str:
    """JSON text of tasks with annotations, for answers of one kind.

    Args:
        responses: the answers; those of one item become one task.
        items: by edit id, what else a task's data says: instruction, source, edit (addresses of pictures).
    """
    tasks: dict[tuple[str, ...], list[Response]] = {}
    for response in responses:
        tasks.setdefault(response.edits, []).append(response)
    return dump_json([_task(number, group, items) for number, group in enumerate(tasks.values(), start=1)])


def labeling_config(responses: Sequence[Response], items: Mapping[str, Mapping[str, str]]) -> str:
    """The XML to paste into the project's labeling interface before the tasks are imported.

    Pictures are shown where every item has the addresses of its own.
    """
    votes = bool(responses) and responses[0].kind == "compare"
    data = [_data(response.edits, [response], items) for response in responses]
    pictures = [
        name for name in ("source", "edit", "edit_a", "edit_b") if data and all(f"{name}_picture" in d for d in data)
    ]
    shown = [f'  <Image name="{name}" value="${name}_picture"/>' for name in pictures]
    controls = [_choices("vote", VOTES)] if votes else [_score_control(responses)]
    axes = sorted({axis for response in responses for axis in response.axes})
    controls += [f"  <Number name={quoteattr(axis)} toName={quoteattr('text')}/>" for axis in axes]
    lines = ["<View>", '  <Text name="text" value="$text"/>', *shown, *controls]
    lines += [_choices("flags", FLAGS, "multiple")]
    lines += [f'  <View style="display:none"><TextArea name="{HIDDEN}" toName="text"/></View>', "</View>"]
    return "\n".join(lines) + "\n"


def read_label_studio(path: Path, control: str = "") -> list[Response]:
    """Answers of a Label Studio JSON export; cancelled annotations are skips, those without a result have no value.

    Args:
        path: the export, "JSON" in Label Studio's menu; the old one's `completions` are taken too.
        control: name of the control that holds the answer; "" finds `score` or `vote`, or else the only one.

    Raises:
        HPEditError: it is not such an export, or an answer is not one; with task and annotation.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise HPEditError(f"{path} is not a list of tasks", hint="export from Label Studio as JSON")
    return [
        response for number, task in enumerate(tasks, start=1) for response in _responses(path, number, task, control)
    ]


def _task(number: int, group: Sequence[Response], items: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "id": number,
        "data": _data(group[0].edits, group, items),
        "annotations": [_annotation(response) for response in group],
    }


def _data(edits: tuple[str, ...], group: Sequence[Response], items: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    names = ("edit_id",) if len(edits) == 1 else ("edit_a", "edit_b")
    data = dict(zip(names, edits, strict=True))
    for name in _ITEM:
        value = next((value for response in group if (value := getattr(response, name))), None)
        data |= {name: value} if value else {}
    known = items.get(edits[0], {})
    data["text"] = known.get("instruction") or " / ".join(edits)
    if known.get("source"):
        data["source_picture"] = known["source"]
    for name, edit in zip(("edit",) if len(edits) == 1 else names, edits, strict=True):
        if items.get(edit, {}).get("edit"):
            data[f"{name}_picture"] = items[edit]["edit"]
    return data


def _annotation(response: Response) -> dict[str, Any]:
    cancelled = response.value == SKIP
    results = [] if cancelled or response.value is None else [_answer_result(response)]
    results += [_result(axis, "number", {"number": mark}) for axis, mark in sorted(response.axes.items())]
    if response.flags:
        results.append(_result("flags", "choices", {"choices": list(response.flags)}))
    carried = json.dumps({name: getattr(response, name) for name in _CARRIED}, ensure_ascii=False, sort_keys=True)
    results.append(_result(HIDDEN, "textarea", {"text": [carried]}))
    annotation: dict[str, Any] = {"result": results, "was_cancelled": cancelled}
    if response.ms is not None:
        annotation["lead_time"] = response.ms / 1000
    return annotation


def _answer_result(response: Response) -> dict[str, Any]:
    if response.kind == "compare":
        return _result("vote", "choices", {"choices": [response.value]})
    if isinstance(response.value, float) and response.value.is_integer():
        return _result("score", "choices", {"choices": [f"{response.value:g}"]})
    return _result("score", "number", {"number": response.value})


def _result(name: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": name, "from_name": name, "to_name": "text", "type": kind, "value": dict(value)}


def _score_control(responses: Sequence[Response]) -> str:
    scores = [response.value for response in responses if isinstance(response.value, int | float)]
    if all(float(score).is_integer() for score in scores):
        return _choices("score", [str(score) for score in range(6)])
    return '  <Number name="score" toName="text" min="0" max="5"/>'


def _choices(name: str, values: Sequence[str], choice: str = "single-radio") -> str:
    inner = "".join(f"<Choice value={quoteattr(value)}/>" for value in values)
    return f'  <Choices name="{name}" toName="text" choice="{choice}" showInline="true">{inner}</Choices>'


@dataclass(frozen=True, slots=True)
class _Source:
    """One annotation, and how messages name it."""

    where: str
    edits: tuple[str, ...]
    data: Mapping[str, Any]
    annotation: Mapping[str, Any]
    position: int


def _responses(path: Path, number: int, task: Mapping[str, Any], control: str) -> Iterator[Response]:
    name = f"{path}: task {task.get('id', number)}"
    data = task.get("data")
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise HPEditError(
            f"{name} has no data or no annotations", hint="export from Label Studio as JSON, not JSON-MIN"
        )
    edits = (data["edit_a"], data["edit_b"]) if "edit_a" in data else (data.get("edit_id", task.get("id", number)),)
    for position, annotation in enumerate(annotations, start=1):
        where = f"{name}, annotation {position}"
        if not isinstance(annotation, dict):
            raise HPEditError(f"{where}: a {type(annotation).__name__} where an object is expected")
        yield _response(_Source(where, tuple(str(edit) for edit in edits), data, annotation, position), control)


def _response(source: _Source, control: str) -> Response:
    results = [item for item in source.annotation.get("result") or [] if isinstance(item, dict)]
    answers = {str(item.get("from_name")): _value(source.where, item) for item in results}
    hidden = answers.pop(HIDDEN, None)
    carried = _carried(source, hidden)
    flags = answers.pop("flags", [])
    marks = {name: value for name, value in answers.items() if value is not None}
    chosen = _chosen(source, marks, control, exact=bool(control) or hidden is not None)
    value = _answer(source, marks.pop(chosen)) if chosen else None
    if source.annotation.get("was_cancelled"):
        value = SKIP
    return Response(
        edits=source.edits,
        value=value,
        flags=tuple(flags) if isinstance(flags, list) else (str(flags),),
        axes={name: mark for name, value in marks.items() if (mark := _mark(value)) is not None},
        where=source.where,
        **carried,
    )


def _value(where: str, item: Mapping[str, Any]) -> Any:
    """What a result says: a text, a number, a list of choices, or None if nothing was chosen."""
    value = item.get("value")
    if not isinstance(value, dict):
        raise HPEditError(f"{where}: the result of {item.get('from_name')} has no value")
    content = next((value[key] for key in ("choices", "text", "rating", "number", "selected") if key in value), None)
    if isinstance(content, list) and item.get("from_name") != "flags":
        if len(content) > 1:
            raise HPEditError(f"{where}: {item.get('from_name')} has {len(content)} answers where one is expected")
        return content[0] if content else None
    return content


def _carried(source: _Source, hidden: Any) -> dict[str, Any]:
    """What is no answer: from the hidden control, or as Label Studio tells it."""
    if hidden is not None:
        try:
            carried = json.loads(hidden)
        except (TypeError, json.JSONDecodeError) as error:
            raise HPEditError(f"{source.where}: the control {HIDDEN} was changed: {error}") from error
        if isinstance(carried, dict) and carried.get("rater"):
            return {name: carried[name] for name in _CARRIED if name in carried}
    seconds = source.annotation.get("lead_time")
    return {
        "rater": _annotator(source),
        "id": str(source.annotation.get("unique_id") or source.annotation.get("id") or ""),
        "time": str(source.annotation.get("created_at") or ""),
        "ms": round(seconds * 1000) if _is_finite(seconds) else None,
        **{name: str(source.data.get(name) or "") for name in _ITEM},
    }


def _annotator(source: _Source) -> str:
    by = source.annotation.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    # Two annotations of one task are by two people, also where the export does not say who.
    return str(by) if by is not None else f"unknown-{source.position}"


def _chosen(source: _Source, marks: Mapping[str, Any], control: str, *, exact: bool) -> str | None:
    """Name of the control that holds the answer; None where it was left empty.

    Unless ``exact``, the only control that could hold one is taken where none has the usual name.
    """
    usual = control or ("vote" if len(source.edits) == 2 else "score")
    if usual in marks or exact:
        return usual if usual in marks else None
    answers = [name for name, value in marks.items() if _mark(value) is not None or str(value).lower() in _VOTE_WORDS]
    return answers[0] if len(answers) == 1 else None


def _answer(source: _Source, value: Any) -> float | str:
    if len(source.edits) == 2:
        vote = _VOTE_WORDS.get(str(value).strip().lower())
        if vote is None:
            raise HPEditError(f"{source.where}: vote is {value!r}", hint=f"a vote is one of {', '.join(VOTES)}")
        return vote
    mark = _mark(value)
    if mark is None:
        raise HPEditError(f"{source.where}: score is {value!r}, not a number")
    return mark


def _mark(value: Any) -> float | None:
    if isinstance(value, str):
        value = float(value) if is_number(value.strip()) else None
    return float(value) if _is_finite(value) else None


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
