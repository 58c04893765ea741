"""The figures of an ablation and their tables: Markdown, CSV, LaTeX and JSON.

Cases of all seeds are pooled; intervals resample source photographs and so state the variation over photographs. The
gains of the single seeds show the variation over candidates and training noise.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpedit.bench.bench_folder import BenchFolder
from hpedit.experiments.ablate_cells import CHOICE, PLAIN, seed_folder
from hpedit.stats.bootstrap import Estimate
from hpedit.stats.cluster_mean import is_clear, mean_ci, paired_gain
from hpedit.stats.holm import holm
from hpedit.stats.intervals import GAIN, interval_text, number_text
from hpedit.store.atomic import atomic_write, dump_json, read_json

Array = NDArray[np.float64]

BASE = "base"
CELLS = ("raw+plain", "hard+plain", "raw+calibrated", "hard+calibrated")
INSTRUMENTS = ("oracle", "calibrated", "plain")
PAPER: Mapping[str, float] = {"raw+plain": 4.391, BASE: 4.472, "hard+plain": 4.577, "hard+calibrated": 4.667}
"""HP-Score of the ablation of arXiv 2604.19406, worst first; it has no raw+calibrated."""
CONTRASTS: Mapping[str, tuple[str, str]] = {
    "hard for raw, plain scorer": ("raw+plain", "hard+plain"),
    "hard for raw, calibrated scorer": ("raw+calibrated", "hard+calibrated"),
    "calibrated for plain, raw cases": ("raw+plain", "raw+calibrated"),
    "calibrated for plain, hard cases": ("hard+plain", "hard+calibrated"),
}
"""Words -> the cell before and the cell after one thing is exchanged."""
COLUMNS = ("cell", "oracle", "gain", "gain of each seed", "calibrated scorer", "gain", "plain scorer", "gain")
EXCHANGED = ("exchanged", "oracle", "oracle of each seed", "calibrated scorer", "plain scorer")
FILES = ("ablate.md", "ablate.csv", "ablate.tex", "ablate.json")


def ablation_figures(out: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """All figures of a finished ablation.

    Returns:
        "cells": base and the four, each with mean and gain over the base by each instrument, and the oracle's gain of
        each seed. "contrasts": differences of two cells that differ in one thing, and the oracle's of each seed.
        "paper": whether the order is the paper's. "choices": the cases of each seed. Means and differences are
        {"mean", "ci95"}.
    """
    values, sources = _read(out, seeds)
    return {
        "seeds": list(seeds),
        "n": len(sources),
        "sources": len(set(sources)),
        "cells": {cell: _cell(values, cell, sources, seeds) for cell in (BASE, *CELLS)},
        "contrasts": {
            words: {
                **{name: _difference(values, name, *pair, sources).as_dict("mean") for name in INSTRUMENTS},
                "seed_gains": _seed_gains(values, *pair, seeds),
            }
            for words, pair in CONTRASTS.items()
        },
        "paper": {name: _order(values, name, sources) for name in INSTRUMENTS},
        "choices": {str(seed): _choice(out, seed) for seed in seeds},
    }


Values = Mapping[tuple[str, str], Array]
"""(cell, instrument) -> (n,) scores in one order of cases for all, seed after seed; NaN = unscorable."""


def _read(out: Path, seeds: Sequence[int]) -> tuple[Values, list[str]]:
    """The values, and the source photograph of each case."""
    columns: dict[tuple[str, str], list[float]] = {(c, i): [] for c in (BASE, *CELLS) for i in INSTRUMENTS}
    sources: list[str] = []
    for seed in seeds:
        order: list[str] = []
        for cell in (BASE, *CELLS):
            folder = seed_folder(out, seed) / cell
            rows = {row.case_id: row for row in BenchFolder.open(folder / "bench").rows()}
            if cell == BASE:
                order = sorted(rows)
                sources += [rows[name].source_id for name in order]
            plain = read_json(folder / PLAIN)
            columns[cell, "oracle"] += [_number(rows[name].oracle) for name in order]
            columns[cell, "calibrated"] += [_number(rows[name].score) for name in order]
            columns[cell, "plain"] += [_number(plain[name]) for name in order]
    return {key: np.array(column, dtype=np.float64) for key, column in columns.items()}, sources


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _cell(values: Values, cell: str, sources: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: {
            **mean_ci(values[cell, name], sources).as_dict("mean"),
            "gain": None if cell == BASE else _difference(values, name, BASE, cell, sources).as_dict("mean"),
        }
        for name in INSTRUMENTS
    }
    found["seed_gains"] = {} if cell == BASE else _seed_gains(values, BASE, cell, seeds)
    return found


def _seed_gains(values: Values, before: str, after: str, seeds: Sequence[int]) -> dict[str, float]:
    """Mean difference of each seed, by the oracle."""
    gains = (values[after, "oracle"] - values[before, "oracle"]).reshape(len(seeds), -1).mean(axis=1)
    return dict(zip(map(str, seeds), gains.tolist(), strict=True))


def _difference(values: Values, name: str, before: str, after: str, sources: Sequence[str]) -> Estimate:
    return paired_gain(values[before, name], values[after, name], sources)


def _order(values: Values, name: str, sources: Sequence[str]) -> dict[str, Any]:
    """Whether one instrument ranks the paper's four in the paper's order, with an interval of each step."""
    order = list(PAPER)
    found_steps = {
        f"{before} < {after}": _difference(values, name, before, after, sources) for before, after in pairwise(order)
    }
    corrected = holm({words: None if math.isnan(step.p) else step.p for words, step in found_steps.items()})
    steps = {
        words: {**step.as_dict("mean"), "clear": step.value > 0 and is_clear(step, corrected[words])}
        for words, step in found_steps.items()
    }
    found = sorted((BASE, *CELLS), key=lambda cell: float(np.nanmean(values[cell, name])))
    return {
        "order": found,
        "as_in_paper": [cell for cell in found if cell in PAPER] == order,
        "clear": all(step["clear"] for step in steps.values()),
        "steps": steps,
    }


def _choice(out: Path, seed: int) -> dict[str, Any]:
    """How many cases were chosen of how many, and their mean scores and deviations."""
    choice = read_json(seed_folder(out, seed) / "pool" / CHOICE)
    kept = {name: len(choice[name]) for name in ("raw", "hard")}
    names = ("pool", "informative", "drop_solved", "described", "in_both")
    return {"chosen": kept} | {name: choice[name] for name in names}


def ablation_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table below COLUMNS, base first, as text."""
    rows: list[tuple[str, ...]] = []
    for cell, block in figures["cells"].items():
        oracle, calibrated, plain = (
            (interval_text(block[name]), "" if cell == BASE else interval_text(block[name]["gain"], GAIN))
            for name in INSTRUMENTS
        )
        rows.append((cell, *oracle, _seeds_text(block, 2), *calibrated, *plain))
    return rows


def contrast_rows(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table below EXCHANGED, as text; differences of differences are small, hence three decimals."""
    rows: list[tuple[str, ...]] = []
    for words, block in figures["contrasts"].items():
        oracle, *scorers = (interval_text(block[name], GAIN, 3) for name in INSTRUMENTS)
        rows.append((words, oracle, _seeds_text(block, 3), *scorers))
    return rows


def _seeds_text(block: Mapping[str, Any], digits: int) -> str:
    return " ".join(number_text(gain, GAIN, digits) for gain in block["seed_gains"].values())


def write_ablation_tables(out: Path, figures: Mapping[str, Any]) -> None:
    """Write ablate.md, ablate.csv, ablate.tex and ablate.json."""
    rows, contrasts = ablation_rows(figures), contrast_rows(figures)
    note = (
        f"Means over {figures['n']} held-out cases of {figures['sources']} photo crops and {len(figures['seeds'])} "
        "seeds, 0 to 5; 95 % intervals over photo crops. Gains are over the base, paired by case."
    )
    markdown = "\n".join((*_markdown(COLUMNS, rows), "", note, "", *_markdown(EXCHANGED, contrasts), ""))
    latex = "\n".join((*_latex(COLUMNS, rows), "", *_latex(EXCHANGED, contrasts), ""))
    texts = (markdown, _csv([COLUMNS, *rows, (), EXCHANGED, *contrasts]), latex, dump_json(dict(figures)))
    for name, text in zip(FILES, texts, strict=True):
        atomic_write(out / name, text)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _csv(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [" & ".join(cells) + r" \\" for cells in rows]
    columns = "l" + "r" * (len(head) - 1)
    return [
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule", *lines,
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
