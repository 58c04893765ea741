"""People's scores of the edits of a benchmark, from a table of ratings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpedit.bench.bench_folder import BenchFolder
from hpedit.errors import HPEditError
from hpedit.records import Rating


@dataclass(frozen=True, slots=True)
class HumanScores:
    """Mean rating of each edit over its raters."""

    means: Mapping[str, float]
    """By edit id, 0-5."""
    raters: int
    simulated: bool
    """Whether any of the ratings was not given by a person."""

    def of(self, edit_id: str) -> float | None:
        """The mean rating of an edit; None if nobody rated it."""
        return self.means.get(edit_id)


def human_scores(ratings: Sequence[Rating], edit_ids: Collection[str]) -> HumanScores:
    """The mean ratings of these edits; a rater's last rating of an edit counts.

    Raises:
        HPEditError: none of the ratings is of one of the edits.
    """
    wanted = set(edit_ids)
    latest: dict[str, dict[str, Rating]] = {}
    for rating in ratings:
        if rating.edit_id in wanted:
            latest.setdefault(rating.edit_id, {})[rating.rater] = rating
    if not latest:
        example = next(iter(sorted(wanted)), "")
        raise HPEditError(
            "none of the ratings is of an edit of these benchmarks",
            hint=f"edit_id must look like {example!r}; `hpedit bench score --edit-ids` sets the ids",
        )
    kept = [rating for found in latest.values() for rating in found.values()]
    means = {edit: sum(one.score for one in found.values()) / len(found) for edit, found in latest.items()}
    return HumanScores(means, len({rating.rater for rating in kept}), any(rating.simulated for rating in kept))


def read_human_scores(file: Path, folders: Sequence[BenchFolder]) -> HumanScores:
    """The ratings in `file` (.csv or .jsonl of edit_id, rater, score) of the edits of these benchmarks."""
    from hpedit.store.tables import read_ratings

    ids = [row.edit_id for folder in folders for row in folder.rows() if not row.missing]
    if len(set(ids)) < len(ids):
        raise HPEditError(
            "two of these benchmarks share edit ids, so a rating is ambiguous",
            hint="`hpedit bench score --edit-ids '{label}:{case}'` gives every model ids of its own",
        )
    return human_scores(read_ratings(file), ids)
