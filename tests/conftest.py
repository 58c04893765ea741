"""Fixtures shared by tests of several folders: a real pipeline with random weights, and pictures to edit."""

import numpy as np
import pytest
from PIL import Image

from hpedit.records import Case


def picture(width=32, height=32, seed=0):
    """Smooth colour noise, RGB."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def make_picture():
    return picture


@pytest.fixture
def make_case():
    def make(name="case", instruction="make it red", sizes=((32, 32),), seed=0):
        sources = tuple(picture(w, h, seed + i) for i, (w, h) in enumerate(sizes))
        return Case(name, "color", instruction, sources, source_id=f"photo-{seed}")

    return make


def new_tiny_editor():
    """An editor of the miniature's architecture with random weights."""
    from hpedit.editors.load import wrap_pipeline
    from hpedit.editors.sizes import ImageAreas
    from hpedit.mini.architecture import build_pipeline

    return wrap_pipeline(build_pipeline(0), ImageAreas(32, 32 * 32, 32 * 32), fingerprint="tiny")


@pytest.fixture
def tiny_editor():
    """A new tiny editor for every test."""
    return new_tiny_editor()
