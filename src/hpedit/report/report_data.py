"""The data of the demo's report. Absent parts are optional; the page then says "not measured"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image


@dataclass(frozen=True, slots=True)
class Picture:
    """One benchmark case as the page shows it: source | before | after, and the exact target where it is known."""

    case_id: str
    task: str
    instruction: str
    source: Image.Image
    base: Image.Image
    post: Image.Image
    target: Image.Image | None = None
    """The exact right edit; known in the mini world only."""
    oracle: tuple[float, float] | None = None
    """Oracle before and after, 0-5."""
    scorer: tuple[float | None, float | None] | None = None
    """HP-Scorer before and after, 0-5; None = unscorable."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of scores with raters on ratings that the calibration never saw."""

    title: str
    report: Mapping[str, Any]
    """As `hpedit.scorer.evaluation.human_agreement.agreement_report` returns it."""
    points: Sequence[tuple[float, float]] = ()
    """(mean human rating, score), both 0-5, one an edit."""
    simulated: bool = False
    """Whether the raters were simulated; then the page labels every figure so."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """One line of "what was simulated and what was real"."""

    what: str
    simulated: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that a report can show. An absent part is None or empty, never a placeholder."""

    title: str = "HP-Edit report"
    subtitle: str = ""
    created: str = ""
    """Time of the run as text; left to the caller so that equal inputs give equal bytes."""
    summary: Mapping[str, Any] | None = None
    """As `hpedit.bench.before_after.before_after_summary` returns it."""
    pictures: Sequence[Picture] = ()
    metrics: Sequence[Mapping[str, Any]] = ()
    """Records of the training run's metrics.jsonl, in order."""
    agreements: Sequence[Agreement] = ()
    provenance: Sequence[Provenance] = ()
    seconds: Mapping[str, float] | None = None
    """Seconds per stage, in place of the summary's: a benchmark's own times are part of a longer run's."""
    command: str | None = None
    """Command that reproduces the report."""
    control_note: str = ""
    """What the control arm was, e.g. its number of supervised steps."""
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    """Warnings and remarks shown under the headline."""

    def stage_seconds(self) -> dict[str, float]:
        """Seconds per stage, from here or else from the summary."""
        return dict(self.seconds or (self.summary or {}).get("seconds") or {})
