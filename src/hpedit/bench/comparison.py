"""Compare models on one benchmark, paired by case: `compare_models`. The first model is the reference.

Every figure of an instrument comes from the same cases: those that it could score for every model; what is unscorable
or missing for one is left out for all, and counted. Differences are paired by case; intervals and p values resample or
flip source photos (hpedit.stats.bootstrap, hpedit.stats.paired); p values are Holm-corrected over the tasks.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpedit.bench.bench_folder import BenchFolder, BenchRow, Instrument
from hpedit.bench.drift import pixel_drift, untouched_shares
from hpedit.bench.human import HumanScores
from hpedit.bench.model_verdict import model_verdict
from hpedit.errors import HPEditError
from hpedit.stats.bootstrap import mean_intervals
from hpedit.stats.paired import holm, sign_flip_p
from hpedit.tasks import ordered_tasks

Array = NDArray[np.float64]
Arms = Mapping[str, Sequence[BenchRow]]
"""Rows of each model, all in the same order of cases."""

LOW_SCORE = 2.0
"""Scores up to it are failures: the edit does not follow, or is ruined. A mean hides them."""
HIGH_SCORE = 4.5
"""Scores from it count as solved."""
TIE_MARGIN = 0.1
"""Points of 5 within which two edits count as equal."""
_MUST_AGREE = {"seed": "seeds", "steps": "numbers of steps"}


@dataclass(frozen=True, slots=True)
class InstrumentScores:
    """One instrument's scores of every model."""

    key: str
    title: str
    note: str
    independent: bool
    """Whether it can tell a real gain from reward hacking: it gave no reward."""
    values: Mapping[str, Array]
    """(n,) of each model, in the order of the cases; NaN = unscorable or missing."""
    reasons: Mapping[str, Mapping[str, int]]
    """Why values of a model are NaN, with counts."""
    fingerprint: str | None = None
    doubt: str = ""
    """Why a scorer has no signal on people's ratings; empty where it has."""
    copy: Array | None = None
    """(n,) scores of the untouched sources, if known."""


def compare_models(
    folders: Sequence[BenchFolder], human: HumanScores | None = None, seed: int = 0, tasks: bool = True
) -> dict[str, Any]:
    """The comparison of finished benchmarks, as plain JSON: see docs/bench.md for its form.

    Args:
        folders: The reference first; their labels are the models' names.
        human: People's mean scores of edits.
        seed: of the resampling.
        tasks: False leaves the figures by task out.

    Raises:
        HPEditError: fewer than two models, one label twice, no instrument in common, or folders that differ in cases,
            seed or steps.
    """
    if len(folders) < 2:
        raise HPEditError("a comparison needs at least two models", hint="name two folders of `hpedit bench run`")
    _check(folders)
    return _compare(folders, human, seed, tasks)


def describe_model(folder: BenchFolder, seed: int = 0) -> dict[str, Any]:
    """The same figures of one model alone, without differences."""
    return _compare([folder], None, seed, tasks=True)


def _compare(folders: Sequence[BenchFolder], human: HumanScores | None, seed: int, tasks: bool) -> dict[str, Any]:
    arms = align_rows({folder.label: folder.rows() for folder in folders})
    reference = folders[0].label
    rows = arms[reference]
    found = _columns(folders, arms, human)
    columns = _told_apart([column for column in found if _known(column).any()])
    instruments = [_figures(column, rows, seed, tasks) for column in columns]
    labels = [folder.label for folder in folders]
    return {
        "reference": reference,
        "models": [_model(folder, arms[folder.label]) for folder in folders],
        "n": len(rows),
        "sources": len({row.source_id for row in rows}),
        "tasks": _task_counts(rows),
        "cases": folders[0].cases,
        "instruments": instruments,
        "alarms": pixel_drift(arms, seed),
        "untouched": untouched_shares(arms),
        "verdicts": {label: model_verdict(instruments, label).as_dict() for label in labels[1:]},
        "notes": _notes(folders, columns, [column for column in found if not _known(column).any()]),
        "settings": {"low": LOW_SCORE, "high": HIGH_SCORE, "tie": TIE_MARGIN, "seed": seed},
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


def _known(column: InstrumentScores) -> NDArray[np.bool_]:
    """(n,) the cases that count: scored for every model that has any score."""
    measured = [values for values in column.values.values() if not np.isnan(values).all()]
    if not measured:
        return np.zeros(0, dtype=bool)
    return np.asarray(~np.isnan(np.stack(measured)).any(axis=0), dtype=np.bool_)


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


def _figures(column: InstrumentScores, rows: Sequence[BenchRow], seed: int, by_task: bool) -> dict[str, Any]:
    """All figures by one instrument."""
    measured = {name: values for name, values in column.values.items() if not np.isnan(values).all()}
    reference = next(iter(column.values))
    known = _known(column)
    sources = [row.source_id for row in rows]

    def block(keep: NDArray[np.bool_]) -> dict[str, Any] | None:
        kept = np.flatnonzero(keep & known).tolist()
        if not kept:
            return None
        values = {name: array[kept] for name, array in measured.items()}
        copy = None if column.copy is None else column.copy[kept]
        return _block(values, [sources[index] for index in kept], reference, copy, seed)

    tasks = {}
    if by_task:
        found = np.array([row.task for row in rows])
        tasks = {task: one for task in _task_counts(rows) if (one := block(found == task)) is not None}
        _correct(tasks, [name for name in measured if name != reference])
    return {
        **{name: getattr(column, name) for name in ("key", "title", "note", "independent", "fingerprint", "doubt")},
        "unscorable": {name: int(np.isnan(values).sum()) for name, values in column.values.items()},
        "reasons": {name: dict(reasons) for name, reasons in column.reasons.items() if reasons},
        "left_out": int((~known).sum()),
        "overall": block(np.ones(len(rows), dtype=bool)),
        "tasks": tasks,
    }


def _block(
    values: Mapping[str, Array], sources: Sequence[str], reference: str, copy: Array | None, seed: int
) -> dict[str, Any]:
    """The figures of each model over the same cases, each against the reference, and the others against one another."""
    others = [name for name in values if name != reference]
    differences = [(reference, name) for name in others if reference in values] + list(combinations(others, 2))
    changes = [values[later] - values[earlier] for earlier, later in differences]
    with_copy = copy is not None and not np.isnan(copy).any()
    columns = [*values.values(), *changes, *([copy] if copy is not None and with_copy else [])]
    estimates = [estimate.as_dict("mean") for estimate in mean_intervals(columns, sources, seed)]
    models: dict[str, dict[str, Any]] = {}
    for (name, column), estimate in zip(values.items(), estimates, strict=False):
        low, high = float((column <= LOW_SCORE).mean()), float((column >= HIGH_SCORE).mean())
        models[name] = {**estimate, "low_share": low, "high_share": high}
    pairs = []
    for (earlier, later), change, gain in zip(differences, changes, estimates[len(values) :], strict=False):
        found = {"gain": gain, "p": sign_flip_p(change, sources, seed), "win_tie_loss": win_tie_loss(change)}
        if earlier == reference:
            models[later] |= found
        else:
            pairs.append({"of": later, "over": earlier, **found})
    result: dict[str, Any] = {"n": len(sources), "sources": len(set(sources)), "models": models, "pairs": pairs}
    return result | ({"copy": estimates[-1]} if with_copy else {})


def win_tie_loss(change: Array) -> dict[str, int]:
    """How many cases got better, stayed about equal, got worse."""
    # 4.1 - 4.0 is a little less than 0.1 in floats, and 1.1 - 1.0 a little more; both are ties.
    exact = change.round(9)
    win, loss = int((exact > TIE_MARGIN).sum()), int((exact < -TIE_MARGIN).sum())
    return {"win": win, "tie": len(change) - win - loss, "loss": loss}


def _correct(tasks: Mapping[str, dict[str, Any]], models: Sequence[str]) -> None:
    """Add p_holm to every model's figures by task: corrected over the tasks, for each model by itself."""
    for name in models:
        found = {task: tasks[task]["models"][name].get("p") for task in tasks}
        for task, p in holm(found).items():
            tasks[task]["models"][name]["p_holm"] = p


def _task_counts(rows: Sequence[BenchRow]) -> dict[str, int]:
    """Cases of each task, in the order of the eight tasks."""
    counts = Counter(row.task for row in rows)
    return {task: counts[task] for task in ordered_tasks(counts)}


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
