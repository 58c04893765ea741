"""Text tables of `hpedit scorer fit` and `eval`, 80 columns wide: agreement with people, the learning curve."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from hpedit.cli.figures import figures_text
from hpedit.errors import HPEditError
from hpedit.stats.intervals import UNDEFINED, Interval, interval_text, number_text

MEASURES = ("pearson", "spearman", "kendall", "pairwise_accuracy", "mae")
TASK_WIDTH = 12

Cells = Mapping[str, Any]


def parse_numbers(text: str) -> list[int]:
    """Positive integers from `10,25,50`; HPEditError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 10**9 for part in parts):
        raise HPEditError(f"--numbers {text!r} is not a list of numbers", hint="for instance --numbers 10,25,50,100")
    return [int(part) for part in parts]


def fit_text(result: Cells) -> str:
    """A fit: agreement with people on photos not fitted on, judges, questions and model families that were chosen."""
    judges = {
        name: {key: value for key, value in one.items() if key != "reason"}
        for name, one in result.get("judges", {}).items()
    }
    families = {name: one["won"] for name, one in (result.get("choice") or {}).get("judges", {}).items()}
    shown = {key: value for key, value in result.items() if key not in ("judges", "choice", "verdict", "reason")}
    shown |= {"judges": judges} if len(judges) > 1 else {}
    shown |= {"model": families} if families else {}
    return figures_text(shown | {"verdict": result["verdict"], "reason": result["reason"]})


def agreement_lines(result: Cells) -> Iterator[str]:
    """Agreement report as lines: sample, overall figures, ties, stated deviation, figures by task, verdict."""
    if result.get("seen") == "included":
        yield f"INFLATED FIGURES: {result['seen_edits']} edits of {result['seen_sources']} photos were used in fitting."
    yield f"edits compared: {result['n']} of {result['sources']} photos; raters: {result['human']['raters']}"
    left_out = [f"{result['unscorable']} unscorable", f"{result['unrated']} unrated"]
    if result.get("seen") == "excluded":
        left_out.append(f"{result['seen_edits']} edits of {result['seen_sources']} photos seen in fitting")
    yield "left out: " + ", ".join(left_out)
    yield ""
    yield f"{'':18}{'scorer':20}{'judge alone':20}{'one human':20}".rstrip()
    for measure in MEASURES:
        columns = (result[measure], result["raw"][measure], result["human"][measure])
        yield f"{measure:18}" + "".join(f"{interval_text(column):20}" for column in columns).rstrip()
    gain = result["gain"]
    pearson, pairwise = interval_text(gain["pearson"]), interval_text(gain["pairwise_accuracy"])
    yield f"scorer - judge: pearson {pearson}, pairwise {pairwise}"
    yield ""
    yield from _tie_lines(result)
    yield from _deviation_lines(result["deviation"])
    if result["tasks"]:
        yield ""
        yield from _task_lines(result["tasks"])
    yield ""
    verdict = f"verdict: {result['verdict']}" + (f" ({result['reason']})" if result["reason"] else "")
    yield from textwrap.wrap(verdict, 80, break_long_words=False, break_on_hyphens=False)


def curve_lines(curve: Cells) -> Iterator[str]:
    """Learning curve as lines: a row per number of rated edits, then judge and human on the same held-out edits."""
    held, fitting = curve["held_out"], curve["fitting"]
    yield f"measured on {held['edits']} edits of {held['sources']} photos, fitted on edits of {fitting['sources']}"
    yield ""
    yield f"{'rated edits':13}{'':38}{'':19}{'fits with'}"
    yield f"{'a task':13}{'pearson':19}{'pairwise_accuracy':19}{'mae':19}{'signal'}"
    for point in curve["points"]:
        if not point["fits"]:
            yield f"{point['number']:<13}n/a: {point['reason']}"
            continue
        cells = "".join(f"{_spread(point[name]):19}" for name in ("pearson", "pairwise_accuracy", "mae"))
        yield f"{point['number']:<13}{cells}{point['ok']} of {point['fits'] + point['failed']}"
    for name, key in (("judge alone", "raw"), ("one human", "human")):
        cells = "".join(
            f"{interval_text(curve[key][measure]):19}" for measure in ("pearson", "pairwise_accuracy", "mae")
        )
        yield f"{name:13}{cells}".rstrip()
    yield f"In brackets: least and largest of {curve['draws']} draws; judge and human: 95 % interval."


def _spread(found: Cells | None) -> str:
    return UNDEFINED if found is None else Interval(found["mean"], found["low"], found["high"]).text()


def _tie_lines(result: Cells) -> Iterator[str]:
    pairs, raw = result["pairs"], result["raw"]["pairs"]
    tied = pairs["tied_by_people"] + pairs["tied_by_both"]
    yield f"pairs of one photo's edits: {pairs['pairs']}, of which people tie {tied}; of the rest"
    yield f"  scorer       {pairs['right']} right, {pairs['wrong']} wrong, {pairs['tied_by_score']} tied"
    yield f"  judge alone  {raw['right']} right, {raw['wrong']} wrong, {raw['tied_by_score']} tied"


def _deviation_lines(deviation: Cells | None) -> Iterator[str]:
    if deviation is None:
        return
    says = f" ({deviation['says']})" if deviation["says"] else ""
    yield f"stated deviation: {deviation['stated']:.2f}, actual {deviation['actual']:.2f}{says}"
    parts = [f"{found['nominal']:.0%}: {_share(found)}" for found in deviation["coverage"].values()]
    yield "  mean ratings inside its intervals: " + ", ".join(parts)
    yield f"  spread of the standardised error: {interval_text(deviation['z_spread'])}, right is 1"


def _share(found: Cells) -> str:
    return UNDEFINED if found["value"] is None else f"{found['value']:.0%}"


def _task_lines(tasks: Cells) -> Iterator[str]:
    yield f"{'by task':{TASK_WIDTH}}{'edits':>6} {'pearson':21}{'judge':7}{'human':7}{'pairwise':19}{'mae'}"
    for name, block in tasks.items():
        short = name if len(name) < TASK_WIDTH else name[: TASK_WIDTH - 2] + "\N{HORIZONTAL ELLIPSIS}"
        yield (
            f"{short:{TASK_WIDTH}}{block['n']:>6} {interval_text(block['pearson']):21}"
            f"{_figure(block['raw']['pearson']):7}{_figure(block['human']['pearson']):7}"
            f"{interval_text(block['pairwise_accuracy']):19}{_figure(block['mae'])}"
        )


def _figure(estimate: Cells) -> str:
    return UNDEFINED if estimate["value"] is None else number_text(estimate["value"])
