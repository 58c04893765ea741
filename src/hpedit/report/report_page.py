"""Write the report: report.html (self-contained, no script, no network), report.json (its twin) and summary.json.

The page forbids itself everything but inline styles and embedded pictures by a Content-Security-Policy, and every text
is escaped by the template engine: an instruction that holds HTML or script is shown, not run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hpedit.bench import figure_text
from hpedit.report import report_views as views
from hpedit.report.gain_wording import NOT_MEASURED, headline
from hpedit.report.picture_selection import select_pictures
from hpedit.report.report_data import Agreement, Picture, ReportData
from hpedit.report.svg import page_safe
from hpedit.report.training_curves import metric_charts
from hpedit.store.atomic import atomic_write

HERE = Path(__file__).parent
HTML_NAME, JSON_NAME, SUMMARY_NAME = "report.html", "report.json", "summary.json"


def write_report(out: Path, data: ReportData) -> Path:
    """Write the page, its JSON twin and summary.json into the folder `out`, each atomically.

    Equal data give equal bytes. A part that is absent from `data` is named as "not measured".

    Returns:
        The path of report.html.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / SUMMARY_NAME, json_text(_summary(data)))
    atomic_write(out / JSON_NAME, json_text(report_twin(data)))
    path = out / HTML_NAME
    atomic_write(path, render_report(data).encode("utf-8", "replace"))
    return path


def render_report(data: ReportData) -> str:
    """The demo's report as HTML."""
    template = page_environment().get_template("page.html.jinja")
    return template.render(style=page_style(), absent=NOT_MEASURED, **_context(data))


def page_environment() -> Environment:
    """The Jinja environment of this folder's templates; every text is escaped."""
    # StrictUndefined: a missing value is a bug that must fail, not an empty cell.
    found = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, finalize=_finalized, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"score": views.score_text, "share": views.share_text, "clock": views.duration_text}
    found.globals["figures"] = figure_text
    return found


def _finalized(value: Any) -> Any:
    """What a template prints, without characters that HTML forbids; the charts' SVG is already so."""
    return page_safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def page_style() -> Markup:
    """The style sheet of all pages."""
    return Markup((HERE / "style.css").read_text(encoding="utf-8"))


def _context(data: ReportData) -> dict[str, Any]:
    summary = data.summary
    curves, zero = metric_charts(data.metrics, skip=["Loss", "Unscorable", "Seconds by phase"])
    return {
        "title": data.title,
        "subtitle": data.subtitle,
        "created": data.created,
        "notes": data.notes,
        "headline": headline(summary),
        "cards": views.headline_cards(summary),
        "forest": views.gain_forest(summary),
        "size": {key: (summary or {}).get(key) for key in ("n", "sources", "unscorable")},
        "control": views.control_view(summary),
        "control_note": data.control_note,
        "controls": views.control_rows(summary),
        "steps": views.step_rows(summary),
        "references": views.reference_rows(summary),
        "tables": views.gain_task_tables(summary),
        "distributions": views.distributions(data.pictures),
        "alarms": views.pixel_alarm_rows(summary),
        "curves": curves,
        "zero": zero,
        "groups": views.report_picture_groups(data.pictures),
        "picture_count": len(data.pictures),
        "agreements": [views.agreement_view(agreement) for agreement in data.agreements],
        "provenance": data.provenance,
        "simulated_raters": any(agreement.simulated for agreement in data.agreements),
        "times": views.stage_times(data),
        "command": data.command,
        "facts": {**data.versions, **data.fingerprints},
        "twins": (JSON_NAME, SUMMARY_NAME),
    }


def report_twin(data: ReportData) -> dict[str, Any]:
    """The page's content as JSON; pictures by case id and scores, without their pixels."""
    verdict = headline(data.summary)
    return {
        "title": data.title,
        "subtitle": data.subtitle,
        "created": data.created,
        "verdict": {"text": verdict.text, "tone": verdict.tone},
        "summary": _summary(data),
        "control_note": data.control_note,
        "metrics": list(data.metrics),
        "pictures": [_picture(picture) for picture in data.pictures],
        "shown": {title: [one.case_id for one in found] for title, found in select_pictures(data.pictures).items()},
        "agreements": [_agreement(agreement) for agreement in data.agreements],
        "provenance": [{"what": p.what, "simulated": p.simulated, "detail": p.detail} for p in data.provenance],
        "command": data.command,
        "versions": dict(data.versions),
        "fingerprints": dict(data.fingerprints),
        "notes": list(data.notes),
    }


def _summary(data: ReportData) -> dict[str, Any]:
    return dict(data.summary or {}) | {"seconds": data.stage_seconds()}


def _picture(picture: Picture) -> dict[str, Any]:
    row = {"case_id": picture.case_id, "task": picture.task, "instruction": picture.instruction}
    return row | {"oracle": picture.oracle, "scorer": picture.scorer}


def _agreement(agreement: Agreement) -> dict[str, Any]:
    row = {"title": agreement.title, "simulated": agreement.simulated, "report": dict(agreement.report)}
    return row | {"points": [list(point) for point in agreement.points]}


def json_text(value: Any) -> bytes:
    """ASCII JSON; NaN and infinity become null, lone surrogates are escaped."""
    text = json.dumps(_finite(value), indent=1, ensure_ascii=True, allow_nan=False)
    return (text + "\n").encode("ascii")


def _finite(value: Any) -> Any:
    """`value` with every number that is not finite as None."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
