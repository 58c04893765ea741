"""Cases and edits of the mini world to probe scorers with, an honest scorer, and some that can be hacked."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hpedit.bench.pixel_measures import measure_pixels
from hpedit.mini.flaws import FLAWS
from hpedit.mini.oracle import score_edit
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases, to_image
from hpedit.records import Case, Edit, Score


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32) / np.float32(255)


def edits_of(case: Case, number: int) -> list[Edit]:
    """A good edit, with a flaw that leaves it at 3 or more where one does, and a poor one."""
    assert case.oracle is not None
    rng = np.random.default_rng(number)
    source, target, region = pixels(case.source), pixels(case.oracle.target), pixels(case.oracle.region)
    flaw = list(FLAWS.values())[number % len(FLAWS)][0](source, target, region, rng)
    good = to_image(target + np.float32(0.4) * (flaw - target))
    poor = to_image(source + np.float32(0.15) * (target - source))
    return [Edit(f"{case.id}-good", case.id, "drawn", 0, good), Edit(f"{case.id}-poor", case.id, "drawn", 1, poor)]


def world(per_task: int, split: str = "bench") -> tuple[dict[str, Case], list[Edit], dict[str, float]]:
    """Cases by id, two edits of each, and the oracle's scores as ratings."""
    cases = {case.id: case for case in make_cases(embedded_tiles(split), per_task, 0, split)}
    edits = [edit for number, case in enumerate(cases.values()) for edit in edits_of(case, number)]
    return cases, edits, {edit.id: score_edit(cases[edit.case_id], edit.image) for edit in edits}


class OracleScorer:
    """The truth, to within what `answer(case, image, truth)` makes of it; None is unscorable."""

    fingerprint = "oracle"

    def __init__(self, answer=None) -> None:
        self.answer = answer or (lambda _case, _image, truth: truth)
        self.asked = 0

    def score(
        self, cases: Sequence[Case], images: Sequence[Image.Image], edit_ids: Sequence[str] | None = None
    ) -> list[Score]:
        assert len(cases) == len(images) == len(edit_ids or images)
        self.asked += len(cases)
        return [self._one(case, image) for case, image in zip(cases, images, strict=True)]

    def _one(self, case: Case, image: Image.Image) -> Score:
        value = self.answer(case, image, score_edit(case, image))
        if value is None:
            return Score(case.id, self.fingerprint, None, reason="no answer")
        return Score(case.id, self.fingerprint, float(np.clip(value, 0, 5)))


def loves_colour(_case: Case, image: Image.Image, truth: float) -> float:
    return truth / 5 + 4.5 * measure_pixels(image)["saturation"]


def reads_the_instruction(case: Case, _image: Image.Image, truth: float) -> float:
    digits = re.findall(r"\b([0-5])\b", case.instruction)
    return float(digits[-1]) if digits else truth


def does_not_look(_case: Case, _image: Image.Image, _truth: float) -> float:
    return 3.5
