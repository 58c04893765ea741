"""Inter-rater agreement and test-retest reliability: the report of `hpedit rate agreement`.

Scores are reported by axis, votes as 4-way answers. If raters are flagged as careless (see `rater_quality`), all
figures are given twice: of all raters, and without the flagged ones. What is undefined - one rater, one edit, all
answers equal - is None, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.ratings.agreement_figures import alpha_with_interval, bootstrap_capped, score_figures
from hpedit.ratings.import_export import fill_from_items, read_items, read_responses
from hpedit.ratings.rater_quality import conduct_flags, oriented_vote, score_flags, vote_flags
from hpedit.ratings.responses import SKIP, VOTES, Response, check_rated_once, group_by_rater, matches_expected
from hpedit.stats.bootstrap import Estimate, FloatArray, ratio_of_sums, weighted_mean, weighted_spearman

SCORE = "score"
"""Name of the overall score among the axes."""

JSON = dict[str, Any]


def agreement_of_file(
    path: Path, edits: Path | None = None, axes: Sequence[str] = (), margin: float = 0.0, seed: int = 0
) -> JSON:
    """Report the raters' agreement in the app's store, a table of ratings or votes, or a Label Studio export.

    Args:
        path: .sqlite, .csv, .jsonl or .json.
        edits: CSV of edits, edit_id and source_id (or photo_id), if the ratings do not name their sources.
        axes, margin, seed: see `agreement_report`.

    Raises:
        HPEditError: a file is broken, a rater scores an edit twice, an axis does not exist.
    """
    responses = fill_from_items(read_responses(path), read_items(edits) if edits else {})
    check_rated_once(responses)
    return agreement_report(responses, axes, margin, seed)


def agreement_report(
    responses: Sequence[Response], axes: Sequence[str] = (), margin: float = 0.0, seed: int = 0
) -> JSON:
    """Report inter-rater agreement, test-retest reliability and flagged raters.

    Args:
        responses: answers; practice, skipped and undone ones are counted and left out.
        axes: which axes of scores; () = all.
        margin: for pairs of any two edits: by how much the others' means must differ, in points of the axis.
        seed: of the bootstrap intervals.

    Returns:
        JSON values: answers, left_out, raters, simulated, source_unit (what intervals resample), margin, time_ms;
        scores by axis and votes (None if there are none), each with "all" and "kept" (figures of all raters, and of
        those not flagged; None if nobody is flagged), "flagged" and "by_rater".

    Raises:
        HPEditError: no answer counts, or an axis does not exist.
    """
    counted = [response for response in responses if response.counts]
    if not counted:
        raise HPEditError("no answer counts", hint="practice, skipped, empty and undone answers do not")
    unit = _resampling_unit(counted)
    scores = [response for response in counted if response.kind == "score"]
    votes = [response for response in counted if response.kind == "compare"]
    return {
        "answers": len(counted),
        "left_out": dict(sorted(Counter(_why_left_out(r) for r in responses if not r.counts).items())),
        "raters": len({response.rater for response in counted}),
        "simulated": sum(response.simulated for response in counted),
        "source_unit": unit,
        "margin": margin,
        "time_ms": _answer_times(counted),
        "scores": {axis: _axis_report(scores, axis, unit, margin, seed) for axis in _score_axes(scores, axes)} or None,
        "votes": _vote_report(votes, unit, seed) if votes else None,
    }


def rating_table(
    responses: Sequence[Response], axis: str, unit: str = "source_id"
) -> tuple[FloatArray, list[str], list[str]]:
    """Ratings (n, r) on one axis, NaN = not rated, with n source ids and r raters; a rater's first score counts."""
    edits = {response.edits[0]: _source_of(response, unit) for response in reversed(responses)}
    raters = sorted({response.rater for response in responses})
    row = {edit: number for number, edit in enumerate(sorted(edits))}
    table = np.full((len(row), len(raters)), np.nan)
    for response in responses:
        where = (row[response.edits[0]], raters.index(response.rater))
        value = axis_value(response, axis)
        if np.isnan(table[where]) and response.phase != "retest" and value is not None:
            table[where] = value
    return table, [edits[edit] for edit in row], raters


def axis_value(response: Response, axis: str) -> float | None:
    """A response's score on one axis, or None."""
    if axis == SCORE:
        return response.value if isinstance(response.value, int | float) else None
    return response.axes.get(axis)


def _axis_report(responses: Sequence[Response], axis: str, unit: str, margin: float, seed: int) -> JSON:
    given = [response for response in responses if axis_value(response, axis) is not None]
    table, sources, raters = rating_table(given, axis, unit)
    # How a rater behaves is the same on every axis; it is flagged once, with the overall score if there is one.
    conduct = conduct_flags(given) if axis == SCORE or not _has_overall_score(given) else []
    flags = conduct + score_flags(table, raters)
    out = {flag.rater for flag in flags}

    def figures(columns: list[int]) -> JSON:
        own = table[:, columns]
        rated = np.flatnonzero((~np.isnan(own)).any(axis=1)).tolist()
        names = [sources[edit] for edit in rated]
        estimates = score_figures(own[rated], names, margin, seed)
        chosen = [response for response in given if response.rater in {raters[column] for column in columns}]
        return {
            "edits": len(rated),
            "sources": len(set(names)),
            "raters": len(columns),
            "ratings": int((~np.isnan(own)).sum()),
            **{name: estimate.as_dict() for name, estimate in estimates.items()},
            "retest": _score_retest(chosen, axis, unit, seed),
        }

    def spread(own: FloatArray) -> dict[str, float | None]:
        known = own[~np.isnan(own)]
        return {"mean": float(known.mean()) if len(known) else None, "std": float(known.std()) if len(known) else None}

    return {
        "all": figures(list(range(len(raters)))),
        "kept": figures([column for column, rater in enumerate(raters) if rater not in out]) if flags else None,
        "flagged": [asdict(flag) for flag in flags],
        "by_rater": [
            {**_rater_conduct(rater, own), "axis": axis, **spread(scores)}
            for (rater, own), scores in zip(group_by_rater(given).items(), table.T, strict=True)
        ],
    }


def _vote_report(responses: Sequence[Response], unit: str, seed: int) -> JSON:
    flags = conduct_flags(responses) + vote_flags([r for r in responses if r.phase != "retest"])
    out = {flag.rater for flag in flags}
    kept = [response for response in responses if response.rater not in out]
    return {
        "all": _vote_figures(responses, unit, seed),
        "kept": _vote_figures(kept, unit, seed) if flags else None,
        "flagged": [asdict(flag) for flag in flags],
        "by_rater": [
            {**_rater_conduct(rater, own), "votes": _vote_counts(own)}
            for rater, own in group_by_rater(responses).items()
        ],
    }


def _vote_figures(responses: Sequence[Response], unit: str, seed: int) -> JSON:
    first = _first_votes(responses)
    items: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for response in first:
        low, high = sorted(response.edits)
        items.setdefault((low, high), (_source_of(response, unit), []))[1].append(oriented_vote(response))
    sources = [source for source, _ in items.values()]
    counts = np.array([[given.count(vote) for vote in VOTES] for _, given in items.values()], dtype=np.float64)
    counts = counts.reshape(len(items), len(VOTES))
    decided = [response for response in first if response.value in VOTES[:2]]
    left = [float(response.value == "A") for response in decided]
    return {
        "pairs": len(items),
        "sources": len(set(sources)),
        "raters": len({response.rater for response in first}),
        "votes": _vote_counts(first),
        "alpha": alpha_with_interval(counts, sources, "nominal", seed).as_dict(),
        "equal": _equal_share(counts, sources, seed).as_dict(),
        "equal_decided": _equal_share(counts[:, :2], sources, seed).as_dict(),
        "left": bootstrap_capped(left, [_source_of(r, unit) for r in decided], weighted_mean, seed).as_dict(),
        "retest": _vote_retest(responses, unit, seed),
    }


def _equal_share(counts: FloatArray, sources: Sequence[str], seed: int) -> Estimate:
    """Share of the pairs of two raters' votes on one pair of edits that are equal."""
    total = counts.sum(axis=1)
    equal = (counts * (counts - 1)).sum(axis=1)
    return bootstrap_capped(np.column_stack([equal, total * (total - 1)]), sources, ratio_of_sums, seed)


def _first_votes(responses: Sequence[Response]) -> list[Response]:
    """A rater's first vote on each pair, whatever the sides."""
    first: dict[tuple[str, frozenset[str]], Response] = {}
    for response in responses:
        if response.phase != "retest":
            first.setdefault((response.rater, frozenset(response.edits)), response)
    return list(first.values())


def _score_retest(responses: Sequence[Response], axis: str, unit: str, seed: int) -> JSON:
    """Test-retest reliability of scores: difference and correlation of a rater's two scores of one edit."""
    first = {(r.rater, r.edits[0]): axis_value(r, axis) for r in reversed(responses) if r.phase != "retest"}
    again = [r for r in responses if r.phase == "retest" and (r.rater, r.edits[0]) in first]
    scores = [[first[r.rater, r.edits[0]], axis_value(r, axis)] for r in again]
    pairs = np.array(scores, dtype=np.float64).reshape(-1, 2)
    sources = [_source_of(r, unit) for r in again]
    distance = np.abs(pairs[:, 0] - pairs[:, 1])
    return {
        "n": len(pairs),
        "equal": bootstrap_capped(distance == 0, sources, weighted_mean, seed).as_dict(),
        "distance": bootstrap_capped(distance, sources, weighted_mean, seed).as_dict(),
        "spearman": bootstrap_capped(pairs, sources, weighted_spearman, seed).as_dict(),
    }


def _vote_retest(responses: Sequence[Response], unit: str, seed: int) -> JSON:
    """Test-retest reliability of votes; the same opinion with sides exchanged is equal."""
    first = {(r.rater, frozenset(r.edits)): r for r in _first_votes(responses)}
    again = [r for r in responses if r.phase == "retest" and (r.rater, frozenset(r.edits)) in first]
    equal = [float(oriented_vote(r) == oriented_vote(first[r.rater, frozenset(r.edits)])) for r in again]
    sources = [_source_of(r, unit) for r in again]
    return {"n": len(equal), "equal": bootstrap_capped(equal, sources, weighted_mean, seed).as_dict()}


def _rater_conduct(rater: str, own: Sequence[Response]) -> JSON:
    """A rater's number of answers, median time and gold items right."""
    gold = [matches_expected(response.value, response.expected) for response in own if response.expected is not None]
    median = _answer_times(own)["median"]
    return {"rater": rater, "answers": len(own), "median_ms": median, "gold": len(gold), "gold_right": sum(gold)}


def _answer_times(responses: Sequence[Response]) -> JSON:
    """Milliseconds per answer: number known, quartiles and median."""
    known = [response.ms for response in responses if response.ms is not None]
    if not known:
        return {"n": 0, "q1": None, "median": None, "q3": None}
    q1, median, q3 = (float(value) for value in np.percentile(known, [25, 50, 75]))
    return {"n": len(known), "q1": q1, "median": median, "q3": q3}


def _vote_counts(responses: Sequence[Response]) -> dict[str, int]:
    return {vote: sum(response.value == vote for response in responses) for vote in VOTES}


def _score_axes(responses: Sequence[Response], wanted: Sequence[str]) -> list[str]:
    there = [SCORE] if _has_overall_score(responses) else []
    there += sorted({axis for response in responses for axis in response.axes})
    missing = [axis for axis in wanted if axis not in there]
    if missing:
        raise HPEditError(f"no ratings on the axis {', '.join(missing)}", hint=f"axes: {', '.join(there) or 'none'}")
    return list(wanted) or there


def _has_overall_score(responses: Sequence[Response]) -> bool:
    return any(axis_value(response, SCORE) is not None for response in responses)


def _resampling_unit(responses: Sequence[Response]) -> str:
    """What the bootstrap resamples: photos if every answer names one, else cases, else single edits."""
    for unit in ("source_id", "case_id"):
        if all(getattr(response, unit) for response in responses):
            return unit
    return "edit_id"


def _source_of(response: Response, unit: str) -> str:
    return response.edits[0] if unit == "edit_id" else str(getattr(response, unit))


def _why_left_out(response: Response) -> str:
    if response.superseded_by:
        return "taken back"
    if response.phase == "practice":
        return "practice"
    return "skipped" if response.value == SKIP else "empty"
