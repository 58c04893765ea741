"""The 80 categories, and their names in sentences."""

import doctest

import pytest

from hpedit.cases import coco
from hpedit.cases.coco import COCO, GROUP_OF, IRREGULAR, SPOKEN, USUAL_COLORS, indefinite, plural
from hpedit.cases.instructions import schema, templates


@pytest.mark.parametrize("module", [coco, schema])
def test_examples_in_the_docstrings_hold(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_there_are_80_categories_in_12_groups():
    assert len(COCO) == len(set(COCO)) == 80
    assert len(set(GROUP_OF.values())) == 12
    assert set(SPOKEN) | set(USUAL_COLORS) <= set(COCO)
    assert all(colors <= set(templates.COLORS) for colors in USUAL_COLORS.values())


@pytest.mark.parametrize(
    ("name", "one", "many"),
    [
        ("apple", "an apple", "apples"),
        ("oven", "an oven", "ovens"),
        ("knife", "a knife", "knives"),
        ("wine glass", "a wine glass", "wine glasses"),
        ("toothbrush", "a toothbrush", "toothbrushes"),
        ("sheep", "a sheep", "sheep"),
        ("scissors", "a pair of scissors", "scissors"),
        ("unicycle", "a unicycle", "unicycles"),
        ("uninhabited house", "an uninhabited house", "uninhabited houses"),
        ("hourglass", "an hourglass", "hourglasses"),
        ("strawberry", "a strawberry", "strawberries"),
        ("the red ball", "the red ball", "the red balls"),
    ],
)
def test_articles_and_plurals(name, one, many):
    assert (indefinite(name), plural(name)) == (one, many)
    assert "mouse" in IRREGULAR
