"""Read answers from any of the forms they are kept in, export them, and bring them into our tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.ratings.label_studio import labeling_config, read_label_studio, write_label_studio
from hpedit.ratings.responses import SKIP, Response, check_once
from hpedit.ratings.store import RatingStore
from hpedit.ratings.tables import read_table, write_table
from hpedit.store.atomic import atomic_write, dump_json
from hpedit.store.csv_rows import index_csv_rows, read_csv_rows

EXPORTS = ("csv", "jsonl", "labelstudio")
_STORES = (".sqlite", ".sqlite3", ".db")

Items = Mapping[str, Mapping[str, str]]
"""By edit id: source_id, task, instruction, and source and edit, the addresses of the pictures; as far as known."""


def read_responses(path: Path, control: str = "") -> list[Response]:
    """All answers of the app's store (.sqlite, .db), a table (.csv, .jsonl) or a Label Studio export (.json)."""
    suffix = path.suffix.lower()
    if suffix in _STORES:
        with RatingStore.open(path) as store:
            return _stored(store, None)
    if suffix == ".json":
        return read_label_studio(path, control)
    if suffix in (".csv", ".jsonl"):
        return read_table(path)
    raise HPEditError(
        f"{path} is no file of ratings that we know",
        hint="the app's .sqlite, a table as .csv or .jsonl, or Label Studio's .json",
    )


def read_items(path: Path) -> dict[str, dict[str, str]]:
    """Items of a CSV table of edits: edit_id; source_id (or photo_id), task, instruction, pictures' files if there."""
    names = {"task": "task", "instruction": "instruction", "source_file": "source", "edited_file": "edit"}
    rows = index_csv_rows(read_csv_rows(path, ("edit_id",)), ("edit_id",))
    items: dict[str, dict[str, str]] = {}
    for (edit,), row in rows.items():
        source = row.cells.get("source_id") or row.cells.get("photo_id") or ""
        items[edit] = {"source_id": source} | {ours: row.cells.get(theirs, "") for theirs, ours in names.items()}
    return items


def with_items(responses: Sequence[Response], items: Items) -> list[Response]:
    """Answers with source and task filled in from the items, where they do not say themselves."""
    return [
        replace(
            response,
            source_id=response.source_id or items.get(response.edits[0], {}).get("source_id", ""),
            task=response.task or items.get(response.edits[0], {}).get("task", ""),
        )
        for response in responses
    ]


def export_store(
    db: Path, out: Path, form: str, *, everything: bool = False, as_of: int | None = None
) -> dict[str, Any]:
    """Export the answers of the rating app.

    Left out unless ``everything``: practice, retests, skips, and what was taken back. Beside ``out`` lies
    ``out``.version.json: the number of the store's last change, and every answer that was taken back by then, so that
    whoever holds an older export sees what no longer counts. The same store and version give the same bytes.

    Args:
        db: the app's file.
        out: the file to write; where scores and votes are both there, votes go to NAME-votes beside it.
        form: one of `EXPORTS`.
        everything: all answers, with what says which of them count.
        as_of: a version: the answers as they stood then.

    Returns:
        version, answers by kind, superseded, left_out, files.

    Raises:
        HPEditError: the store cannot be read, the version is still to come, the format is unknown, or nothing is there
            to export.
    """
    with RatingStore.open(db) as store:
        if as_of is not None and as_of > store.change:
            raise HPEditError(f"{db} has no version {as_of} yet", hint=f"its last one is {store.change}")
        version = store.change if as_of is None else as_of
        responses, items = _stored(store, version), _items_of(store)
    kept = responses if everything else _rated(responses)
    result = _export(kept, items, out, form, everything)
    superseded = [
        {"id": r.id, "edits": list(r.edits), "rater": r.rater, "value": r.value, "superseded_by": r.superseded_by}
        for r in responses
        if r.superseded_by
    ]
    note = out.with_name(f"{out.name}.version.json")
    atomic_write(note, dump_json({"version": version, "answers": len(kept), "superseded": superseded}))
    return {
        "version": version,
        **result,
        "superseded": len(superseded),
        "left_out": len(responses) - len(kept),
        "files": [*result["files"], str(note)],
    }


def export_table(table: Path, edits: Path | None, out: Path, form: str) -> dict[str, Any]:
    """Export a table of ratings or a Label Studio export in another form; returns answers by kind and files."""
    items = read_items(edits) if edits else {}
    return _export(with_items(read_responses(table), items), items, out, form, everything=True)


def import_responses(form: str, src: Path, out: Path, control: str = "") -> dict[str, Any]:
    """Bring a file of answers into ratings.csv (scores) and votes.csv (votes) in the folder ``out``.

    Returns:
        ratings, votes, raters, edits, skipped, without_answer, other (practice, taken back), retests, files.

    Raises:
        HPEditError: the file is broken, an answer cannot be one, a rater scores an edit twice, or no answer is there.
    """
    readers = {"csv": (".csv",), "jsonl": (".jsonl",), "labelstudio": (".json",)}
    if src.suffix.lower() not in readers[form]:
        raise HPEditError(f"{src} is no {form} file", hint=f"its name should end in {' or '.join(readers[form])}")
    responses = read_responses(src, control)
    check_once(responses)
    kept = _rated(responses)
    if not kept:
        raise HPEditError(f"{src} has no answer that counts", hint="skipped, empty, practice and retracted ones do not")
    out.mkdir(parents=True, exist_ok=True)
    files = _write_kinds(kept, {}, out / "ratings.csv", out / "votes.csv", "csv", everything=False)
    return {
        "ratings": sum(response.kind == "score" for response in kept),
        "votes": sum(response.kind == "compare" for response in kept),
        "raters": len({response.rater for response in kept}),
        "edits": len({edit for response in kept for edit in response.edits}),
        **_left_out(responses),
        "files": files,
    }


def _left_out(responses: Sequence[Response]) -> dict[str, int]:
    reasons: Counter[str] = Counter()
    for response in responses:
        if response.value == SKIP:
            reasons["skipped"] += 1
        elif response.value is None and not response.axes:
            reasons["without_answer"] += 1
        elif not response.counts:
            reasons["other"] += 1
        elif response.phase == "retest":
            reasons["retests"] += 1
    return {name: reasons[name] for name in ("skipped", "without_answer", "other", "retests")}


def _stored(store: RatingStore, version: int | None) -> list[Response]:
    if store.meta("kind") == "check":
        raise HPEditError(
            f"{store.path} holds checks of cases, not ratings of edits", hint="`hpedit bench build --checked` reads it"
        )
    sources = {edit: item.get("source_id", "") for edit, item in _items_of(store).items()}
    return [
        Response(
            edits=answer.edit_ids,
            rater=answer.rater,
            value=answer.value,
            id=answer.client_id,
            phase=answer.phase,
            flags=answer.flags,
            task=answer.task or "",
            case_id=answer.case_id,
            source_id=sources.get(answer.edit_ids[0], ""),
            ms=answer.ms,
            time=answer.time,
            late=answer.late,
            expected=answer.expected,
            superseded_by="" if answer.superseded_by is None else f"change {answer.superseded_by}",
            where=f"{store.path}, answer {answer.id}",
        )
        for answer in store.answers(include_superseded=True, as_of=version)
    ]


def _items_of(store: RatingStore) -> dict[str, dict[str, str]]:
    known = ("source_id", "task", "instruction")
    return {
        edit: {name: str(item.get(name) or "") for name in known} for item in store.items() for edit in item["edit_ids"]
    }


def _rated(responses: Sequence[Response]) -> list[Response]:
    """The answers that count, without retests, and one score by each rater of each edit: what a scorer is fitted on."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for response in responses:
        if not response.counts or response.phase == "retest":
            continue
        key = (response.rater, response.edits[0])
        if response.kind == "score" and key in seen:
            continue
        seen.add(key)
        kept.append(response)
    return kept


def _export(responses: Sequence[Response], items: Items, out: Path, form: str, everything: bool) -> dict[str, Any]:
    if form not in EXPORTS:
        raise HPEditError(f"unknown format {form}", hint=f"known formats: {', '.join(EXPORTS)}")
    if not responses:
        raise HPEditError("there is no answer to export", hint="--all exports practice, skips and retracted ones too")
    kinds = Counter(response.kind for response in responses)
    votes_out = out.with_name(f"{out.stem}-votes{out.suffix}") if kinds["score"] else out
    files = _write_kinds(responses, items, out, votes_out, form, everything=everything)
    return {"scores": kinds["score"], "votes": kinds["compare"], "files": files}


def _write_kinds(
    responses: Sequence[Response], items: Items, scores_out: Path, votes_out: Path, form: str, *, everything: bool
) -> list[str]:
    """Write the scores and the votes, if there are any; the paths written."""
    files = []
    for kind, path in (("score", scores_out), ("compare", votes_out)):
        chosen = [response for response in responses if response.kind == kind]
        if not chosen:
            continue
        if form == "labelstudio":
            config = path.with_name(f"{path.stem}.config.xml")
            atomic_write(path, write_label_studio(chosen, items))
            atomic_write(config, labeling_config(chosen, items))
            files += [str(path), str(config)]
        else:
            atomic_write(path, write_table(chosen, form, everything=everything))
            files.append(str(path))
    return files
