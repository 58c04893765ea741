"""The 80 categories, and their names in sentences."""

import doctest

import pytest

from hpedit.cases import coco
from hpedit.cases.coco import COCO, GROUP_OF, SPOKEN, USUAL_COLORS, indefinite
from hpedit.cases.instructions import instruction_prompt, templates


@pytest.mark.parametrize("module", [coco, instruction_prompt])
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
    ("name", "one"),
    [
        ("apple", "an apple"),
        ("oven", "an oven"),
        ("knife", "a knife"),
        ("wine glass", "a wine glass"),
        ("toothbrush", "a toothbrush"),
        ("sheep", "a sheep"),
        ("scissors", "a pair of scissors"),
        ("unicycle", "a unicycle"),
        ("uninhabited house", "an uninhabited house"),
        ("hourglass", "an hourglass"),
        ("strawberry", "a strawberry"),
        ("the red ball", "the red ball"),
    ],
)
def test_articles(name, one):
    assert indefinite(name) == one
