"""Flip bits in every file of a finished run, and read it again: no altered file may pass for the old one.

    python tests/flip_bits.py RUN [FLIPS]

Each file is read as the program reads it. A flip counts as silent if the reading succeeds and gives something else.
What is written for people alone (HTML, logs, TensorBoard's events) is never read again, and is counted as such.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from hpedit.editors.lora import WEIGHTS_NAME
from hpedit.editors.lora_files import read_lora
from hpedit.errors import HPEditError
from hpedit.ratings.store import RatingStore
from hpedit.store.atomic import read_json, read_jsonl
from hpedit.store.checkpoint import load_latest
from hpedit.store.images import load_image
from hpedit.store.parquet import open_parquet
from hpedit.store.tensors import read_tensors

REFUSED = (HPEditError, pa.ArrowException, OSError, UnicodeDecodeError)


def parquet_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a table."""
    with open_parquet(path) as file:
        rows: list[dict[str, Any]] = file.read().to_pylist()
        return rows


def store_content(path: Path) -> tuple[Any, ...]:
    """Answers, raters and items of a ratings store."""
    with RatingStore.open(path) as store:
        return store.answers(include_superseded=True), store.raters(), store.items()


def tensor_values(tensors: Any) -> dict[str, Any]:
    """Tensors as bytes, which compare exactly."""
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def lora_content(path: Path) -> tuple[Any, ...]:
    """Weights, configuration and base of a LoRA."""
    found = read_lora(path)
    return tensor_values(found.tensors), found.config, found.base


def checkpoint_content(path: Path) -> Any:
    """The checkpoint in whose folder a file lies, None if it is passed over."""
    found = load_latest(path.parent.parent)
    return found and (found.step, found.state, {name: tensor_values(one) for name, one in found.tensors.items()})


def reader_of(path: Path) -> Callable[[Path], Any] | None:
    """How the program reads a file of a run; None for what it never reads."""
    if "checkpoints" in path.parts:
        return checkpoint_content
    if path.name == WEIGHTS_NAME:
        return lora_content
    kinds: dict[str, Callable[[Path], Any]] = {
        ".json": read_json, ".jsonl": read_jsonl, ".parquet": parquet_rows, ".sqlite": store_content,
        ".png": lambda file: load_image(file).tobytes(), ".safetensors": lambda file: tensor_values(read_tensors(file)),
    }  # fmt: skip
    return kinds.get(path.suffix)


def same(found: Any, before: Any) -> bool:
    """Whether a reading gives what it gave before; a key that was none before, the seal's own name, does not count."""
    if isinstance(found, dict) and isinstance(before, dict):
        return before == {key: value for key, value in found.items() if key in before}
    if isinstance(found, list) and isinstance(before, list):
        # A line without its end is a kill's: it is dropped with a warning.
        return (
            all(same(one, other) for one, other in zip(found, before, strict=False)) and len(found) >= len(before) - 1
        )
    return bool(found == before)


def flip_all(run: Path, flips: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Flip one to eight bits `flips` times in each file: counts by outcome, and each silent change."""
    draw, counts, silent = random.Random(seed), Counter[str](), []
    for path in sorted(file for file in run.rglob("*") if file.is_file()):
        reader = reader_of(path.relative_to(run))
        if reader is None or not path.stat().st_size:
            counts["file never read"] += 1
            continue
        whole, before = path.read_bytes(), reader(path)
        try:
            for _ in range(flips):
                altered = bytearray(whole)
                places = [draw.randrange(8 * len(whole)) for _ in range(draw.randint(1, 8))]
                for place in places:
                    altered[place // 8] ^= 1 << place % 8
                path.write_bytes(altered)
                try:
                    found = reader(path)
                except REFUSED:
                    counts["refused"] += 1
                    continue
                if found is None or same(found, before):
                    counts["read as before, or passed over"] += 1
                else:
                    silent.append(f"{path.relative_to(run)}: bits {places}")
        finally:
            path.write_bytes(whole)
    return counts, silent


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(sys.argv[1], copy, dirs_exist_ok=True)
        outcomes, changed = flip_all(Path(copy), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    for line in changed:
        sys.stdout.write(f"SILENT {line}\n")
    sys.stdout.write(f"{dict(outcomes)}, {len(changed)} silent\n")
