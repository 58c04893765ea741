"""Import and export of ratings: the app's database, CSV, JSONL and Label Studio JSON, all through `Response`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpedit.errors import HPEditError
from hpedit.ratings.label_studio import Items, labeling_config, read_label_studio, write_label_studio
from hpedit.ratings.reading_rules import PLAIN_RULES, ReadingRules
from hpedit.ratings.response_tables import read_response_table, write_response_table
from hpedit.ratings.responses import SKIP, Response, check_rated_once
from hpedit.ratings.store import RatingStore
from hpedit.store.atomic import atomic_write, dump_json
from hpedit.store.csv_rows import index_csv_rows, read_csv_rows

EXPORTS = ("csv", "jsonl", "labelstudio")
MANY = 5
"""Scores from which the lack of a 0 is worth a note."""
_STORES = (".sqlite", ".sqlite3", ".db")


def read_responses(path: Path, rules: ReadingRules = PLAIN_RULES) -> list[Response]:
    """All answers in the app's database (.sqlite, .db), a table (.csv, .jsonl) or a Label Studio export (.json)."""
    suffix = path.suffix.lower()
    if suffix in _STORES:
        with RatingStore.open(path) as store:
            return _database_responses(store, None)
    if suffix == ".json":
        return read_label_studio(path, rules)
    if suffix in (".csv", ".jsonl"):
        return read_response_table(path, rules)
    raise HPEditError(
        f"{path}: unknown format of ratings",
        hint="give the app's .sqlite, a table as .csv or .jsonl, or Label Studio's .json",
    )


def read_items(path: Path) -> dict[str, dict[str, str]]:
    """Items of a CSV of edits: edit_id, and optional source_id (or photo_id), task, instruction and image files."""
    names = {"task": "task", "instruction": "instruction", "source_file": "source", "edited_file": "edit"}
    rows = index_csv_rows(read_csv_rows(path, ("edit_id",)), ("edit_id",))
    items: dict[str, dict[str, str]] = {}
    for (edit,), row in rows.items():
        source = row.cells.get("source_id") or row.cells.get("photo_id") or ""
        items[edit] = {"source_id": source} | {ours: row.cells.get(theirs, "") for theirs, ours in names.items()}
    return items


def fill_from_items(responses: Sequence[Response], items: Items) -> list[Response]:
    """Fill in missing sources and tasks of responses from the table of edits."""
    filled = []
    for response in responses:
        item = items.get(response.edits[0], {})
        source, task = item.get("source_id", ""), item.get("task", "")
        filled.append(replace(response, source_id=response.source_id or source, task=response.task or task))
    return filled


def export_store(
    db: Path, out: Path, form: str, *, everything: bool = False, as_of: int | None = None
) -> dict[str, Any]:
    """Export the ratings of the app's database.

    Practice, retests, skipped and undone answers are left out unless ``everything``. ``out``.version.json records the
    number of the last change and every undone answer, so that a holder of an older export sees what no longer counts.
    The same database and version give the same bytes.

    Args:
        db: the app's SQLite file.
        out: the file to write; if there are both scores and votes, votes go to NAME-votes beside it.
        form: one of `EXPORTS`.
        everything: all answers, with the columns that say which of them count.
        as_of: a version (number of a change): the answers as they stood then.

    Returns:
        version, answers by kind, superseded, left_out, files.

    Raises:
        HPEditError: the database cannot be read, the version does not exist yet, the format is unknown, or there is
            nothing to export.
    """
    with RatingStore.open(db) as store:
        if as_of is not None and as_of > store.change:
            raise HPEditError(f"{db} has no version {as_of} yet", hint=f"its last one is {store.change}")
        version = store.change if as_of is None else as_of
        responses, items = _database_responses(store, version), _database_items(store)
    kept = responses if everything else _training_responses(responses)
    result = _export_kinds(kept, items, out, form, everything)
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
    """Convert a table of ratings or a Label Studio export to another format; returns answers by kind and files."""
    items = read_items(edits) if edits else {}
    return _export_kinds(fill_from_items(read_responses(table), items), items, out, form, everything=True)


def import_responses(form: str, src: Path, out: Path, rules: ReadingRules = PLAIN_RULES) -> dict[str, Any]:
    """Import a ratings file as ratings.csv (scores) and votes.csv (votes) in the folder ``out``.

    Returns:
        ratings, votes, raters, edits, skipped, without_answer, other (practice, undone), retests, files.

    Raises:
        HPEditError: the file is broken, a value is invalid, a rater scores an edit twice, or no answer counts.
    """
    suffix = {"csv": ".csv", "jsonl": ".jsonl", "labelstudio": ".json"}[form]
    if src.suffix.lower() != suffix:
        raise HPEditError(f"{src} is not a {form} file", hint=f"its name should end in {suffix}")
    responses = read_responses(src, rules)
    check_rated_once(responses)
    kept = _training_responses(responses)
    if not kept:
        raise HPEditError(f"{src} has no answer that counts", hint="skipped, empty, practice and undone ones do not")
    out.mkdir(parents=True, exist_ok=True)
    files = _write_scores_and_votes(kept, {}, out / "ratings.csv", out / "votes.csv", "csv", everything=False)
    scores = [response.value for response in kept if isinstance(response.value, int | float)]
    note = {"note": "no score is below 1: is it a scale of 1 to 5? then --scale 1:5"}
    suspect = rules.scale[0] == 0 and len(scores) >= MANY and min(scores) >= 1
    reasons = Counter(map(_why_not_imported, responses))
    return {
        "ratings": sum(response.kind == "score" for response in kept),
        "votes": sum(response.kind == "compare" for response in kept),
        "raters": len({response.rater for response in kept}),
        "edits": len({edit for response in kept for edit in response.edits}),
        **{name: reasons[name] for name in ("skipped", "without_answer", "other", "retests")},
        "files": files,
        **(note if suspect else {}),
    }


def _why_not_imported(response: Response) -> str:
    if response.value == SKIP:
        return "skipped"
    if response.empty:
        return "without_answer"
    if not response.counts:
        return "other"
    return "retests" if response.phase == "retest" else "imported"


def _database_responses(store: RatingStore, version: int | None) -> list[Response]:
    """The database's answers as responses; HPEditError if it holds checks of cases instead of ratings."""
    if store.meta("kind") == "check":
        raise HPEditError(f"{store.path} holds checks of cases, not ratings", hint="use `hpedit bench build --checked`")
    sources = {edit: item["source_id"] for edit, item in _database_items(store).items()}
    same: tuple[str, ...] = ("rater", "value", "phase", "flags", "case_id", "ms", "time", "late", "expected")
    return [
        Response(
            edits=answer.edit_ids,
            id=answer.client_id,
            task=answer.task or "",
            source_id=sources.get(answer.edit_ids[0], ""),
            superseded_by="" if answer.superseded_by is None else f"change {answer.superseded_by}",
            where=f"{store.path}, answer {answer.id}",
            **{name: getattr(answer, name) for name in same},
        )
        for answer in store.answers(include_superseded=True, as_of=version)
    ]


def _database_items(store: RatingStore) -> dict[str, dict[str, str]]:
    names = ("source_id", "task", "instruction")
    return {
        edit: {name: str(item.get(name) or "") for name in names} for item in store.items() for edit in item["edit_ids"]
    }


def _training_responses(responses: Sequence[Response]) -> list[Response]:
    """What a scorer is fitted on: answers that count, no retests, one score per rater and edit."""
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


def _export_kinds(
    responses: Sequence[Response], items: Items, out: Path, form: str, everything: bool
) -> dict[str, Any]:
    if form not in EXPORTS:
        raise HPEditError(f"unknown format {form}", hint=f"known formats: {', '.join(EXPORTS)}")
    if not responses:
        raise HPEditError("there is no answer to export", hint="--all includes practice, skipped and undone answers")
    kinds = Counter(response.kind for response in responses)
    votes_out = out.with_name(f"{out.stem}-votes{out.suffix}") if kinds["score"] else out
    files = _write_scores_and_votes(responses, items, out, votes_out, form, everything=everything)
    return {"scores": kinds["score"], "votes": kinds["compare"], "files": files}


def _write_scores_and_votes(
    responses: Sequence[Response], items: Items, scores_out: Path, votes_out: Path, form: str, *, everything: bool
) -> list[str]:
    """Write scores and votes to their own files, in one of `EXPORTS`; returns the paths written."""
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
            atomic_write(path, write_response_table(chosen, form, everything=everything))
            files.append(str(path))
    return files
