"""Items per second of each stage of `hpedit cases build`, in process and on Ray, and how memory grows with the photos.

    python benchmarks/cases_build.py --write                      # and keep the figures in benchmarks/baselines/
    python benchmarks/cases_build.py --scorer runs/demo/scorer    # with scores too
    python benchmarks/cases_build.py --sizes 1000                 # in a minute

Each build is a process of its own, so that its peak of resident memory is its own: photographs of SIDE px in a parquet
file, all different, with templates as instructions. A smaller build edits mini scenes. A stage's speed is that of its
work alone; starting workers and loading models count, as they do for whoever waits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hpedit.store.atomic import atomic_write, dump_json, read_jsonl
from hpedit.store.images import png_bytes

BASELINE = Path(__file__).parent / "baselines" / "cases_build.json"
SIDE = 24
SIZES = (10_000, 100_000)
RAY_SIZE = 10_000
SCENES = 128
ROWS = 1000
"""Photographs of a row group."""


def photographs(path: Path, count: int) -> None:
    """Coarse noise, some 1 kB each, in one parquet file."""
    rng = np.random.default_rng(0)
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])

    def pictures(number: int) -> Iterator[dict[str, Any]]:
        for _ in range(number):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            yield {"image": {"bytes": png_bytes(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)), "path": None}}

    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, ROWS):
            writer.write_table(pa.Table.from_pylist(list(pictures(min(ROWS, count - start))), schema=schema))


def build(out: Path, recipe: dict[str, Any], engine: str) -> dict[str, Any]:
    """Run one build as a process; its seconds, peak of memory, and speed by stage."""
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps(recipe | {"output": str(out)}))
    command = [sys.executable, "-m", "hpedit", "cases", "build", str(file), "--engine", engine]
    command += ["--workers", "2"] if engine == "ray" else []
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = child.stderr.read().decode()
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(said)
    records = read_jsonl(out / "metrics.jsonl")
    return {
        "engine": engine,
        "seconds": round(time.monotonic() - began, 1),
        "peak_mb": round(used.ru_maxrss / 1024),
        "items_per_second": {r["map"]: round(r["items"] / r["seconds"], 1) for r in records if "map" in r},
        "seconds_by_stage": {r["stage"]: round(r["seconds"], 1) for r in records if "stage" in r},
    }


def measure(sizes: tuple[int, ...], scorer: Path | None, folder: Path) -> dict[str, Any]:
    """All builds, one after the other."""
    found: dict[str, Any] = {"photographs": {}, "scenes": {}}
    for size in sizes:
        photographs(folder / f"{size}.parquet", size)
        recipe = {"sources": [{"parquet": str(folder / f"{size}.parquet")}]}
        for engine in ("local", "ray") if size == min(*sizes, RAY_SIZE) else ("local",):
            row = build(folder / f"{size}-{engine}", recipe, engine)
            found["photographs"][f"{size} {engine}"] = row
            show(f"{size} photographs", row)
    edits = {"sources": [{"mini": "train", "count": SCENES}], "edits": {"editor": "mini", "per_case": 2}}
    if scorer:
        edits["filter"] = {"by": "informative", "scorer": str(scorer.resolve())}
    for engine in ("local", "ray"):
        row = build(folder / f"scenes-{engine}", edits, engine)
        found["scenes"][f"{SCENES} {engine}"] = row
        show(f"{SCENES} scenes", row)
    return found


def show(what: str, row: dict[str, Any]) -> None:
    """One build as lines."""
    print(f"{what}, {row['engine']}: {row['seconds']} s, peak {row['peak_mb']} MB")
    for name, speed in row["items_per_second"].items():
        print(f"  {name:<14} {speed:>9} a second")
    decided = {name: row["seconds_by_stage"][name] for name in ("2-unique", "5-balance", "7-filter")}
    print(f"  {', '.join(f'{name} {seconds} s' for name, seconds in decided.items())}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the figures as the baseline")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="photographs of each build")
    parser.add_argument("--scorer", type=Path, help="folder of a fitted scorer, to score the edits too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(tuple(asked.sizes), asked.scorer, Path(folder))
    if asked.write:
        machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "side_px": SIDE, "ray_workers": 2}
        atomic_write(BASELINE, dump_json({"machine": machine, **found}))


if __name__ == "__main__":
    main()
