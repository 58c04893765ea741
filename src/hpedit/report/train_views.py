"""Template values of a training run's page: status, alarms, instrument cards, sample grids, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hpedit.bench.model_verdict import Verdict
from hpedit.report.gain_wording import gain_sentence
from hpedit.report.picture_selection import encoded_uri, reduced_uri
from hpedit.report.report_views import duration_text
from hpedit.report.train_charts import NAMES, gain_interval, ordered
from hpedit.report.train_data import TrainRun
from hpedit.rl.monitor.evaluations import Evaluation, HeldOutTable, best_evaluation, deciding
from hpedit.stats.intervals import FEWEST_PHOTOS, PAGE_GAIN, finite_number, number_text

View = dict[str, Any]

NOTES = {
    "scorer": "gives the reward",
    "second": "gives no reward; decides which weights are best",
    "oracle": "knows the exact right edit, gives no reward",
}
PHASES = ("seconds_rollout", "seconds_score", "seconds_train", "seconds_evaluate")
SHOWN_GRIDS = 3
GRID_WIDTH = 1000
"""px; wider grids are reduced to it."""


def run_status(run: TrainRun) -> Verdict:
    """Progress of the run in words."""
    total = run.recipe["train"]["iterations"]
    if run.result is None:
        return Verdict(f"Not finished: {run.done} of {total} iterations are done.", "warn")
    if run.result.get("stopped"):
        done, why = run.result["iterations"], run.result["stopped"]
        return Verdict(f"Stopped early after iteration {done}: {why}.", "warn")
    return Verdict(f"All {run.result['iterations']} iterations are done.", "plain")


def alarm_views(run: TrainRun) -> list[View]:
    """One entry per kind of alarm; those raised at the newest evaluation come first."""
    looks = [look.step for look in run.table.evaluations] if run.table else []
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for line in run.alarms:
        by_kind.setdefault(line["kind"], []).append(line)
    views = [
        {
            "kind": kind.replace("_", " "),
            "text": lines[-1]["text"],
            "first": lines[0]["step"],
            "last": lines[-1]["step"],
            "count": len(lines),
            "stands": bool(looks) and lines[-1]["step"] == looks[-1],
        }
        for kind, lines in by_kind.items()
    ]
    return sorted(views, key=lambda view: (not view["stands"], view["first"]))


def no_alarm(run: TrainRun) -> Verdict:
    """What the absence of alarms means."""
    if run.table is None:
        return Verdict("Nothing was held out, so no alarm could be raised: reward hacking would go unnoticed.", "warn")
    if not run.table.evaluations:
        return Verdict("No evaluation on held-out cases yet.", "warn")
    count = len(run.table.evaluations)
    looks, photos = f"{count} evaluation{'s' * (count != 1)}", len(set(run.table.source_ids))
    if photos < FEWEST_PHOTOS:
        few = f"of the {FEWEST_PHOTOS} photos that it needs {photos} are held out"
        return Verdict(f"No alarm at {looks}, but none could be raised: {few}.", "warn")
    judges = [f"the {NAMES.get(name, name).lower()}" for name in ordered(run.table) if name != "scorer"]
    what = f"{', '.join(judges)} and the measures of the pixels" if judges else "the measures of the pixels alone"
    return Verdict(f"No alarm at {looks}, by {what}.", "good")


def instrument_cards(run: TrainRun) -> list[View]:
    """A card for each instrument: the newest gain, and that of the best weights."""
    table = run.table
    if table is None or not table.evaluations:
        return []
    best = best_evaluation(table, deciding(table, "scorer"))
    return [_card(table, name, best) for name in ordered(table)]


def _card(table: HeldOutTable, name: str, best: Evaluation | None) -> View:
    now = table.evaluations[-1]
    gain = gain_interval(table, now, name)
    rows = [("iteration", f"{now.step}"), ("mean of 0\N{EN DASH}5", _means(table, now, name))]
    if best is not None and best.step != now.step:
        then = gain_interval(table, best, name)
        rows.append((f"at the best evaluation, {best.step}", then.text(PAGE_GAIN) if then else "\N{EN DASH}"))
    verdict = gain_sentence(gain)
    return {
        "name": NAMES.get(name, name),
        "note": NOTES.get(name, "a further reward"),
        "gain": None if gain is None else number_text(gain.value, PAGE_GAIN),
        "interval": gain.bounds(PAGE_GAIN, between=" to ") if gain else "",
        "tone": verdict.tone,
        "says": verdict.text,
        "rows": rows,
    }


def _means(table: HeldOutTable, look: Evaluation, name: str) -> str:
    found = []
    for values in (table.base.scores[name], look.scores[name]):
        known = [value for value in values if value is not None]
        found.append(f"{sum(known) / len(known):.2f}" if known else "\N{EN DASH}")
    return " \N{RIGHTWARDS ARROW} ".join(found)


def grid_views(paths: Sequence[Path]) -> list[View]:
    """At most three of the sample grids: the first, the middle one, the newest."""
    chosen = sorted({0, (len(paths) - 1) // 2, len(paths) - 1}) if paths else []
    return [{"name": _iteration(paths[index]), "uri": _grid_uri(paths[index])} for index in chosen[:SHOWN_GRIDS]]


def _iteration(path: Path) -> int:
    return int(path.stem.removeprefix("iteration_"))


def _grid_uri(path: Path) -> str:
    with Image.open(path) as grid:
        if grid.width > GRID_WIDTH:
            return reduced_uri(grid, (GRID_WIDTH, 10 * GRID_WIDTH))
    return encoded_uri(path.read_bytes())


def run_facts(run: TrainRun) -> list[tuple[str, str]]:
    """The run's settings, time and inputs, as rows."""
    train, rollout = run.recipe["train"], run.recipe["rollout"]
    every = run.recipe.get("evaluate", {}).get("every")
    phases = {key: sum(finite_number(record.get(key)) or 0.0 for record in run.metrics) for key in PHASES}
    total, looks = sum(phases.values()), phases["seconds_evaluate"]
    found = [
        ("algorithm", train["algorithm"]),
        (
            "groups \N{MULTIPLICATION SIGN} edits",
            f"{rollout['groups']} \N{MULTIPLICATION SIGN} {rollout['group_size']}",
        ),
        ("learning rate", f"{train['learning_rate']:g}"),
        ("seed", str(run.recipe["seed"])),
        ("editor", run.recipe["editor"]["model"]),
        ("time", duration_text(total)),
        (
            "held-out evaluations",
            f"every {every} iterations, {looks / total:.1%} of the time" if every and total else "never",
        ),
    ]
    if run.result and "best" in run.result:
        found += [("exported weights", f"of iteration {run.result['exported']}")]
        judge = NAMES[deciding(run.table, "scorer")].lower() if run.table else ""
        found += [("best weights", f"of iteration {run.result['best']}, by the {judge}")]
    found += [("hpedit", run.version), *((f"input: {name}", value[:16]) for name, value in run.inputs.items())]
    return found
