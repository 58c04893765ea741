"""Planted faults move the measure that is meant for them."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from tests.report.sample import crops

from hpedit.bench.pixel_measures import MEASURES, PIXEL_MEASURES, measure_edit, measure_pixels, measure_source


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


def shifted(image, by):
    """The picture moved down and right, its border repeated."""
    pixels = np.pad(np.asarray(image), ((by, 0), (by, 0), (0, 0)), "edge")
    return Image.fromarray(pixels[: image.height, : image.width])


def zoomed(image, by):
    """The picture `by` pixels wider, cut to its size."""
    width, height = image.size
    larger = image.resize((width + by, height + by), Image.Resampling.BICUBIC)
    return larger.crop((by // 2, by // 2, by // 2 + width, by // 2 + height))


def displaced(edits, sources):
    found = [measure_edit(edit, source)["displacement"] for edit, source in zip(edits, sources, strict=True)]
    return float(np.mean([one for one in found if one is not None]))


@pytest.mark.parametrize(("size", "by"), [(32, 2), (32, 3), (128, 2), (128, 8)])
def test_a_shift_is_measured_in_pixels_whatever_the_colours_became(size, by):
    photos = crops(12, size)
    edits = [ImageEnhance.Color(ImageEnhance.Brightness(shifted(one, by)).enhance(0.7)).enhance(1.5) for one in photos]
    assert displaced(edits, photos) == pytest.approx(by * 2**0.5, rel=0.15)


@pytest.mark.parametrize(("size", "by"), [(32, 4), (32, 8), (128, 4), (128, 8)])
def test_a_zoom_moves_the_tiles_outward(size, by):
    photos = crops(12, size)
    assert displaced([zoomed(one, by) for one in photos], photos) > 0.2 * by


def test_what_was_changed_on_purpose_is_no_displacement():
    photos = crops(12, 64)
    edits = []
    for image in photos:
        pixels = np.asarray(image).copy()
        pixels[4:36, 20:56] = np.random.default_rng(0).integers(0, 255, 3)
        edits.append(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.6)))
    assert displaced(edits, photos) < 0.2


def test_an_untouched_source_is_not_displaced_and_a_flat_or_other_picture_is_unknown(photos):
    assert displaced(photos, photos) == pytest.approx(0, abs=1e-6)
    flat = Image.new("RGB", (32, 32), "red")
    assert measure_edit(flat, photos[0])["displacement"] is None
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    assert measure_edit(noise, photos[0])["displacement"] is None
    assert set(measure_source(flat)) == set(measure_edit(flat, flat)) == set(PIXEL_MEASURES)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 5), (9, 300)])
def test_a_tiny_edit_of_another_size_than_its_source_is_measured(size, photos):
    found = measure_edit(Image.new("RGB", size, "white"), photos[0])
    assert 0 <= found["closeness"] <= 1
    assert found["displacement"] is None
