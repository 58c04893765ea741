"""The report of agreement for people: 80 columns, plain text."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from hpedit.stats.intervals import interval_text

WIDTH = 80
_LABEL = 36
_SCORES = (
    ("alpha", "Krippendorff's alpha, ordinal"),
    ("rest_spearman", "rater with the others, Spearman"),
    ("rest_pearson", "rater with the others, Pearson"),
    ("rest_pairwise", "order of a photo's edits, share"),
    ("rest_pairwise_any", "order of any two edits, share"),
    ("pair_spearman", "rater with rater, Spearman"),
    ("pair_spearman_pooled", "  all pairs of scores pooled"),
)
_VOTES = (
    ("alpha", "Krippendorff's alpha, nominal"),
    ("equal", "two raters' votes equal"),
    ("equal_decided", "  where both chose A or B"),
    ("left", "left chosen, of A and B"),
)


def render(report: Mapping[str, Any]) -> str:
    """Text of a report of `agreement.agreement`."""
    units = {"source_id": "photos", "case_id": "cases", "edit_id": "single edits, as no source is named"}
    lines = [f"{report['answers']} answers by {report['raters']} raters"]
    lines += [f"intervals: 95 %, resampling {units[report['source_unit']]}"]
    if report["simulated"]:
        lines.append(f"{report['simulated']} of the answers are SIMULATED: no person gave them")
    if report["left_out"]:
        lines.append("left out: " + ", ".join(f"{count} {reason}" for reason, count in report["left_out"].items()))
    times = report["time_ms"]
    if times["n"]:
        q1, median, q3 = (times[name] / 1000 for name in ("q1", "median", "q3"))
        lines.append(f"time per answer: median {median:.1f} s, quartiles {q1:.1f} to {q3:.1f} s (n = {times['n']})")
    for axis, figures in (report["scores"] or {}).items():
        lines += ["", *_block(f"scores: {axis}", "edits", _SCORES, figures), *_score_retest(figures)]
        lines += [*_note_on_margin(report["margin"]), *_people(figures)]
    if report["votes"]:
        lines += ["", *_block("votes", "pairs", _VOTES, report["votes"]), *_vote_rows(report["votes"])]
        lines += _people(report["votes"])
    return "\n".join(line.rstrip() for line in lines)


def _block(title: str, unit: str, rows: tuple[tuple[str, str], ...], figures: Mapping[str, Any]) -> list[str]:
    both, kept = figures["all"], figures["kept"]
    lines = [_row(title, "all raters", "without flagged" if kept else "")]
    lines.append(_row(unit, str(both[unit]), str(kept[unit]) if kept else ""))
    lines.append(_row("raters", str(both["raters"]), str(kept["raters"]) if kept else ""))
    texts = [(label, interval_text(both[name]), interval_text(kept[name]) if kept else "") for name, label in rows]
    return lines + [_row(*text) for text in texts]


def _score_retest(figures: Mapping[str, Any]) -> list[str]:
    tests, kept = figures["all"]["retest"], (figures["kept"] or {}).get("retest")
    if not tests["n"]:
        return [_row("test-retest", "n/a", "")]
    rows = (("equal", "test-retest: same score"), ("distance", "  mean distance"), ("spearman", "  Spearman"))
    lines = [_row(label, interval_text(tests[name]), interval_text(kept[name]) if kept else "") for name, label in rows]
    return [*lines, _row("  repeated edits", str(tests["n"]), str(kept["n"]) if kept else "")]


def _vote_rows(figures: Mapping[str, Any]) -> list[str]:
    sets = [figures["all"], *([figures["kept"]] if figures["kept"] else [])]
    counts = ["/".join(str(count) for count in own["votes"].values()) for own in sets]
    tests = [interval_text(own["retest"]["equal"]) for own in sets]
    repeated = [str(own["retest"]["n"]) for own in sets]
    rows = (("A/B/tie/both bad", counts), ("test-retest: same vote", tests), ("  repeated pairs", repeated))
    return [_row(label, values[0], values[1] if len(values) > 1 else "") for label, values in rows]


def _note_on_margin(margin: float) -> list[str]:
    return [f"  (any two edits: whose means by the others differ by at least {margin:g})"] if margin else []


def _people(figures: Mapping[str, Any]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for flag in figures["flagged"]:
        reasons.setdefault(flag["rater"], []).append(f"{flag['rule']}: {flag['reason']}")
    lines = ["  rater                answers  median s  gold right  flagged as careless"]
    for person in figures["by_rater"]:
        name = person["rater"]
        seconds = "n/a" if person["median_ms"] is None else f"{person['median_ms'] / 1000:.1f}"
        gold = f"{person['gold_right']}/{person['gold']}" if person["gold"] else "n/a"
        lines.append(f"  {_printable(name)[:20]:20} {person['answers']:>7}  {seconds:>8}  {gold:>10}")
        lines[-1] += "  no" if name not in reasons else "  YES"
        for reason in reasons.get(name, []):
            lines += wrap(reason, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 6)
    return lines


def _row(label: str, first: str, second: str) -> str:
    return f"{label:{_LABEL}}{first:>22}{second:>22}"


def _printable(text: str) -> str:
    """A name without control characters, which could forge lines or move the terminal's cursor."""
    return "".join(mark if mark.isprintable() else "?" for mark in text)
