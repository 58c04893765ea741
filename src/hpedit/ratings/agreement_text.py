"""The agreement report as plain text of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from hpedit.stats.intervals import interval_text

WIDTH = 80
_LABEL = 36
_SCORES = {
    "alpha": "Krippendorff's alpha, ordinal",
    "rest_spearman": "rater with the others, Spearman",
    "rest_pearson": "rater with the others, Pearson",
    "rest_pairwise": "order of a photo's edits, share",
    "rest_pairwise_any": "order of any two edits, share",
    "pair_spearman": "rater with rater, Spearman",
    "pair_spearman_pooled": "  all pairs of scores pooled",
}
_SCORE_RETEST = {"equal": "test-retest: same score", "distance": "  mean distance", "spearman": "  Spearman"}
_VOTES = {
    "alpha": "Krippendorff's alpha, nominal",
    "equal": "two raters' votes equal",
    "equal_decided": "  where both chose A or B",
    "left": "left chosen, of A and B",
}


def agreement_as_text(report: Mapping[str, Any]) -> str:
    """Text of an `agreement.agreement_report`."""
    units = {"source_id": "photos", "case_id": "cases", "edit_id": "single edits, as no source is named"}
    lines = [f"{report['answers']} answers by {report['raters']} raters"]
    lines += [f"intervals: 95 %, resampling {units[report['source_unit']]}"]
    if report["simulated"]:
        lines.append(f"{report['simulated']} of the answers are SIMULATED, not from human raters")
    if report["left_out"]:
        lines.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in report["left_out"].items()))
    times = report["time_ms"]
    if times["n"]:
        q1, median, q3 = (times[name] / 1000 for name in ("q1", "median", "q3"))
        lines.append(f"time per answer: median {median:.1f} s, quartiles {q1:.1f} to {q3:.1f} s (n = {times['n']})")
    for axis, figures in (report["scores"] or {}).items():
        lines += ["", *_figure_rows(f"scores: {axis}", "edits", _SCORES, figures), *_score_retest_rows(figures)]
        if report["margin"]:
            lines.append(f"  (any two edits: whose means by the others differ by at least {report['margin']:g})")
        lines += _rater_rows(figures)
    if report["votes"]:
        votes = report["votes"]
        lines += ["", *_figure_rows("votes", "pairs", _VOTES, votes), *_vote_rows(votes), *_rater_rows(votes)]
    return "\n".join(line.rstrip() for line in lines)


def _rater_sets(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Figures of all raters and, if any is flagged, of the others."""
    return [figures["all"], *([figures["kept"]] if figures["kept"] else [])]


def _figure_rows(title: str, unit: str, names: Mapping[str, str], figures: Mapping[str, Any]) -> list[str]:
    sets = _rater_sets(figures)
    lines = [_text_row(title, ("all raters", "without flagged")[: len(sets)])]
    lines += [_text_row(name, [str(own[name]) for own in sets]) for name in (unit, "raters")]
    return lines + [_text_row(label, [interval_text(own[name]) for own in sets]) for name, label in names.items()]


def _score_retest_rows(figures: Mapping[str, Any]) -> list[str]:
    tests = [own["retest"] for own in _rater_sets(figures)]
    if not tests[0]["n"]:
        return [_text_row("test-retest", ["n/a"])]
    lines = [_text_row(label, [interval_text(test[name]) for test in tests]) for name, label in _SCORE_RETEST.items()]
    return [*lines, _text_row("  repeated edits", [str(test["n"]) for test in tests])]


def _vote_rows(figures: Mapping[str, Any]) -> list[str]:
    sets = _rater_sets(figures)
    return [
        _text_row("A/B/tie/both bad", ["/".join(map(str, own["votes"].values())) for own in sets]),
        _text_row("test-retest: same vote", [interval_text(own["retest"]["equal"]) for own in sets]),
        _text_row("  repeated pairs", [str(own["retest"]["n"]) for own in sets]),
    ]


def _rater_rows(figures: Mapping[str, Any]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for flag in figures["flagged"]:
        reasons.setdefault(flag["rater"], []).append(f"{flag['rule']}: {flag['reason']}")
    lines = ["  rater                answers  median s  gold right  flagged as careless"]
    for rater in figures["by_rater"]:
        name = rater["rater"]
        seconds = "n/a" if rater["median_ms"] is None else f"{rater['median_ms'] / 1000:.1f}"
        gold = f"{rater['gold_right']}/{rater['gold']}" if rater["gold"] else "n/a"
        # A name's control characters could forge lines or move the terminal's cursor.
        printable = "".join(letter if letter.isprintable() else "?" for letter in name)
        flagged = "YES" if name in reasons else "no"
        lines.append(f"  {printable[:20]:20} {rater['answers']:>7}  {seconds:>8}  {gold:>10}  {flagged}")
        for reason in reasons.get(name, []):
            lines += wrap(reason, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 6)
    return lines


def _text_row(label: str, values: Sequence[str]) -> str:
    return f"{label:{_LABEL}}" + "".join(f"{value:>22}" for value in values)
