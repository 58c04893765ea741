"""Cut-outs as objects: names, what is refused, exact targets, new colours."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hpedit.cases.recipe import SourceSection
from hpedit.cases.source_items import Skipped
from hpedit.cases.sources import open_source
from hpedit.errors import HPEditError
from hpedit.mini.drawing import OBJECT
from hpedit.mini.objects import HUES, LEAST_SATURATION, load_cutout, load_cutouts, name_of, turn_hue
from hpedit.mini.oracle import rms, score_edit
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import MIN_CHANGE, make_cases, make_scene, to_case
from hpedit.mini.world import World
from hpedit.records import Case
from hpedit.tasks import TASK_IDS

NAMES = ("apple", "red fox", "mug", "owl", "tent")


def disc(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (60, 60)) -> Path:
    """A disc on a transparent ground whose hidden colour is a glaring green."""
    picture = Image.new("RGBA", size, (0, 255, 0, 0))
    ImageDraw.Draw(picture).ellipse((10, 5, size[0] - 11, size[1] - 6), fill=(*color, 255))
    picture.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        disc(tmp_path / f"{name.replace(' ', '_')}.png", (200, 30 + 40 * number, 90))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A brown horse. It likes hay.\nde.utf8=Ein Pferd.", "brown horse"),
        ("An owl!", "owl"),
        ("The Eiffel tower in Paris", "Eiffel tower in Paris"),
        ("Horses.", "horses"),
        ("\N{BYTE ORDER MARK}A coin ($.25).", "coin ($.25)"),
        ("This is a long story about a horse. A horse.", "mr fox"),
        ("", "mr fox"),
        ("A horse {name}.", "mr fox"),
    ],
)
def test_the_text_beside_it_names_it_if_its_first_sentence_is_a_name(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "02_Mr-Fox.txt").write_text(text, encoding="utf-8")
    assert name_of(tmp_path / "02_Mr-Fox.png") == name


@pytest.mark.parametrize("text", [b"\xff\xfe", b"A {0} thing.", b"", "a \u202egod".encode(), b"A red\x07 fox.", b"..."])
def test_a_text_that_is_no_name_is_passed_over(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "red_fox.txt").write_bytes(text)
    assert name_of(tmp_path / "red_fox.png") == "red fox"


def test_its_file_names_it_where_there_is_no_text(tmp_path: Path) -> None:
    assert name_of(tmp_path / "red_fox-2.png") == "red fox"
    assert name_of(tmp_path / "007.png") == "object"


def test_it_is_cropped_and_scaled_without_a_rim_of_what_is_hidden(tmp_path: Path) -> None:
    cutout = load_cutout(disc(tmp_path / "a.png", (250, 0, 250), (200, 90)))
    assert cutout.pixels.shape == (OBJECT, OBJECT, 3)
    assert cutout.alpha.max() == pytest.approx(1, abs=0.01)
    rows, columns = np.nonzero(cutout.alpha > 0.02)
    assert np.ptp(columns) + 1 == OBJECT
    assert np.ptp(rows) + 1 < OBJECT
    visible = cutout.pixels[cutout.alpha > 0.05]
    np.testing.assert_allclose(visible, np.broadcast_to((250 / 255, 0, 250 / 255), visible.shape), atol=0.02)


def test_what_can_not_be_used_is_named(folder: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(folder / "photo.png")
    Image.new("RGBA", (40, 40), (255, 0, 0, 255)).save(folder / "full.png")
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(folder / "empty.png")
    disc(folder / "thread.png", (0, 0, 0), (400, 18))
    (folder / "torn.png").write_bytes((folder / "mug.png").read_bytes()[:60])
    kit, skipped = load_cutouts(folder)
    assert kit.kinds == tuple(sorted(NAMES))
    reasons = {path.name: reason for path, reason in skipped}
    assert set(reasons) == {"photo.png", "full.png", "empty.png", "thread.png", "torn.png"}
    assert "no transparent background" in reasons["photo.png"]
    assert "nothing of it is transparent" in reasons["full.png"]
    assert "all of it is transparent" in reasons["empty.png"]
    assert "too few to be seen" in reasons["thread.png"]


def test_too_few_different_ones_are_refused(tmp_path: Path) -> None:
    for number in range(6):
        disc(tmp_path / f"owl_{number}.png", (9, 9, 9))
    with pytest.raises(HPEditError, match="1 different cut-outs are too few"):
        load_cutouts(tmp_path)
    with pytest.raises(HPEditError, match="is not a folder"):
        load_cutouts(tmp_path / "none")


def test_palette_pictures_with_a_transparent_colour_count(tmp_path: Path) -> None:
    disc(tmp_path / "a.png", (200, 10, 10))
    with Image.open(tmp_path / "a.png") as opened:
        opened.quantize(16, method=Image.Quantize.FASTOCTREE).save(tmp_path / "b.png")
    assert load_cutout(tmp_path / "b.png").alpha.max() > 0.9


@pytest.mark.parametrize("hue", HUES.values())
def test_a_new_colour_is_a_hue_at_the_same_value(hue: float) -> None:
    pixels = np.random.default_rng(0).random((6, 6, 3), dtype=np.float32)
    turned = turn_hue(pixels, hue)
    for before, after in zip(pixels.reshape(-1, 3).tolist(), turned.reshape(-1, 3).tolist(), strict=True):
        _, saturation, value = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, max(saturation, LEAST_SATURATION), value), abs=1e-4)


@pytest.mark.parametrize("task", TASK_IDS)
def test_targets_are_exact_and_names_are_theirs(folder: Path, task: str) -> None:
    kit, _ = load_cutouts(folder)
    for index in range(4):
        scene = make_scene(task, embedded_tiles("train"), np.random.default_rng(index), kit)
        case = to_case(scene, "x")
        assert case.oracle is not None
        assert score_edit(case, case.oracle.target) == pytest.approx(5, abs=0.01)
        assert score_edit(case, case.source) < 0.05
        assert scene.category in NAMES
        assert rms(scene.source - scene.target, scene.region) > MIN_CHANGE
        assert " a apple" not in case.instruction
        assert "cut-outs" in case.licence
        if task == "color":
            assert any(scene.category in case.instruction and color in case.instruction for color in HUES)


def test_a_world_of_them_is_the_same_again_and_names_what_it_skips(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 40), "red").save(folder / "photo.png")
    first, again = (World(objects=folder).cases("bench", 1, 3) for _ in range(2))
    assert [case.group_key for case in first] == [case.group_key for case in again]
    assert "photo.png: it has no transparent background" in capsys.readouterr().err
    drawn = make_cases(embedded_tiles("bench"), 1, 3, "bench")
    assert [case.group_key for case in first] != [case.group_key for case in drawn]


def test_a_build_takes_them_as_a_source(folder: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(folder / "photo.png")
    source = open_source(SourceSection(mini="train", objects=str(folder), count=8), 0, folder)
    items = [item for chunk in source.chunks() for item in source.read(chunk)]
    cases = [item for item in items if isinstance(item, Case)]
    assert {case.category for case in cases} <= set(NAMES)
    assert len(cases) == 8
    assert [item.id for item in items if isinstance(item, Skipped)] == ["0/photo.png"]
    before = source.fingerprint()
    disc(folder / "mug.png", (1, 2, 3))
    assert open_source(SourceSection(mini="train", objects=str(folder), count=8), 0, folder).fingerprint() != before
