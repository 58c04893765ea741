"""Records refuse what cannot be, where it arises."""

import math

import pytest
from PIL import Image

from hpedit.errors import HPEditError
from hpedit.records import Case, Edit, OracleKey, Rating, Score


def picture(colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


def case(**changes: object) -> Case:
    values: dict[str, object] = {
        "id": "c1",
        "task": "color",
        "instruction": "make it red",
        "sources": (picture(),),
        "source_id": "photo-1",
    }
    return Case(**(values | changes))  # type: ignore[arg-type]


def test_two_photos_with_the_same_words_are_two_groups() -> None:
    assert case().group_key == case(id="c2").group_key
    assert case().group_key != case(sources=(picture((9, 9, 9)),)).group_key
    assert case().group_key != case(instruction="make it blue").group_key


def test_the_group_depends_on_the_shape_of_a_picture_too() -> None:
    wide, tall = picture(size=(16, 4)), picture(size=(4, 16))
    assert case(sources=(wide,)).group_key != case(sources=(tall,)).group_key


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": " "}, "case id"),
        ({"instruction": ""}, "instruction of case c1"),
        ({"sources": ()}, "0 source images"),
        ({"sources": (picture(),) * 4}, "4 source images"),
        ({"sources": (picture().convert("RGBA"),)}, "mode RGBA"),
        ({"oracle": OracleKey(picture(size=(4, 4)), Image.new("L", (4, 4)))}, "its target (4, 4)"),
    ],
)
def test_a_case_that_cannot_be_is_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(HPEditError, match=r".") as caught:
        case(**changes)
    assert named in caught.value.message


def test_an_oracle_needs_a_mask_of_its_target() -> None:
    with pytest.raises(HPEditError, match="mode RGB, not L"):
        OracleKey(picture(), picture())
    with pytest.raises(HPEditError, match="its region is"):
        OracleKey(picture(), Image.new("L", (4, 4)))


def test_an_edit_is_rgb() -> None:
    with pytest.raises(HPEditError, match="mode L"):
        Edit("e", "c", "base", 0, Image.new("L", (8, 8)))


@pytest.mark.parametrize("score", [-0.5, 5.5, 2.3, math.nan])
def test_a_rating_is_whole_or_half_from_0_to_5(score: float) -> None:
    with pytest.raises(HPEditError, match="rating of edit e by anna"):
        Rating("e", "anna", score)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 5.1])
def test_a_score_off_the_scale_is_refused(value: float) -> None:
    with pytest.raises(HPEditError, match="score of edit e"):
        Score("e", "judge", value)


def test_an_unscorable_edit_says_why() -> None:
    assert Score("e", "judge", None, reason="no answer").value is None
    with pytest.raises(HPEditError, match="neither a value nor a reason"):
        Score("e", "judge", None)
