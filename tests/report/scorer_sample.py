"""An agreement report and a learning curve for pages and tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpedit.scorer.evaluation.human_agreement import agreement_report

RNG = np.random.default_rng(6)
N = 96
TRUTH = RNG.uniform(0, 5, N)
RATINGS = np.clip(np.round(TRUTH[:, None] + RNG.normal(0, 0.6, (N, 3))), 0, 5)


def make_report(tasks: int = 2, **changes: Any) -> dict[str, Any]:
    names = ("addition", "removal", "swap", "background", "color", "bokeh", "relighting", "<b>own</b>")
    found = agreement_report(
        np.clip(TRUTH + RNG.normal(0, 0.5, N), 0, 5),
        np.round(TRUTH),
        RATINGS,
        [f"s{row // 4}" for row in range(N)],
        [names[-1 - row // 2 % tasks] for row in range(N)],
        deviation=np.full(N, 0.5),
    )
    return found | changes


def estimate(value: float | None) -> dict[str, Any]:
    return {"value": value, "ci95": [None, None] if value is None else [value - 0.1, value + 0.1]}


def make_curve() -> dict[str, Any]:
    measures = ("pearson", "spearman", "kendall", "pairwise_accuracy", "mae")
    nothing = dict.fromkeys(measures)
    some = {name: {"mean": 0.6, "low": 0.5, "high": 0.7, "fits": 3} for name in measures}
    point = {"edits": 50, "short": {}, "tasks": {}, "unscorable": 0}
    return {
        "judge": "gpt4o",
        "points": [
            point | nothing | {"number": 10, "fits": 0, "ok": 0, "failed": 3, "reason": "too few <to fit>"},
            point | some | {"number": 25, "fits": 3, "ok": 2, "failed": 0, "reason": "", "short": {"color": 20}},
            point | some | {"number": 100, "fits": 3, "ok": 3, "failed": 0, "reason": ""},
        ],
        "raw": {name: estimate(0.55) for name in measures},
        "human": {name: estimate(None) for name in measures},
        "fitting": {"edits": 60, "sources": 20, "tasks": {}},
        "held_out": {"edits": 40, "sources": 10, "tasks": {}},
        "draws": 3,
        "seed": 0,
    }
