"""Compare models on one benchmark, paired by case: `compare_models`. The first model is the reference.

Every figure of an instrument comes from the same cases: those that it could score for every model; what is unscorable
or missing for one is left out for all, and counted. Differences are paired by case; intervals and p values are by
source photo (hpedit.bench.instrument_figures).
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpedit.bench.bench_folder import BenchFolder, BenchRow, Instrument
from hpedit.bench.drift import pixel_drift, untouched_shares
from hpedit.bench.human import HumanScores
from hpedit.bench.instrument_figures import (
    HIGH_SCORE,
    LOW_SCORE,
    TIE_MARGIN,
    Array,
    InstrumentScores,
    correct_overall,
    instrument_figures,
    known_cases,
    task_counts,
)
from hpedit.bench.model_verdict import model_verdict
from hpedit.errors import HPEditError
from hpedit.stats.intervals import FEWEST_PHOTOS

Arms = Mapping[str, Sequence[BenchRow]]
"""Rows of each model, all in the same order of cases."""

_MUST_AGREE = {"seed": "seeds", "steps": "numbers of steps"}


def compare_models(
    folders: Sequence[BenchFolder], human: HumanScores | None = None, tasks: bool = True
) -> dict[str, Any]:
    """The comparison of finished benchmarks, as plain JSON: see docs/bench.md for its form.

    Args:
        folders: The reference first; their labels are the models' names.
        human: People's mean scores of edits.
        tasks: False leaves the figures by task out.

    Raises:
        HPEditError: fewer than two models, one label twice, no instrument in common, or folders that differ in cases,
            seed or steps.
    """
    if len(folders) < 2:
        raise HPEditError("a comparison needs at least two models", hint="name two folders of `hpedit bench run`")
    _check(folders)
    return _compare(folders, human, tasks)


def describe_model(folder: BenchFolder) -> dict[str, Any]:
    """The same figures of one model alone, without differences."""
    return _compare([folder], None, tasks=True)


def _compare(folders: Sequence[BenchFolder], human: HumanScores | None, tasks: bool) -> dict[str, Any]:
    arms = align_rows({folder.label: folder.rows() for folder in folders})
    reference = folders[0].label
    rows = arms[reference]
    found = _columns(folders, arms, human)
    columns = _told_apart([column for column in found if known_cases(column).any()])
    instruments = [instrument_figures(column, rows, tasks) for column in columns]
    correct_overall(instruments)
    labels = [folder.label for folder in folders]
    return {
        "reference": reference,
        "models": [_model(folder, arms[folder.label]) for folder in folders],
        "n": len(rows),
        "sources": len({row.source_id for row in rows}),
        "tasks": task_counts(rows),
        "cases": folders[0].cases,
        "instruments": instruments,
        "alarms": pixel_drift(arms),
        "untouched": untouched_shares(arms),
        "verdicts": {label: model_verdict(instruments, label).as_dict() for label in labels[1:]},
        "notes": _notes(folders, columns, [column for column in found if not known_cases(column).any()]),
        "settings": {"low": LOW_SCORE, "high": HIGH_SCORE, "tie": TIE_MARGIN, "photos": FEWEST_PHOTOS},
    }


def align_rows(arms: Arms) -> Arms:
    """Align benchmark rows of several models by case, in the first one's order; HPEditError if the cases differ."""
    first = next(iter(arms))
    order = [row.case_id for row in arms[first]]
    tables = {name: {row.case_id: row for row in rows} for name, rows in arms.items()}
    for name, table in tables.items():
        if table.keys() != set(order):
            differing = len(table.keys() ^ set(order))
            raise HPEditError(
                f"{first} and {name} were benchmarked on different cases: {differing} are in only one of them",
                hint="run both on the same file of cases",
            )
    return {name: [table[case_id] for case_id in order] for name, table in tables.items()}


def _check(folders: Sequence[BenchFolder]) -> None:
    labels = [folder.label for folder in folders]
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise HPEditError(
            f"two models are called {twice[0]}", hint="give them different names: `hpedit bench run --label`"
        )
    first = folders[0]
    for folder in folders[1:]:
        if folder.cases != first.cases:
            raise HPEditError(
                f"{first.label} and {folder.label} were benchmarked on different cases",
                hint="run both on the same file of cases",
            )
        for key, plural in _MUST_AGREE.items():
            old, new = first.settings[key], folder.settings[key]
            # Edits made elsewhere have none: their settings are unknown here.
            if None not in (old, new) and old != new:
                raise HPEditError(
                    f"the benchmarks of {first.label} and {folder.label} have different {plural}: {old} and {new}",
                    hint="only runs with equal settings are comparable; run them again with the same ones",
                )


def _columns(folders: Sequence[BenchFolder], arms: Arms, human: HumanScores | None) -> list[InstrumentScores]:
    """Oracle, scorers, second judges and people, even those that scored nothing."""
    columns = [_oracle(arms)]
    shared = common_instruments(folders)
    own = {judge for one in shared if one.role == "scorer" for judge in one.judges}
    columns += [_scored(folders, arms, one, same=one.same_judge or bool(own & set(one.judges))) for one in shared]
    if human is not None:
        columns.append(_human(arms, human))
    return columns


def _told_apart(columns: Sequence[InstrumentScores]) -> list[InstrumentScores]:
    """The columns with unique keys and titles, by which verdicts and tables refer to them."""
    keys: Counter[str] = Counter()
    titles = Counter(column.title for column in columns)
    named = []
    for column in columns:
        keys[column.key] += 1
        number = keys[column.key]
        key = column.key if number == 1 else f"{column.key}-{number}"
        title = column.title if titles[column.title] == 1 else f"{column.title} {number}"
        named.append(dataclasses.replace(column, key=key, title=title))
    return named


def common_instruments(folders: Sequence[BenchFolder]) -> list[Instrument]:
    """Instruments that scored every model; HPEditError if models were scored, but by no common scorer."""
    found = [{one.fingerprint: one for one in folder.instruments()} for folder in folders]
    shared = [one for one in found[0].values() if all(one.fingerprint in other for other in found[1:])]
    by_role = [{one.fingerprint for one in table.values() if one.role == "scorer"} for table in found]
    if any(by_role) and not any(one.role == "scorer" for one in shared):
        raise HPEditError(
            f"{' and '.join(folder.label for folder in folders)} have no scorer in common",
            hint="run the same commands again with one --scorer: only its scores are added",
        )
    return shared


def _oracle(arms: Arms) -> InstrumentScores:
    values = {name: _array([row.oracle for row in rows]) for name, rows in arms.items()}
    rows = next(iter(arms.values()))
    return InstrumentScores(
        "oracle", "Oracle", "knows the exact right edit", True, values,
        {name: _missing(rows) for name, rows in arms.items()}, copy=_copies(arms, len(rows)),
    )  # fmt: skip


def _copies(arms: Arms, n: int) -> Array:
    """(n,) the oracle's score of each untouched source, from any model that has an edit of the case."""
    copies = np.full(n, np.nan)
    for rows in arms.values():
        found = _array([row.copy_oracle for row in rows])
        copies = np.where(np.isnan(copies), found, copies)
    return copies


def _scored(folders: Sequence[BenchFolder], arms: Arms, instrument: Instrument, *, same: bool) -> InstrumentScores:
    values: dict[str, Array] = {}
    reasons: dict[str, Mapping[str, int]] = {}
    for folder in folders:
        scores, rows = folder.scores(instrument), arms[folder.label]
        values[folder.label] = _array([scores.get(row.edit_id, {}).get("score") for row in rows])
        found = Counter(line["reason"] for line in scores.values() if line["reason"])
        reasons[folder.label] = _missing(rows) | dict(sorted(found.items()))
    second = instrument.role == "second"
    title = f"Second judge ({instrument.name})" if second else "HP-Scorer"
    note = "the scorer's own judge, uncalibrated" if same else "not one of the scorer's judges"
    return InstrumentScores(
        instrument.role, title, note if second else f"{instrument.name}, the reward where it trained a model",
        second and not same, values, reasons, instrument.fingerprint, instrument.doubt,
    )  # fmt: skip


def _human(arms: Arms, human: HumanScores) -> InstrumentScores:
    values = {
        name: _array([human.of(row.edit_id) if not row.missing else None for row in rows])
        for name, rows in arms.items()
    }
    reasons = {
        name: {"not rated": int(np.isnan(column).sum())} for name, column in values.items() if np.isnan(column).any()
    }
    note = f"mean ratings of {human.raters} {'simulated ' if human.simulated else ''}rater{'s' * (human.raters != 1)}"
    return InstrumentScores("human", "Simulated raters" if human.simulated else "People", note, True, values, reasons)


def _missing(rows: Sequence[BenchRow]) -> dict[str, int]:
    return dict(sorted(Counter(f"no edit: {row.missing}" for row in rows if row.missing).items()))


def _array(values: Sequence[float | None]) -> Array:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _model(folder: BenchFolder, rows: Sequence[BenchRow]) -> dict[str, Any]:
    return {
        "label": folder.label,
        "editor": folder.settings["editor"],
        "seed": folder.settings["seed"],
        "steps": folder.settings["steps"],
        "missing": sum(row.missing is not None for row in rows),
        "sizes_differ": len(folder.result.get("sizes", ())),
        "seconds": folder.seconds,
        "cases_per_second": folder.speeds,
    }


def _notes(
    folders: Sequence[BenchFolder], columns: Sequence[InstrumentScores], empty: Sequence[InstrumentScores]
) -> list[str]:
    """Caveats that a reader of the figures must know; `empty` are the columns without a common scored case."""
    shared = {column.fingerprint for column in (*columns, *empty)}
    partial: dict[str, tuple[Instrument, list[str]]] = {}
    for folder in folders:
        for one in folder.instruments():
            if one.fingerprint not in shared:
                partial.setdefault(one.fingerprint, (one, []))[1].append(folder.label)
    notes = [
        f"{one.name} ({'second judge' if one.role == 'second' else 'scorer'}) has scored only {', '.join(labels)}, "
        "and is left out"
        for one, labels in partial.values()
    ]
    notes += [
        f"{column.title} ({column.note.split(',')[0]}) has no signal, so its figures say nothing about the edits: "
        f"{column.doubt}"
        for column in columns
        if column.doubt
    ]
    notes += [line for column in empty if (line := _why_empty(column))]
    given = [folder.label for folder in folders if folder.settings["seed"] is None]
    if given and len(given) < len(folders):
        notes.append(f"{', '.join(given)}: edits made elsewhere, so not from the same noise as the rest")
    return notes


def _why_empty(column: InstrumentScores) -> str:
    """Why an instrument has no table; empty for the oracle, which needs exact targets."""
    if column.key == "oracle" and all(np.isnan(values).all() for values in column.values.values()):
        return ""
    if any(not np.isnan(values).all() for values in column.values.values()):
        return f"{column.title} ({column.note.split(',')[0]}) is left out: no case has a score of every model"
    reasons = Counter({why: count for found in column.reasons.values() for why, count in found.items()})
    why = f", most often: {reasons.most_common(1)[0][0]}" if reasons else ""
    return f"{column.title} ({column.note.split(',')[0]}) could score nothing{why}"
