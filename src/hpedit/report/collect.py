"""Benchmark folders and cases to the pictures of a report."""

from __future__ import annotations

from collections.abc import Sequence

from hpedit.bench.benchmark_run import BenchFolder
from hpedit.records import Case
from hpedit.report.report_data import Picture


def collect_pictures(cases: Sequence[Case], base: BenchFolder, post: BenchFolder) -> list[Picture]:
    """One picture a case that both folders hold, in the order of `cases`."""
    before, after = ({row.case_id: row for row in folder.rows()} for folder in (base, post))
    edited = [{edit.case_id: edit.image for edit in folder.edits()} for folder in (base, post)]
    pictures = []
    for case in cases:
        old, new = before.get(case.id), after.get(case.id)
        if old is None or new is None:
            continue
        pictures.append(
            Picture(
                case_id=case.id,
                task=case.task,
                instruction=case.instruction,
                source=case.source,
                base=edited[0][case.id],
                post=edited[1][case.id],
                target=case.oracle.target if case.oracle else None,
                oracle=None if old.oracle is None or new.oracle is None else (old.oracle, new.oracle),
                scorer=None if old.score is None and new.score is None else (old.score, new.score),
            )
        )
    return pictures
