"""Write a scorer's agreement, calibration and learning curve as a self-contained page with a JSON twin beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hpedit.report import scorer_charts, scorer_views
from hpedit.report.report_page import json_text, page_environment, page_style
from hpedit.store.atomic import atomic_write

HTML_NAME = "scorer.html"

Cells = Mapping[str, Any]


def write_scorer_page(
    out: Path, report: Cells | None, curve: Cells | None = None, *, title: str = "HP-Scorer against people",
    command: str = "", simulated: bool = False,
) -> Path:  # fmt: skip
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
    report: Cells | None, curve: Cells | None = None, *, title: str = "HP-Scorer against people", command: str = "",
    simulated: bool = False, twin: str = "scorer.json",
) -> str:  # fmt: skip
    """The scorer's page as HTML; see `write_scorer_page`."""
    return page_environment().get_template("scorer.html.jinja").render(
        style=page_style(),
        title=title,
        command=command,
        simulated=simulated,
        raters="simulated raters" if simulated else "people",
        measures=list(scorer_views.MEASURES.values()),
        narrow=[name in scorer_views.ON_PHONES for name in scorer_views.MEASURES.values()],
        report=_report_view(report) if report else None,
        curve=_curve_view(curve) if curve else None,
        twin=twin,
    )  # fmt: skip


def _report_view(report: Cells) -> dict[str, Any]:
    reliability, deviation = report["reliability"], report["deviation"]
    return {
        **{"judge": "", "seen": "none", **report},
        "judges": scorer_views.judge_rows(report),
        "pair_rows": scorer_views.judge_pair_rows(report),
        "reliability": Markup(scorer_charts.reliability_plot(reliability, title="mean rating over score, in bins")),
        "deviation_plot": deviation
        and Markup(scorer_charts.deviation_plot(deviation, title="actual over stated deviation")),
        "trust": scorer_views.trust_rows(report),
        "multiples": scorer_views.reliability_views(report),
        "tasks": scorer_views.task_rows(report),
        "task_plots": scorer_views.task_plots(report),
        "facts": {"judge": report.get("judge", ""), "scorer": report["scorer"]} if "scorer" in report else {},
        "reasons": report.get("unscorable_reasons") or {},
    }


def _curve_view(curve: Cells) -> dict[str, Any]:
    return {**curve, "plots": scorer_views.curve_plots(curve), "rows": scorer_views.curve_rows(curve)}
