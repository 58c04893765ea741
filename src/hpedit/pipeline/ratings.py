"""People's scores of the base's edits: by the rating app, from a file, from another run, or simulated."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hpedit.bench.benchmark_run import run_bench
from hpedit.editors.protocol import Editor
from hpedit.errors import HPEditError
from hpedit.pipeline.recipe import RatingsSection
from hpedit.progress import note
from hpedit.records import Case, Edit, Rating
from hpedit.store.atomic import replacing
from hpedit.store.tables import iter_edits, read_cases, read_ratings, write_cases, write_edits, write_ratings

FOLDER = "ratings"
EDITED = "base_edits"
FILE = "ratings.csv"
STORE = "ratings.sqlite"
CASES, EDITS = "cases.parquet", "edits.parquet"
TURNS = ("first", "second", *(f"turn_{number}" for number in range(3, 17)))
"""Folders, and prefixes of the ids, of the edits of a rated case."""
Say = Callable[[str, int, int], None]
"""(what, done, total): how far the ratings are."""


@dataclass(frozen=True, slots=True)
class RatedEdits:
    """Edits with their cases, in one order, and what people said of them."""

    cases: Sequence[Case]
    edits: Sequence[Edit]
    ratings: Sequence[Rating]

    def held_out(self, every: int) -> list[bool]:
        """Which of the edits the fit must not see: those of every `every`-th source photograph."""
        order = {name: number for number, name in enumerate(sorted({case.source_id for case in self.cases}))}
        return [order[case.source_id] % every == 0 for case in self.cases]

    def part(self, *, held_out: bool, every: int) -> list[Edit]:
        """The edits of the fit, or those it must not see."""
        flags = self.held_out(every)
        return [edit for edit, out in zip(self.edits, flags, strict=True) if out == held_out]


def edit_for_rating(
    folder: Path, editor: Editor, cases: Sequence[Case], *, seed: int, steps: int, per_case: int = 2, batch: int = 48
) -> list[Edit]:
    """`per_case` edits of each case, each turn from noise of its own, or what of that `folder` has already."""
    edits: list[Edit] = []
    for number, turn in enumerate(TURNS[:per_case]):
        made = run_bench(editor, cases, None, folder / turn, seed=seed + number, steps=steps, label=turn, batch=batch)
        edits += made.edits()
    return edits


def rate_by_simulation(out: Path, editor: Editor, cases: Sequence[Case], seed: int, steps: int) -> RatedEdits:
    """Two edits of each case of a mini world with simulated raters' scores, or what of that `out` has already."""
    folder = out / FOLDER
    write_rated(folder, cases, edit_for_rating(out / EDITED, editor, cases, seed=seed, steps=steps))
    if not (folder / FILE).is_file():
        _simulated(folder, seed)
    return read_rated(folder)


def write_rated(folder: Path, cases: Sequence[Case], edits: Sequence[Edit]) -> None:
    """Keep the edits that are to be rated, with their cases, in one table each, as `hpedit rate serve` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / EDITS).is_file():
        write_cases(folder / CASES, cases)
        write_edits(folder / EDITS, edits)


def read_rated(folder: Path) -> RatedEdits:
    """The rated edits of a run's folder; HPEditError if something of it is missing."""
    for name in (CASES, EDITS, FILE):
        if not (folder / name).is_file():
            raise HPEditError(f"{folder / name} is missing", hint="`hpedit run` makes it")
    by_id = {case.id: case for case in read_cases(folder / CASES)}
    edits = list(iter_edits(folder / EDITS))
    return RatedEdits([by_id[edit.case_id] for edit in edits], edits, read_ratings(folder / FILE))


def collect_ratings(folder: Path, section: RatingsSection, seed: int, say: Say) -> str:
    """Have the edits of `folder` rated into ratings.csv there, unless that is done; returns what there is, in words.

    Raises:
        HPEditError: the file of ratings is not there, or rates none of the edits; the page can't be served.
        KeyboardInterrupt: the rating page was stopped before there were enough ratings.
    """
    table = folder / FILE
    if not table.is_file():
        take = {
            "app": partial(_by_people, folder, section, say),
            "file": partial(_from_file, folder, section),
            "simulated": partial(_simulated, folder, seed),
        }
        take[section.by]()
    ratings = read_ratings(table)
    return f"{len(ratings)} ratings by {len({rating.rater for rating in ratings})} raters"


def _simulated(folder: Path, seed: int) -> None:
    from hpedit.mini.raters import simulate_ratings

    by_id = {case.id: case for case in read_cases(folder / CASES)}
    edits = list(iter_edits(folder / EDITS))
    write_ratings(folder / FILE, simulate_ratings([by_id[edit.case_id] for edit in edits], edits, seed))


def _from_file(folder: Path, section: RatingsSection) -> None:
    path = Path(str(section.file))
    if not path.is_file():
        raise HPEditError(
            f"{path} is not there yet: it should hold the ratings of {folder / EDITS}",
            hint="have the edits rated (columns edit_id, rater, score), put the file there and run the same command; "
            "or set ratings.by=app to rate them in a browser",
        )
    known = {edit.id for edit in iter_edits(folder / EDITS)}
    rated = [rating for rating in read_ratings(path) if rating.edit_id in known]
    if not rated:
        raise HPEditError(f"{path} rates none of the edits in {folder / EDITS}", hint="edit_id is the edits' id")
    write_ratings(folder / FILE, rated)


def take_from_run(folder: Path, other: Path) -> None:
    """Copy rated edits, cases and ratings of another run, unless that is done."""
    read_rated(other / FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CASES, EDITS, FILE):
        if not (folder / name).is_file():
            with replacing(folder / name) as temporary:
                shutil.copyfile(other / FOLDER / name, temporary)


def _by_people(folder: Path, section: RatingsSection, say: Say) -> None:
    """Serve the rating page until enough edits have enough ratings, then export them."""
    from hpedit.rate.launch import ListenAddress, prepare_rating, serve_ratings
    from hpedit.rate.sessions import RatingService, RatingSettings
    from hpedit.ratings.import_export import export_store

    settings = RatingSettings("score", section.overlap, 600.0, section.retest, None)
    make = partial(prepare_rating, edits=folder, settings=settings, practice=section.practice)
    reached = False

    def enough(service: RatingService) -> bool:
        nonlocal reached
        wanted = max(1, round(section.enough * service.count))
        say(f"ratings by {section.overlap} raters an edit", service.completed, wanted)
        reached = service.completed >= wanted
        return reached

    address = ListenAddress(section.host, section.port, os.environ.get("HPEDIT_RATE_TOKEN") or None, section.allow_host)
    serve_ratings(folder / STORE, address, make, lambda url: note(f"rate the edits at {url}"), enough)
    if not reached:
        raise KeyboardInterrupt
    export_store(folder / STORE, folder / FILE, "csv")
