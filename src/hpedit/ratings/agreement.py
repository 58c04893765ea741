"""How well people agree with one another and with themselves: what `hpedit rate agreement` reports.

Scores are reported axis by axis, votes as 4-way answers. Everything is said twice where a rater is flagged as careless
(see `careless`): of all raters, and without the flagged ones. What is undefined - one rater, one edit, all answers
equal - is None, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpedit.errors import HPEditError
from hpedit.ratings.agreement_figures import alpha, bootstrap, score_figures
from hpedit.ratings.files import read_items, read_responses, with_items
from hpedit.ratings.rater_quality import Flag, conduct_flags, is_right, oriented, score_flags, vote_flags
from hpedit.ratings.responses import SKIP, VOTES, Response, check_once
from hpedit.stats.bootstrap import Estimate, FloatArray, ratio_of_sums, weighted_mean, weighted_spearman

SCORE = "score"
"""Name of the overall score among the axes."""


def agreement_of_file(
    path: Path, edits: Path | None = None, axes: Sequence[str] = (), margin: float = 0.0, seed: int = 0
) -> dict[str, Any]:
    """Report on the app's store, a table of ratings or votes, or a Label Studio export; see `agreement`.

    Args:
        path: .sqlite, .csv, .jsonl or .json.
        edits: CSV of edits, edit_id and source_id (or photo_id), where the ratings do not name their sources.
        axes: which axes to report; () = all that are there.
        margin: see `agreement`.
        seed: of the intervals.

    Raises:
        HPEditError: a file is broken, a rater scores an edit twice, an axis is not there.
    """
    responses = with_items(read_responses(path), read_items(edits) if edits else {})
    check_once(responses)
    return agreement(responses, axes, margin, seed)


def agreement(
    responses: Sequence[Response], axes: Sequence[str] = (), margin: float = 0.0, seed: int = 0
) -> dict[str, Any]:
    """Report how well the raters of these answers agree.

    Args:
        responses: answers; practice, skips and what was taken back are counted and left out.
        axes: which axes of scores; () = all.
        margin: for pairs of any two edits: by how much the others' means must differ, in points of the axis.
        seed: of the intervals.

    Returns:
        JSON values: answers, left_out, raters, simulated, source_unit (what intervals resample), margin, time_ms;
        scores by axis and votes (None where there are none), each with "all" and "kept" (figures of all raters, and of
        those not flagged; None if nobody is flagged), "flagged" and "by_rater".

    Raises:
        HPEditError: no answer counts, or an axis is not there.
    """
    counted = [response for response in responses if response.counts]
    if not counted:
        raise HPEditError("no answer counts", hint="practice, skipped, empty and retracted answers do not")
    unit = _source_unit(counted)
    scores = [response for response in counted if response.kind == "score"]
    votes = [response for response in counted if response.kind == "compare"]
    return {
        "answers": len(counted),
        "left_out": dict(sorted(Counter(_why(response) for response in responses if not response.counts).items())),
        "raters": len({response.rater for response in counted}),
        "simulated": sum(response.simulated for response in counted),
        "source_unit": unit,
        "margin": margin,
        "time_ms": _times(counted),
        "scores": {axis: _on_axis(scores, axis, unit, margin, seed) for axis in _axes(scores, axes)} or None,
        "votes": _on_votes(votes, unit, seed) if votes else None,
    }


def rating_table(
    responses: Sequence[Response], axis: str, unit: str = "source_id"
) -> tuple[FloatArray, list[str], list[str]]:
    """Ratings (n, r) on one axis, NaN = not rated, with n source ids and r raters; a rater's first score counts."""
    edits = {response.edits[0]: _source(response, unit) for response in reversed(responses)}
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
    """An answer's score on one axis, None where it has none."""
    if axis == SCORE:
        return response.value if isinstance(response.value, int | float) else None
    return response.axes.get(axis)


def _on_axis(responses: Sequence[Response], axis: str, unit: str, margin: float, seed: int) -> dict[str, Any]:
    given = [response for response in responses if axis_value(response, axis) is not None]
    table, sources, raters = rating_table(given, axis, unit)
    flags = (conduct_flags(given) if axis == SCORE or not _has_score(given) else []) + score_flags(table, raters)
    out = {flag.rater for flag in flags}
    kept = [column for column, rater in enumerate(raters) if rater not in out]

    def figures(columns: list[int]) -> dict[str, Any]:
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
            **_as_json(estimates),
            "retest": _score_retest(chosen, axis, unit, seed),
        }

    return {
        "all": figures(list(range(len(raters)))),
        "kept": figures(kept) if flags else None,
        "flagged": _flags_json(flags),
        "by_rater": [_rater_row(given, rater, table[:, column], axis) for column, rater in enumerate(raters)],
    }


def _on_votes(responses: Sequence[Response], unit: str, seed: int) -> dict[str, Any]:
    flags = conduct_flags(responses) + vote_flags([r for r in responses if r.phase != "retest"])
    out = {flag.rater for flag in flags}
    kept = [response for response in responses if response.rater not in out]
    return {
        "all": _vote_figures(responses, unit, seed),
        "kept": _vote_figures(kept, unit, seed) if flags else None,
        "flagged": _flags_json(flags),
        "by_rater": [
            {
                **_conduct(responses, rater),
                "votes": _vote_counts([response for response in responses if response.rater == rater]),
            }
            for rater in sorted({response.rater for response in responses})
        ],
    }


def _vote_figures(responses: Sequence[Response], unit: str, seed: int) -> dict[str, Any]:
    first = _first_votes(responses)
    items: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for response in first:
        low, high = sorted(response.edits)
        items.setdefault((low, high), (_source(response, unit), []))[1].append(oriented(response))
    sources = [source for source, _ in items.values()]
    counts = np.array([[given.count(vote) for vote in VOTES] for _, given in items.values()], dtype=np.float64)
    counts = counts.reshape(len(items), len(VOTES))
    decided = counts[:, :2]
    left = [float(response.value == "A") for response in first if response.value in VOTES[:2]]
    sides = [_source(response, unit) for response in first if response.value in VOTES[:2]]
    return {
        "pairs": len(items),
        "sources": len(set(sources)),
        "raters": len({response.rater for response in first}),
        "votes": _vote_counts(first),
        "alpha": alpha(counts, sources, "nominal", seed).as_dict(),
        "equal": _equal_share(counts, sources, seed).as_dict(),
        "equal_decided": _equal_share(decided, sources, seed).as_dict(),
        "left": bootstrap(left, sides, weighted_mean, seed).as_dict(),
        "retest": _vote_retest(responses, unit, seed),
    }


def _equal_share(counts: FloatArray, sources: Sequence[str], seed: int) -> Estimate:
    """Share of the pairs of two raters' answers to one item that are equal."""
    total = counts.sum(axis=1)
    equal = (counts * (counts - 1)).sum(axis=1)
    return bootstrap(np.column_stack([equal, total * (total - 1)]), sources, ratio_of_sums, seed)


def _first_votes(responses: Sequence[Response]) -> list[Response]:
    """A rater's first vote on each pair, whatever the sides."""
    first: dict[tuple[str, frozenset[str]], Response] = {}
    for response in responses:
        if response.phase != "retest":
            first.setdefault((response.rater, frozenset(response.edits)), response)
    return list(first.values())


def _score_retest(responses: Sequence[Response], axis: str, unit: str, seed: int) -> dict[str, Any]:
    """The same rater's two scores of one edit: their difference and correlation."""
    first = {(r.rater, r.edits[0]): axis_value(r, axis) for r in reversed(responses) if r.phase != "retest"}
    again = [
        (r, first[r.rater, r.edits[0]]) for r in responses if r.phase == "retest" and (r.rater, r.edits[0]) in first
    ]
    pairs = np.array([[before, axis_value(r, axis)] for r, before in again], dtype=np.float64).reshape(-1, 2)
    sources = [_source(r, unit) for r, _ in again]
    distance = np.abs(pairs[:, 0] - pairs[:, 1])
    return {
        "n": len(pairs),
        "equal": bootstrap(distance == 0, sources, weighted_mean, seed).as_dict(),
        "distance": bootstrap(distance, sources, weighted_mean, seed).as_dict(),
        "spearman": bootstrap(pairs, sources, weighted_spearman, seed).as_dict(),
    }


def _vote_retest(responses: Sequence[Response], unit: str, seed: int) -> dict[str, Any]:
    """The same rater's two votes on one pair; the same opinion with sides exchanged is equal."""
    first = {(r.rater, frozenset(r.edits)): r for r in _first_votes(responses)}
    again = [r for r in responses if r.phase == "retest" and (r.rater, frozenset(r.edits)) in first]
    equal = [float(oriented(r) == oriented(first[r.rater, frozenset(r.edits)])) for r in again]
    sources = [_source(r, unit) for r in again]
    return {"n": len(equal), "equal": bootstrap(equal, sources, weighted_mean, seed).as_dict()}


def _rater_row(responses: Sequence[Response], rater: str, own: FloatArray, axis: str) -> dict[str, Any]:
    known = own[~np.isnan(own)]
    spread = {"mean": float(known.mean()), "std": float(known.std())} if len(known) else {"mean": None, "std": None}
    return {**_conduct(responses, rater), "axis": axis, **spread}


def _conduct(responses: Sequence[Response], rater: str) -> dict[str, Any]:
    own = [response for response in responses if response.rater == rater]
    gold = [response for response in own if response.expected is not None]
    return {
        "rater": rater,
        "answers": len(own),
        "median_ms": _times(own)["median"],
        "gold": len(gold),
        "gold_right": sum(map(is_right, gold)),
    }


def _times(responses: Sequence[Response]) -> dict[str, Any]:
    """Milliseconds an answer: number known, quartiles and median."""
    known = [response.ms for response in responses if response.ms is not None]
    if not known:
        return {"n": 0, "q1": None, "median": None, "q3": None}
    q1, median, q3 = (float(value) for value in np.percentile(known, [25, 50, 75]))
    return {"n": len(known), "q1": q1, "median": median, "q3": q3}


def _vote_counts(responses: Sequence[Response]) -> dict[str, int]:
    return {vote: sum(response.value == vote for response in responses) for vote in VOTES}


def _axes(responses: Sequence[Response], wanted: Sequence[str]) -> list[str]:
    there = [SCORE] if _has_score(responses) else []
    there += sorted({axis for response in responses for axis in response.axes})
    missing = [axis for axis in wanted if axis not in there]
    if missing:
        raise HPEditError(
            f"no ratings on the axis {', '.join(missing)}", hint=f"there are: {', '.join(there) or 'none'}"
        )
    return list(wanted) or there


def _has_score(responses: Sequence[Response]) -> bool:
    return any(axis_value(response, SCORE) is not None for response in responses)


def _source_unit(responses: Sequence[Response]) -> str:
    """What intervals resample: photos if every answer names one, else cases, else single edits."""
    for unit in ("source_id", "case_id"):
        if all(getattr(response, unit) for response in responses):
            return unit
    return "edit_id"


def _source(response: Response, unit: str) -> str:
    return response.edits[0] if unit == "edit_id" else str(getattr(response, unit))


def _why(response: Response) -> str:
    """Why an answer does not count."""
    if response.superseded_by:
        return "taken back"
    if response.phase == "practice":
        return "practice"
    return "skipped" if response.value == SKIP else "empty"


def _as_json(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_dict() for name, estimate in estimates.items()}


def _flags_json(flags: Sequence[Flag]) -> list[dict[str, str]]:
    return [{"rater": flag.rater, "rule": flag.rule, "reason": flag.reason} for flag in flags]
