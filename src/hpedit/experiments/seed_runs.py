"""`hpedit bench seeds`: several trainings of one recipe, one per seed, against their base and their control.

A seed's folder is either a benchmark with base/, post/ and optionally control/ (such as bench/ of `hpedit demo`), or a
training run with held-out evaluations, which has no control.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpedit.bench.bench_folder import BenchFolder, BenchRow
from hpedit.bench.comparison import align_rows
from hpedit.bench.model_verdict import Verdict, model_verdict
from hpedit.errors import HPEditError
from hpedit.experiments.seed_statistics import FEWEST_SEEDS, SeedGain, seed_gain
from hpedit.rl.monitor.evaluations import FOLDER, read_evaluations
from hpedit.stats.holm import holm
from hpedit.stats.intervals import GAIN, interval_text, number_text
from hpedit.store.run_folder import RECIPE

TITLES = {"oracle": "Oracle", "scorer": "HP-Scorer", "second": "Second judge"}
DIFFERENCES = (("post", "base"), ("control", "base"), ("post", "control"))
Gains = Mapping[tuple[str, str], Mapping[str, Sequence[float]]]
"""(instrument, "post - base") -> source photograph -> paired gains of its cases."""


@dataclass(frozen=True, slots=True)
class SeedRun:
    """The gains of one training."""

    path: Path
    model: str
    """Its identity: fingerprint of the post-trained editor, or the run's folder."""
    gains: Gains


def read_seed_run(path: Path | str) -> SeedRun:
    """Read one seed's folder; HPEditError if it is neither a benchmark nor a run with evaluations."""
    path = Path(path)
    for folder in (path, path / "bench"):
        if (folder / "post" / RECIPE).is_file():
            return _benchmarked(folder)
    for folder in (path, path / "train"):
        if (folder / FOLDER).is_dir():
            return _looked_at(folder)
    raise HPEditError(
        f"{path} is neither a benchmark of base/ and post/ nor a training run with held-out evaluations",
        hint="give the bench/ folder of `hpedit demo`, or the output of a recipe with evaluate.every above 0",
    )


def aggregate_seeds(paths: Sequence[Path]) -> dict[str, Any]:
    """Gains over all seeds, by instrument and pair of models, each with an interval over seeds and photographs.

    Returns:
        {"seeds": n, "folders": [...], "rows": [{"instrument", "of", "over", "mean", "ci95", "p", "p_holm", "clear",
        "per_seed", ...}], "verdicts": {"post - base": {"text", "tone"}, ...}, "notes"}; p is corrected over all rows.

    Raises:
        HPEditError: no folder, one that holds no seed, or one model twice.
    """
    seeds = [read_seed_run(path) for path in paths]
    if not seeds:
        raise HPEditError("no folders of seeds", hint="name one for each seed")
    models = [seed.model for seed in seeds]
    twice = [seed.path for seed in seeds if models.count(seed.model) > 1]
    if twice:
        raise HPEditError(f"{twice[0]} and {twice[1]} hold the same model", hint="train each with another seed")
    keys = [key for key in seeds[0].gains if all(key in seed.gains for seed in seeds)]
    found = {key: seed_gain([seed.gains[key] for seed in seeds]) for key in keys}
    corrected = holm({key: None if math.isnan(gain.p) else gain.p for key, gain in found.items()})
    rows = [_row(key, gain, corrected[key]) for key, gain in found.items()]
    differences = [f"{of} - {over}" for of, over in DIFFERENCES]
    said = {one: _verdict(rows, one, len(seeds)).as_dict() for one in differences if any(one == key[1] for key in keys)}
    folders = [str(seed.path) for seed in seeds]
    return {
        "seeds": len(seeds), "folders": folders, "rows": rows, "verdicts": said, "notes": _notes(rows, len(seeds)),
    }  # fmt: skip


def _row(key: tuple[str, str], gain: SeedGain, corrected: float | None) -> dict[str, Any]:
    """One instrument's gain of one model over another, as JSON has it."""
    instrument, (of, over) = key[0], key[1].split(" - ")
    tested = {"p_holm": corrected, "clear": gain.is_clear(corrected)}
    return {"instrument": instrument, "of": of, "over": over, **gain.as_dict(), **tested}


def _verdict(rows: Sequence[Mapping[str, Any]], difference: str, seeds: int) -> Verdict:
    """The verdict of all instruments on one difference, as that of a comparison."""
    if seeds < FEWEST_SEEDS:
        return Verdict(f"Not enough seeds ({seeds}; a verdict needs {FEWEST_SEEDS}), so nothing can be said.", "warn")
    measured = [
        {
            "title": TITLES.get(row["instrument"], row["instrument"]),
            "independent": row["instrument"] in TITLES and row["instrument"] != "scorer",
            "overall": {"models": {row["of"]: {"gain": {**row, "photos": row["sources"]}}}},
        }
        for row in rows
        if f"{row['of']} - {row['over']}" == difference
    ]
    return model_verdict(measured, difference.split(" - ")[0])


def seed_gains_text(result: Mapping[str, Any]) -> str:
    """The result as a table in plain text."""
    head = f"{'instrument':<12}{'difference':<18}{'gain [95 %]':<23}each seed"
    lines = [head, "-" * len(head)]
    for row in result["rows"]:
        each = " ".join(number_text(value, GAIN) for value in row["per_seed"])
        difference = f"{row['of']} - {row['over']}"
        lines.append(f"{row['instrument']:<12}{difference:<18}{interval_text(row, GAIN):<23}{each}")
    lines += [f"{difference}: {verdict['text']}" for difference, verdict in result["verdicts"].items()]
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def _notes(rows: Sequence[Mapping[str, Any]], seeds: int) -> list[str]:
    """What a reader must know beside the figures."""
    notes = []
    if not rows:
        notes.append("no instrument has scored all of the seeds")
    if seeds < FEWEST_SEEDS:
        notes.append(f"{seeds} seed{'s' * (seeds != 1)}: a claim needs at least {FEWEST_SEEDS}")
    if rows and not any(row["over"] == "control" for row in rows):
        notes.append("no control: more supervised steps might have brought part of the gain")
    if rows and not any(row["instrument"] in ("oracle", "second") for row in rows):
        notes.append("measured only by the scorer, which gave the reward")
    return notes


def _benchmarked(folder: Path) -> SeedRun:
    names = [name for name in ("base", "post", "control") if (folder / name).is_dir()]
    folders = {name: BenchFolder.open(folder / name) for name in names}
    arms = align_rows({name: one.rows() for name, one in folders.items()})
    scores = {name: _scores(folders[name], rows) for name, rows in arms.items()}
    rows = next(iter(arms.values()))
    gains: dict[tuple[str, str], dict[str, list[float]]] = {}
    for of, over in DIFFERENCES:
        if of not in scores or over not in scores:
            continue
        for instrument in sorted(scores[of].keys() & scores[over].keys()):
            found = _paired(rows, scores[over][instrument], scores[of][instrument])
            if found:
                gains[instrument, f"{of} - {over}"] = found
    return SeedRun(folder, str(folders["post"].settings["editor"]), gains)


def _scores(folder: BenchFolder, rows: Sequence[BenchRow]) -> dict[str, list[float | None]]:
    """Instrument -> a score a case; one scorer and one second judge at most."""
    found: dict[str, list[float | None]] = {"oracle": [row.oracle for row in rows]}
    for one in folder.instruments():
        given = folder.scores(one)
        found.setdefault(one.role, [given.get(row.edit_id, {}).get("score") for row in rows])
    return found


def _paired(
    rows: Sequence[BenchRow], before: Sequence[float | None], after: Sequence[float | None]
) -> dict[str, list[float]]:
    gains: dict[str, list[float]] = {}
    for row, a, b in zip(rows, before, after, strict=True):
        if a is not None and b is not None:
            gains.setdefault(row.source_id, []).append(b - a)
    return gains


def _looked_at(run: Path) -> SeedRun:
    table = read_evaluations(run)
    if table is None or not table.evaluations:
        raise HPEditError(f"{run} has not evaluated its held-out cases yet", hint="let it continue")
    newest = table.evaluations[-1]
    gains = {(name, "post - base"): table.gains_by_source(newest, name) for name in table.base.scores}
    return SeedRun(run, str(run.resolve()), {key: found for key, found in gains.items() if found})
