"""Planted faults move the measure that is meant for them."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from tests.report.sample import crops

from hpedit.bench.pixel_measures import MEASURES, measure_pixels


def with_grid(image, pitch, strength=24):
    pixels = np.asarray(image, dtype=int).copy()
    pixels[::pitch] += strength
    pixels[:, ::pitch] += strength
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def mean_of(name, images):
    return float(np.mean([measure_pixels(image)[name] for image in images]))


@pytest.fixture(scope="module")
def photos():
    return crops(24, 32)


@pytest.mark.parametrize(("pitch", "size"), [(8, 32), (8, 64), (16, 256)])
def test_a_grid_at_the_token_pitch_raises_grid_energy(pitch, size):
    images = crops(8, size)
    gridded = [with_grid(image, pitch) for image in images]
    assert mean_of("grid_energy", gridded) > 1.3 * mean_of("grid_energy", images)


def test_blur_lowers_and_noise_raises_sharpness(photos):
    rng = np.random.default_rng(0)
    noisy = [
        Image.fromarray(np.clip(np.asarray(image) + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(np.uint8))
        for image in photos
    ]
    blurred = [image.filter(ImageFilter.GaussianBlur(1)) for image in photos]
    assert mean_of("sharpness", blurred) < 0.7 * mean_of("sharpness", photos)
    assert mean_of("sharpness", noisy) > 1.3 * mean_of("sharpness", photos)


def test_glare_raises_saturation_and_grey_has_none(photos):
    assert mean_of("saturation", [ImageEnhance.Color(image).enhance(1.8) for image in photos]) > 1.2 * mean_of(
        "saturation", photos
    )
    assert mean_of("saturation", [image.convert("L").convert("RGB") for image in photos]) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5), (9, 300)])
@pytest.mark.parametrize("colour", ["black", "white", "red"])
def test_flat_and_tiny_pictures_have_finite_measures(size, colour):
    values = measure_pixels(Image.new("RGB", size, colour))
    assert set(values) == set(MEASURES)
    assert values["sharpness"] == pytest.approx(0, abs=1e-12)
    assert values["grid_energy"] == 0
    assert all(np.isfinite(list(values.values())))
