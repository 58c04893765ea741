"""Tables of rated edits with one good judge, as files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

Tables = tuple[Path, Path, Path]


def write_tables(folder: Path, first: int, last: int) -> Tables:
    """Tables of the edits of photos ``first`` to ``last``, three a photo, two raters."""
    rng = np.random.default_rng(0)
    edits, ratings, scores = [], [], []
    for number in range(180):
        truth, answer = rng.uniform(0, 5), rng.normal(0, 0.7)
        if not first <= number // 3 < last:
            continue
        edit = f"e{number:03}"
        edits.append({"edit_id": edit, "source_id": f"s{number // 3}", "task": ("color", "style")[number % 2]})
        ratings += [{"edit_id": edit, "rater": rater, "score": round(truth)} for rater in ("r1", "r2")]
        scores.append({"edit_id": edit, "judge": "good", "expected": min(5, max(0, truth + answer)), "spread": 0.5})
    folder.mkdir()
    files = []
    for name, rows in (("edits", edits), ("ratings", ratings), ("scores", scores)):
        files.append(folder / f"{name}.csv")
        with files[-1].open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return files[0], files[1], files[2]
