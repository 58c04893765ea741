"""Write what a scorer is worth as a page (self-contained, no script, no network) with a JSON twin beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hpedit.report import scorer_charts, scorer_views
from hpedit.report.page import environment, json_text, style
from hpedit.report.views import plain
from hpedit.store.atomic import atomic_write

HTML_NAME = "scorer.html"

Cells = Mapping[str, Any]


def write_scorer_page(
    out: Path,
    report: Cells | None,
    curve: Cells | None = None,
    *,
    title: str = "HP-Scorer against people",
    command: str = "",
    simulated: bool = False,
) -> Path:
    """Write the page and its twin (the same name with .json), each atomically; equal inputs give equal bytes.

    Args:
        out: a name that ends in .html, or a folder, which gets scorer.html.
        report: as `agreement_report` or `held_out.evaluate_tables` of `hpedit.scorer.evaluation` returns it.
        curve: as `hpedit.scorer.evaluation.learning_curve.learning_curve` returns it.
        title: heading.
        command: the command that reproduces it.
        simulated: whether the raters were simulated; then the page says so.

    Returns:
        The path of the page.
    """
    out = Path(out)
    page = out if out.suffix.lower() == ".html" else out / HTML_NAME
    page.parent.mkdir(parents=True, exist_ok=True)
    data = {"title": title, "command": command, "simulated": simulated, "report": report, "curve": curve}
    twin = page.with_suffix(".json")
    atomic_write(twin, json_text(data))
    text = render_scorer_page(report, curve, title=title, command=command, simulated=simulated, twin=twin.name)
    atomic_write(page, text.encode("utf-8", "replace"))
    return page


def render_scorer_page(
    report: Cells | None,
    curve: Cells | None = None,
    *,
    title: str = "HP-Scorer against people",
    command: str = "",
    simulated: bool = False,
    twin: str = "scorer.json",
) -> str:
    """The page as text; see `write_scorer_page`."""
    return environment().get_template("scorer.html.jinja").render(
        style=style(),
        title=plain(title),
        command=plain(command),
        simulated=simulated,
        raters="simulated raters" if simulated else "people",
        measures=list(scorer_views.MEASURES.values()),
        narrow=[name in scorer_views.ON_PHONES for name in scorer_views.MEASURES.values()],
        report=_report_view(report) if report else None,
        curve=_curve_view(curve) if curve else None,
        twin=twin,
    )  # fmt: skip


def _report_view(report: Cells) -> dict[str, Any]:
    deviation = report["deviation"]
    return {
        "judge": plain(report.get("judge", "")),
        "verdict": report["verdict"],
        "reason": plain(report["reason"]),
        "size": {key: report[key] for key in ("n", "sources", "unscorable", "unrated", "resamples")},
        "raters": report["human"]["raters"],
        "alpha": report["human"]["krippendorff_alpha"],
        "seen": report.get("seen", "none"),
        "seen_sources": report.get("seen_sources", 0),
        "seen_edits": report.get("seen_edits", 0),
        "judges": scorer_views.judge_rows(report),
        "pairs": report["pairs"],
        "pair_rows": scorer_views.pair_rows(report),
        "reliability": Markup(
            scorer_charts.reliability_plot(report["reliability"], title="mean rating over score, in bins")
        ),
        "deviation": Markup(scorer_charts.deviation_plot(deviation, title="actual over stated deviation"))
        if deviation
        else "",
        "says": deviation and deviation["says"],
        "stated": deviation and {key: f"{deviation[key]:.2f}" for key in ("stated", "actual")},
        "trust": scorer_views.trust_rows(report),
        "multiples": scorer_views.reliability_views(report),
        "tasks": scorer_views.task_rows(report),
        "task_plots": scorer_views.task_plots(report),
        "facts": scorer_views.as_texts(
            {"judge": report.get("judge", ""), "scorer": report["scorer"]} if "scorer" in report else {}
        ),
        "reasons": scorer_views.as_texts(report.get("unscorable_reasons") or {}),
    }


def _curve_view(curve: Cells) -> dict[str, Any]:
    return {
        "plots": scorer_views.curve_plots(curve),
        "rows": scorer_views.curve_rows(curve),
        "judge": plain(curve["judge"]),
        "draws": curve["draws"],
        "fitting": curve["fitting"],
        "held_out": curve["held_out"],
    }
