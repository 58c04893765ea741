"""Image sizes: what follows what by default, and what is refused."""

import pytest
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
from PIL import Image

from hpedit.editors.flux_kontext import kontext_size
from hpedit.editors.sizes import ImageAreas, dimensions
from hpedit.errors import HPEditError


def test_trap_8_sources_follow_the_outputs_resolution_not_1024(tmp_path):
    assert ImageAreas.of(tmp_path, None) == ImageAreas(512, 384 * 384, 512 * 512)
    assert ImageAreas.of(tmp_path, 768) == ImageAreas(768, 384 * 384, 768 * 768)


def test_what_the_folder_says_holds_at_its_own_resolution(tmp_path):
    (tmp_path / "hpedit.json").write_text('{"resolution": 32, "condition_area": 1024, "source_area": 4096}')
    assert ImageAreas.of(tmp_path, None) == ImageAreas.of(tmp_path, 32) == ImageAreas(32, 1024, 4096)
    assert ImageAreas.of(tmp_path, 64) == ImageAreas(64, 1024, 4096)


def test_areas_that_are_asked_for_stand_alone(tmp_path):
    assert ImageAreas.of(tmp_path, 512, 1024 * 1024) == ImageAreas(512, 384 * 384, 1024 * 1024)
    assert ImageAreas.of(tmp_path, 512, None, 224 * 224) == ImageAreas(512, 224 * 224, 512 * 512)


def test_the_condition_follows_the_source_or_is_nothing_where_the_family_has_it_so(tmp_path):
    assert ImageAreas.of(tmp_path, 512, usual_condition=None) == ImageAreas(512, 512 * 512, 512 * 512)
    assert ImageAreas.of(tmp_path, 512, 64 * 64, usual_condition=None) == ImageAreas(512, 64 * 64, 64 * 64)
    assert ImageAreas.of(tmp_path, 512, usual_condition=0).condition_area == 0


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((500, None, None), "resolution of 500"),
        ((8192, None, None), "resolution of 8192"),
        ((512, 512, None), "source_area of 512"),
        ((512, None, 10**9), "condition_area of 1000000000"),
        ((512, -1, None), "source_area of -1"),
    ],
)
def test_a_size_that_no_model_works_at_is_one_clear_error(tmp_path, sizes, told):
    with pytest.raises(HPEditError, match=told):
        ImageAreas.of(tmp_path, *sizes)


@pytest.mark.parametrize("size", PREFERRED_KONTEXT_RESOLUTIONS)
def test_kontexts_sizes_at_1024_px_are_its_preferred_resolutions(size):
    assert kontext_size(1024 * 1024, Image.new("RGB", size), 16) == size
    width, height = kontext_size(512 * 512, Image.new("RGB", size), 16)
    assert width % 16 == height % 16 == 0
    assert width * height == pytest.approx(512 * 512, rel=0.05)
    assert width / height == pytest.approx(size[0] / size[1], rel=0.05)


def test_a_picture_too_narrow_is_refused():
    assert dimensions(1024, Image.new("RGB", (800, 100)))
    for picture in ((801, 100), (100, 801)):
        with pytest.raises(HPEditError, match="too narrow"):
            dimensions(1024, Image.new("RGB", picture))
    with pytest.raises(HPEditError, match="too narrow"):
        kontext_size(1024, Image.new("RGB", (280, 100)), 16)
