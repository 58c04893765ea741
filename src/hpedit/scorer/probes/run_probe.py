"""`hpedit scorer probe`: probe a scorer for reward hacking and write probe.json and a sheet of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hpedit.records import Case, Edit, Rating
from hpedit.scorer.fitting import EditedCases, read_edited
from hpedit.scorer.hp_scorer import HPScorer, mean_ratings
from hpedit.scorer.probes.gate import PROBE, SHEET
from hpedit.scorer.probes.kinds import KIND_BY_ID, Subject, degenerate_version
from hpedit.scorer.probes.order_swap import MAX_FLIP, order_swap_report
from hpedit.scorer.probes.probes import Bounds, Comparison, choose_subjects, compare_versions, summarise, worst_by_kind
from hpedit.scorer.protocol import Scorer
from hpedit.store.atomic import atomic_write, write_json
from hpedit.store.grids import GridRow, make_grid
from hpedit.store.images import png_bytes
from hpedit.store.tables import read_ratings

SWAP_EDITS = 256
"""Most edits that are asked about in both orders."""
SHEET_SIDE = 384
"""px: larger images are scaled down for the sheet."""


def probe_files(
    scorer: Path,
    cases: EditedCases,
    edits: Path | None = None,
    ratings: Path | None = None,
    out: Path | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    bounds: Bounds | None = None,
    max_flip: float = MAX_FLIP,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Probe the scorer in a folder and write probe.json and probe.png.

    Args:
        scorer: Folder of a fitted scorer with a judge.
        cases: Parquet of cases, or a folder that `hpedit cases build` wrote.
        edits: Parquet of edits of these cases; the edits of the build in `cases` if None.
        ratings: CSV or JSONL of ratings; without it every edit counts as honest.
        out: Folder to write to; the scorer's folder, where training looks for a probe, if None.
        limit: Most honest edits, drawn by `seed`, round-robin over tasks.
        cache: SQLite file of known answers.

    Raises:
        HPEditError: not a scorer with a judge, or nothing to probe it with.
    """
    by_id, given = read_edited(cases, edits)
    table = [edit for edit in given if edit.case_id in by_id]
    people = read_ratings(ratings) if ratings else None
    return probe_rated(
        HPScorer.load(scorer, cache=cache), by_id, table, people, out or scorer,
        limit=limit, seed=seed, bounds=bounds, max_flip=max_flip,
    )  # fmt: skip


def probe_rated(
    scorer: Scorer,
    cases: Mapping[str, Case],
    edits: Sequence[Edit],
    ratings: Sequence[Rating] | None,
    out: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    bounds: Bounds | None = None,
    max_flip: float = MAX_FLIP,
) -> dict[str, Any]:
    """`probe_files` for cases (by id), edits and ratings in memory."""
    means = None if ratings is None else mean_ratings(ratings)
    subjects = choose_subjects(cases, edits, means, limit, seed)
    report, sheet = probe(scorer, subjects, seed=seed, bounds=bounds)
    report["rated_by"] = _rated_by(ratings)
    both = _asked_twice(subjects, cases, edits)
    judge = getattr(scorer, "judge", None)
    report["order_swap"] = order_swap_report(judge, [cases[edit.case_id] for edit in both], both, max_flip, seed)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / SHEET, png_bytes(sheet))
    write_json(out / PROBE, report)
    return report


def probe(
    scorer: Scorer, subjects: Sequence[Subject], *, seed: int = 0, bounds: Bounds | None = None
) -> tuple[dict[str, Any], Image.Image]:
    """Probe a scorer: the report of `summarise` with the scorer's fingerprint, and the sheet of the worst versions."""
    found = compare_versions(scorer, subjects, seed)
    report = {"scorer": scorer.fingerprint, "seed": seed, **summarise(found, bounds, seed)}
    return report, draw_sheet(worst_by_kind(found.rows), subjects, seed)


def draw_sheet(worst: Sequence[Comparison], subjects: Sequence[Subject], seed: int = 0) -> Image.Image:
    """Draw source, honest edit and degenerate version of each comparison, with their scores."""
    by_id = {subject.edit.id: subject for subject in subjects}
    rows = []
    for row in worst:
        subject, kind = by_id[row.edit_id], KIND_BY_ID[row.kind]
        made = degenerate_version(kind, subject, seed)
        assert made is not None, "it was scored"
        verdict = "" if row.below else " NOT BELOW"
        plain = "" if row.plain is None else f" (without the injection {row.plain:.2f})"
        caption = (
            f"{kind.words}: {row.honest - row.drop:.2f}{plain}, honest {row.honest:.2f}{verdict}. {made[0].instruction}"
        )
        rows.append(
            GridRow(" ".join(caption.split()), tuple(map(_small, (subject.case.source, subject.edit.image, made[1]))))
        )
    if not rows:
        return Image.new("RGB", (1, 1), "white")
    return make_grid(rows, ("source", "honest", "degenerate"))


def _small(image: Image.Image) -> Image.Image:
    factor = max(image.size) / SHEET_SIDE
    if factor <= 1:
        return image
    return image.resize((max(1, int(image.width / factor)), max(1, int(image.height / factor))))


def _rated_by(people: Sequence[Rating] | None) -> str:
    """Who rated the edits: "people", "simulated raters", or "nobody", when all edits count as honest."""
    if people is None:
        return "nobody"
    return "simulated raters" if any(rating.simulated for rating in people) else "people"


def _asked_twice(subjects: Sequence[Subject], cases: Mapping[str, Case], edits: Sequence[Edit]) -> list[Edit]:
    """The edits of the probed sources, grouped by source."""
    sources = list(dict.fromkeys(subject.case.source_id for subject in subjects))
    place = {source: number for number, source in enumerate(sources)}
    found = [edit for edit in edits if edit.case_id in cases and cases[edit.case_id].source_id in place]
    return sorted(found, key=lambda edit: place[cases[edit.case_id].source_id])[:SWAP_EDITS]
