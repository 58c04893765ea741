"""No bit that flips in a run's files changes a result silently."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from tests.flip_bits import flip_all
from tests.ratings.test_row_sums import answered

from hpedit.records import Case, Edit, Score
from hpedit.store.atomic import append_jsonl
from hpedit.store.checkpoint import save_checkpoint
from hpedit.store.images import png_bytes
from hpedit.store.run_folder import RunFolder
from hpedit.store.tables import write_cases, write_edits, write_scores
from hpedit.store.tensors import write_tensors


def finished_run(folder: Path) -> Path:
    """One file of every kind that a run leaves, written as a run writes them."""
    picture = Image.effect_mandelbrot((32, 24), (-2, -1, 1, 1), 20).convert("RGB")
    with RunFolder.open(folder, "train", {"seed": 3, "rate": 0.25}) as run:
        for step in range(1, 6):
            run.metrics({"step": step, "reward": step / 7})
        for name in ("best", "conditioning", "held_out", "grids"):
            (folder / name).mkdir()
        write_tensors(folder / "best" / "step_000005.safetensors", {"a": torch.randn(8, 4)})
        write_tensors(folder / "conditioning" / "c.safetensors", {"embeds": torch.randn(1, 3, 4)})
        append_jsonl(folder / "held_out" / "evaluations.jsonl", {"step": 5, "scores": {"scorer": [1.5, None]}})
        (folder / "grids" / "iteration_000005.png").write_bytes(png_bytes(picture))
        save_checkpoint(folder / "checkpoints", 5, {"lora": {"a": torch.randn(4, 4)}}, {"cursor": 4})
        write_cases(folder / "cases.parquet", [Case("c", "color", "make it red", (picture,), "p")])
        write_edits(folder / "edits.parquet", [Edit("e", "c", "model", 1, picture)])
        write_scores(folder / "scores.parquet", [Score("e", "scorer", 3.25)])
        answered(folder / "ratings.sqlite", 10)
        run.finish({"gain": 0.5, "interval": [0.25, 0.75]})
    return folder


def test_no_flipped_bit_of_a_finished_run_is_read_silently(tmp_path: Path) -> None:
    counts, silent = flip_all(finished_run(tmp_path / "run"), flips=40)
    assert silent == []
    assert counts["refused"] > 300
