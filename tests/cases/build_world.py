"""What tests of builds share: photographs that differ, a recipe of them, and a scorer that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hpedit.cases.recipe import CasesRecipe
from hpedit.records import Case, Score


def photograph(seed: int, side: int = 48) -> Image.Image:
    """Coarse noise: any two look different."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )


def photographs(folder: Path, count: int) -> Path:
    """A folder of `count` photographs, in folders of ten."""
    for number in range(count):
        place = folder / f"{number // 10:02d}"
        place.mkdir(parents=True, exist_ok=True)
        photograph(number).save(place / f"{number:04d}.png")
    return folder


def recipe(out: Path, sources: Sequence[dict[str, Any]], **sections: Any) -> CasesRecipe:
    """A recipe as a file would give it."""
    return CasesRecipe.model_validate({"output": str(out), "sources": tuple(sources), **sections})


def contents(folder: Path, *without: str) -> dict[str, bytes]:
    """Every file below a folder by its name."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found
    return {name: data for name, data in found.items() if name not in without}


class Brightness:
    """Scores the mean brightness of an edit, 0 to 4, and every style 5; a case whose id ends in 0001 not at all."""

    fingerprint = "brightness"

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        ids = edit_ids or [case.id for case in cases]
        return [
            Score(name, "brightness", None, reason="odd")
            if case.id.endswith("0001")
            else Score(name, "brightness", 5.0 if case.task == "style" else float(np.asarray(image).mean() / 255 * 4))
            for name, case, image in zip(ids, cases, images, strict=True)
        ]
