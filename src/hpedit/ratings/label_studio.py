"""Import and export Label Studio's JSON (labelstud.io/guide/task_format; its full JSON export, not JSON-MIN).

A task is an item, an annotation one rater's answer, a cancelled annotation a skipped item. Label Studio accepts only
its own users as an annotation's `completed_by`, so the rater's name and the other fields it has no place for are
exported in a hidden text control, `hpedit`, which it preserves; on import without that control the annotator is the
rater. The visible controls hold the answer itself, so changes made in Label Studio are read back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from xml.sax.saxutils import quoteattr

from hpedit.errors import HPEditError
from hpedit.ratings.reading_rules import PLAIN_RULES, ReadingRules
from hpedit.ratings.responses import SKIP, VOTES, Response
from hpedit.store.atomic import dump_json, read_json
from hpedit.store.csv_rows import is_number
from hpedit.store.json_text import decode_json

HIDDEN = "hpedit"
FLAGS = ("unsafe", "impossible")
_CARRIED = (
    "rater", "id", "phase", "task", "case_id", "source_id", "ms", "time", "late", "expected", "superseded_by",
    "simulated",
)  # fmt: skip
_ITEM = ("task", "case_id", "source_id")
_VOTE_WORDS = {vote.lower(): vote for vote in VOTES} | {"left": "A", "right": "B", "both bad": "both_bad"}

Items = Mapping[str, Mapping[str, str]]
"""By edit id: source_id, task, instruction, source and edit (addresses of images); as far as known."""


def write_label_studio(responses: Sequence[Response], items: Items) -> str:
    """JSON text of tasks with annotations, one task per item, for ratings of one kind (all scores or all votes)."""
    tasks: dict[tuple[str, ...], list[Response]] = {}
    for response in responses:
        tasks.setdefault(response.edits, []).append(response)
    return dump_json(
        [
            {
                "id": number,
                "data": _task_data(edits, group, items),
                "annotations": [_annotation_json(r) for r in group],
            }
            for number, (edits, group) in enumerate(tasks.items(), start=1)
        ]
    )


def labeling_config(responses: Sequence[Response], items: Items) -> str:
    """The XML to paste into the project's labeling interface before the tasks are imported.

    Images are shown if every item has their addresses.
    """
    votes = bool(responses) and responses[0].kind == "compare"
    data = [_task_data(response.edits, [response], items) for response in responses]
    names = [n for n in ("source", "edit", "edit_a", "edit_b") if data and all(f"{n}_picture" in d for d in data)]
    shown = [f'  <Image name="{name}" value="${name}_picture"/>' for name in names]
    controls = [_choices_xml("vote", VOTES)] if votes else [_score_xml(responses)]
    axes = sorted({axis for response in responses for axis in response.axes})
    controls += [f"  <Number name={quoteattr(axis)} toName={quoteattr('text')}/>" for axis in axes]
    lines = ["<View>", '  <Text name="text" value="$text"/>', *shown, *controls]
    lines += [_choices_xml("flags", FLAGS, "multiple")]
    lines += [f'  <View style="display:none"><TextArea name="{HIDDEN}" toName="text"/></View>', "</View>"]
    return "\n".join(lines) + "\n"


def read_label_studio(path: Path, rules: ReadingRules = PLAIN_RULES) -> list[Response]:
    """Answers of a Label Studio JSON export; cancelled annotations are skips, those without a result have no value.

    Args:
        path: the export, "JSON" in Label Studio's menu; the old one's `completions` are taken too.
        rules: which control holds the answer, else it is `score` or `vote`, or the only one that can; which fields of
            the data name the edits; the scale.

    Raises:
        HPEditError: it is not such an export, or an answer is invalid; with task and annotation.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise HPEditError(f"{path} is not a list of tasks", hint="export from Label Studio as JSON")
    found = [
        annotation
        for number, task in enumerate(tasks, start=1)
        for annotation in _annotations(path, number, task, rules.edit_fields)
    ]
    controls = _controls(found)
    chosen = rules.control or _answer_control(path, found, controls)
    multiple = {name for name, seen in controls.items() if seen.multiple and name != chosen}
    return [_parse_annotation(annotation, chosen, multiple, controls, rules) for annotation in found]


def _task_data(edits: tuple[str, ...], group: Sequence[Response], items: Items) -> dict[str, str]:
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


def _annotation_json(response: Response) -> dict[str, Any]:
    cancelled = response.value == SKIP
    results = [] if cancelled or response.value is None else [_answer_result(response)]
    results += [_control_result(axis, "number", {"number": score}) for axis, score in sorted(response.axes.items())]
    if response.flags:
        results.append(_control_result("flags", "choices", {"choices": list(response.flags)}))
    carried = json.dumps({name: getattr(response, name) for name in _CARRIED}, ensure_ascii=False, sort_keys=True)
    results.append(_control_result(HIDDEN, "textarea", {"text": [carried]}))
    annotation: dict[str, Any] = {"result": results, "was_cancelled": cancelled}
    if response.ms is not None:
        annotation["lead_time"] = response.ms / 1000
    return annotation


def _answer_result(response: Response) -> dict[str, Any]:
    if response.kind == "compare":
        return _control_result("vote", "choices", {"choices": [response.value]})
    if isinstance(response.value, float) and response.value.is_integer():
        return _control_result("score", "choices", {"choices": [f"{response.value:g}"]})
    return _control_result("score", "number", {"number": response.value})


def _control_result(name: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": name, "from_name": name, "to_name": "text", "type": kind, "value": dict(value)}


def _score_xml(responses: Sequence[Response]) -> str:
    scores = [response.value for response in responses if isinstance(response.value, int | float)]
    if all(float(score).is_integer() for score in scores):
        return _choices_xml("score", [str(score) for score in range(6)])
    return '  <Number name="score" toName="text" min="0" max="5"/>'


def _choices_xml(name: str, values: Sequence[str], choice: str = "single-radio") -> str:
    inner = "".join(f"<Choice value={quoteattr(value)}/>" for value in values)
    return f'  <Choices name="{name}" toName="text" choice="{choice}" showInline="true">{inner}</Choices>'


@dataclass(frozen=True, slots=True)
class _SourceAnnotation:
    """One annotation of a Label Studio export."""

    where: str
    """Task and annotation, for messages."""
    edits: tuple[str, ...]
    data: Mapping[str, Any]
    annotation: Mapping[str, Any]
    position: int


def _annotations(
    path: Path, number: int, task: Mapping[str, Any], fields: Sequence[str]
) -> Iterator[_SourceAnnotation]:
    name = f"{path}: task {task.get('id', number)}"
    data = task.get("data")
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise HPEditError(f"{name} has no data or no annotations", hint="export it as JSON, not JSON-MIN")
    if missing := [name for name in fields if data.get(name) in (None, "")]:
        raise HPEditError(f"{name} has no field {missing[0]!r} in its data", hint=f"it has {', '.join(data)}")
    edits: tuple[Any, ...]
    if fields:
        edits = tuple(data[name] for name in fields)
    else:
        edits = (data["edit_a"], data["edit_b"]) if "edit_a" in data else (data.get("edit_id", task.get("id", number)),)
    for position, annotation in enumerate(annotations, start=1):
        where = f"{name}, annotation {position}"
        if not isinstance(annotation, dict):
            raise HPEditError(f"{where}: expected an object, found a {type(annotation).__name__}")
        yield _SourceAnnotation(where, tuple(str(edit) for edit in edits), data, annotation, position)


@dataclass(slots=True)
class _Control:
    """What the annotations of an export have in one of its controls."""

    kinds: set[str]
    values: list[Any]
    multiple: bool = False
    """Somebody chose several of its answers."""

    def can_answer(self, votes: bool) -> bool:
        """Whether it can hold the answer: never a text or a multiple choice, and every value a score (or a vote)."""
        if self.kinds & {"textarea"} or self.multiple or not self.values:
            return False
        if votes:
            return all(str(value).strip().lower() in _VOTE_WORDS for value in self.values)
        return all(_as_number(value) is not None for value in self.values)


def _controls(annotations: Sequence[_SourceAnnotation]) -> dict[str, _Control]:
    """The controls of a whole export but the flags and the hidden one, by name."""
    found: dict[str, _Control] = {}
    for source in annotations:
        for item in _results(source):
            name = str(item.get("from_name"))
            if name in (HIDDEN, "flags"):
                continue
            control = found.setdefault(name, _Control(set(), []))
            control.kinds.add(str(item.get("type")))
            value = _result_value(source.where, item)
            control.multiple |= isinstance(value, list)
            control.values += [] if value is None else [value]
    return found


def _results(source: _SourceAnnotation) -> list[Mapping[str, Any]]:
    """The results of an annotation."""
    return [item for item in source.annotation.get("result") or [] if isinstance(item, dict)]


def _answer_control(path: Path, annotations: Sequence[_SourceAnnotation], controls: Mapping[str, _Control]) -> str:
    """The control that holds the answer in every annotation of an export; "" if none can.

    It is chosen once: chosen anew in each annotation, an answer that is left out would be taken from another question.
    """
    ours = any(item.get("from_name") == HIDDEN for source in annotations for item in _results(source))
    votes = any(len(source.edits) == 2 for source in annotations)
    usual = "vote" if votes else "score"
    if ours or (usual in controls and controls[usual].kinds != {"textarea"}):
        return usual
    able = [name for name, control in controls.items() if control.can_answer(votes)]
    if len(able) > 1:
        raise HPEditError(f"{path}: the answer may be in {' or '.join(able)}", hint="name the control: --control NAME")
    if not able and not votes and any(control.can_answer(votes=True) for control in controls.values()):
        raise HPEditError(
            f"{path} holds votes, but its data has no edit_a and edit_b",
            hint="name the fields with the two edits' ids: --edit-field image_a,image_b",
        )
    return able[0] if able else ""


def _parse_annotation(
    source: _SourceAnnotation,
    chosen: str,
    multiple: Set[str],
    controls: Mapping[str, _Control],
    rules: ReadingRules,
) -> Response:
    """The response of an annotation whose answer is in the control `chosen`."""
    values = {str(item.get("from_name")): _result_value(source.where, item) for item in _results(source)}
    hidden = values.pop(HIDDEN, None)
    flags = values.pop("flags", None) or []
    values = {name: value for name, value in values.items() if value is not None}
    given = values.pop(chosen, None)
    if isinstance(given, list):
        raise HPEditError(f"{source.where}: {chosen} has {len(given)} answers, expected one")
    value = None if given is None else _parse_answer(source, given, rules)
    flags = list(flags) if isinstance(flags, list) else [str(flags)]
    for name in multiple & values.keys():
        flags += values[name] if isinstance(values[name], list) else [str(values[name])]
    numbers = {n: _as_number(v) for n, v in values.items() if controls[n].kinds != {"textarea"} and n not in multiple}
    return Response(
        edits=source.edits,
        value=SKIP if source.annotation.get("was_cancelled") else value,
        flags=tuple(flags),
        axes={name: score for name, score in numbers.items() if score is not None},
        where=source.where,
        **_carried_fields(source, hidden),
    )


def _result_value(where: str, item: Mapping[str, Any]) -> Any:
    """The value of a control's result: a text, a number, a list of choices, or None if nothing was chosen."""
    value = item.get("value")
    if not isinstance(value, dict):
        raise HPEditError(f"{where}: the result of {item.get('from_name')} has no value")
    content = next((value[key] for key in ("choices", "text", "rating", "number", "selected") if key in value), None)
    if isinstance(content, list) and item.get("from_name") != "flags":
        return content if len(content) > 1 else content[0] if content else None
    return content


def _carried_fields(source: _SourceAnnotation, hidden: Any) -> dict[str, Any]:
    """A response's other fields: from the hidden control, or else from Label Studio's own."""
    if hidden is not None:
        try:
            carried = decode_json(hidden)
        except (TypeError, ValueError) as error:
            raise HPEditError(f"{source.where}: the control {HIDDEN} was changed: {error}") from error
        if isinstance(carried, dict) and carried.get("rater"):
            return {name: carried[name] for name in _CARRIED if name in carried}
    by, seconds = source.annotation.get("completed_by"), source.annotation.get("lead_time")
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    return {
        # Two annotations of one task are by two raters, even if the export does not name them.
        "rater": str(by) if by is not None else f"unknown-{source.position}",
        "id": str(source.annotation.get("unique_id") or source.annotation.get("id") or ""),
        "time": str(source.annotation.get("created_at") or ""),
        "ms": round(seconds * 1000) if _is_finite(seconds) else None,
        **{name: str(source.data.get(name) or "") for name in _ITEM},
    }


def _parse_answer(source: _SourceAnnotation, value: Any, rules: ReadingRules) -> float | str:
    """A vote or a score of an annotation; HPEditError if it is neither."""
    value = rules.words.get(str(value).strip(), value)
    if len(source.edits) == 2:
        vote = _VOTE_WORDS.get(str(value).strip().lower())
        if vote is None:
            raise HPEditError(f"{source.where}: vote is {value!r}", hint=f"a vote is one of {', '.join(VOTES)}")
        return vote
    score = _as_number(value)
    if score is None:
        raise HPEditError(f"{source.where}: score is {value!r}, not a number")
    return rules.score(source.where, score)


def _as_number(value: Any) -> float | None:
    if isinstance(value, str):
        value = float(value) if is_number(value.strip()) else None
    return float(value) if _is_finite(value) else None


def _is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
