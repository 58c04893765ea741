"""Scenes of the mini world: a photo crop, one to three objects on it, an instruction, and the exact target.

The objects come from a kit: drawn shapes, or a user's cut-outs. Either way source and target are composited from the
same parts, so the target is exact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hpedit.mini.drawing import (
    BACKDROPS,
    LIGHTS,
    SIZE,
    SLOTS,
    STYLES,
    Alpha,
    backdrop,
    blur,
    over,
    relight,
    restyle,
)
from hpedit.mini.oracle import rms
from hpedit.mini.photos import TILE, Pixels, Tile
from hpedit.mini.things import DRAWN, Kit, Thing
from hpedit.records import Case, OracleKey
from hpedit.tasks import TASK_IDS

BOKEH_SIGMA = 1.8
MIN_CHANGE = 0.06
"""Least root mean square difference between source and target inside the region: an edit that nobody could see is not
asked for."""
LENS = 0.6
"""Standard deviation in pixels of the softness of a background. A crop of 40 to 64 px has more detail than 32 px can
show, and would flicker from pixel to pixel."""

WORDS: dict[str, tuple[str, ...]] = {
    "addition": (
        "add a {new} in the {place}",
        "put a {new} in the {place}",
        "place a {new} at the {place}",
        "insert a {new} in the {place} corner",
    ),
    "removal": ("remove the {old}", "delete the {old}", "erase the {old} from the picture", "take away the {old}"),
    "swap": (
        "replace the {old} with a {new}",
        "swap the {old} for a {new}",
        "turn the {old} into a {new}",
        "change the {old} to a {new}",
    ),
    "background": (
        "replace the background with a {name}",
        "change the background to a {name}",
        "put the objects in front of a {name}",
        "make the background a {name}",
    ),
    "color": (
        "make the {old} {color}",
        "paint the {old} {color}",
        "change the color of the {old} to {color}",
        "recolor the {old} in {color}",
    ),
    "bokeh": (
        "blur the background",
        "add bokeh behind the objects",
        "keep the objects sharp and blur the background",
        "make the background out of focus",
    ),
    "relighting": (
        "relight the picture with {name}",
        "change the light to {name}",
        "make the light {name}",
        "show the scene in {name}",
    ),
    "style": (
        "make it {name} style",
        "render the picture in {name} style",
        "turn the picture into {name}",
        "change the style to {name}",
    ),
}
"""Task -> wordings of its instruction; the drafts below fill in the words in braces."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A source picture with its instruction and exact target.

    Pictures are (SIZE, SIZE, 3) float32 in [0, 1]; `region` is (SIZE, SIZE), 1 where the edit must change pixels and 0
    elsewhere.
    """

    task: str
    instruction: str
    source: Pixels
    target: Pixels
    region: Alpha
    category: str
    tile: Tile
    objects_licence: str = ""
    """Of the objects, where they are not drawn."""


def _crop(tile: Tile, rng: np.random.Generator) -> Pixels:
    """A random square of a tile, mirrored half the time, as a (SIZE, SIZE, 3) background on 256 levels."""
    side = int(rng.integers(40, TILE + 1))
    top, left = (int(rng.integers(0, TILE - side + 1)) for _ in range(2))
    patch = tile.pixels[top : top + side, left : left + side]
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
    picture = Image.fromarray((patch * 255).round().astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BOX)
    soft = blur(np.asarray(picture, np.float32), LENS)
    return soft.round() / np.float32(255)


def _draw(background: Pixels, things: Sequence[Thing]) -> tuple[Pixels, Alpha]:
    """The scene's picture and the opacity of all its objects together."""
    picture, covered = background, np.zeros((SIZE, SIZE), np.float32)
    for thing in things:
        pixels, alpha = thing.stamped()
        picture, covered = over(picture, pixels, alpha), np.maximum(covered, alpha)
    return picture, covered


def _alpha(thing: Thing) -> Alpha:
    """Opacity (SIZE, SIZE) of one object."""
    return thing.stamped()[1]


def _hard(alpha: Alpha) -> Alpha:
    """1 wherever an opacity can be seen at all, else 0: a half covered border pixel belongs to the object."""
    return (alpha > 0.02).astype(np.float32)


def _things(kit: Kit, rng: np.random.Generator, count: int) -> tuple[list[Thing], list[str], list[str]]:
    """Objects of different kinds in different places, and the kinds and places left free."""
    kinds = [str(s) for s in rng.permutation(kit.kinds)]
    places = [str(p) for p in rng.permutation(list(SLOTS))]
    looks = kit.looks(rng, count)
    things = []
    for kind, place, look in zip(kinds, places, looks, strict=False):
        row, column = SLOTS[place]
        things.append(kit.make(kind, look, (row + int(rng.integers(-1, 2)), column + int(rng.integers(-1, 2)))))
    return things, kinds[count:], places[count:]


Draft = tuple[Pixels, Pixels, Alpha, dict[str, str], str]
"""source, target, region, words of the instruction, category."""


def _addition(background: Pixels, kit: Kit, rng: np.random.Generator) -> Draft:
    things, kinds, places = _things(kit, rng, int(rng.integers(1, 3)))
    new = kit.make(kinds[0], kit.looks(rng, 1)[0], SLOTS[places[0]])
    source, target = _draw(background, things)[0], _draw(background, [*things, new])[0]
    return source, target, _hard(_alpha(new)), {"new": new.name, "place": places[0]}, new.kind


def _removal(background: Pixels, kit: Kit, rng: np.random.Generator) -> Draft:
    things, _, _ = _things(kit, rng, int(rng.integers(1, 4)))
    source, target = _draw(background, things)[0], _draw(background, things[1:])[0]
    return source, target, _hard(_alpha(things[0])), {"old": things[0].name}, things[0].kind


def _swap(background: Pixels, kit: Kit, rng: np.random.Generator) -> Draft:
    things, kinds, _ = _things(kit, rng, int(rng.integers(1, 4)))
    old = things[0]
    new = kit.make(kinds[0], kit.looks(rng, 1)[0], old.center)
    source, target = _draw(background, things)[0], _draw(background, [new, *things[1:]])[0]
    region = _hard(np.maximum(_alpha(old), _alpha(new)))
    return source, target, region, {"old": old.name, "new": new.name}, old.kind


def _color(background: Pixels, kit: Kit, rng: np.random.Generator) -> Draft:
    things, _, _ = _things(kit, rng, int(rng.integers(1, 4)))
    old = things[0]
    new, color = kit.recolored(old, rng)
    source, target = _draw(background, things)[0], _draw(background, [new, *things[1:]])[0]
    return source, target, _hard(_alpha(old)), {"old": old.name, "color": color}, old.kind


def _background(background: Pixels, kit: Kit, rng: np.random.Generator) -> Draft:
    things, _, _ = _things(kit, rng, int(rng.integers(1, 4)))
    name = str(rng.choice(BACKDROPS))
    source, covered = _draw(background, things)
    target, _ = _draw(backdrop(name), things)
    return source, target, 1 - _hard(covered), {"name": name}, things[0].kind


def _bokeh(background: Pixels, kit: Kit, rng: np.random.Generator) -> Draft:
    things, _, _ = _things(kit, rng, int(rng.integers(1, 4)))
    source, covered = _draw(background, things)
    target, _ = _draw(blur(background, BOKEH_SIGMA), things)
    return source, target, 1 - _hard(covered), {}, things[0].kind


def _whole(
    names: Sequence[str], apply: Callable[[Pixels, str], Pixels]
) -> Callable[[Pixels, Kit, np.random.Generator], Draft]:
    """The draft of a task that changes every pixel by `apply(source, name)`."""

    def draft(background: Pixels, kit: Kit, rng: np.random.Generator) -> Draft:
        things, _, _ = _things(kit, rng, int(rng.integers(1, 4)))
        name = str(rng.choice(names))
        source, _ = _draw(background, things)
        return source, apply(source, name), np.ones((SIZE, SIZE), np.float32), {"name": name}, things[0].kind

    return draft


DRAFTS: dict[str, Callable[[Pixels, Kit, np.random.Generator], Draft]] = {
    "addition": _addition,
    "removal": _removal,
    "swap": _swap,
    "background": _background,
    "color": _color,
    "bokeh": _bokeh,
    "relighting": _whole(LIGHTS, relight),
    "style": _whole(STYLES, restyle),
}


def make_scene(task: str, tiles: Sequence[Tile], rng: np.random.Generator, kit: Kit = DRAWN) -> Scene:
    """Draw scenes until one asks for a change that can be seen (a difference of at least MIN_CHANGE).

    After 40 draws the most visible one is taken: a blurred tile, say, has nothing left to blur. A function of its
    arguments; `rng` is advanced.
    """
    best: Scene | None = None
    best_change = -1.0
    for _ in range(40):
        tile = tiles[int(rng.integers(len(tiles)))]
        source, target, region, words, category = DRAFTS[task](_crop(tile, rng), kit, rng)
        change = rms(source - target, region)
        if change > best_change:
            wording = WORDS[task][int(rng.integers(len(WORDS[task])))].format(**words)
            instruction = re.sub(r"\ba (?=[aeiouAEIOU])", "an ", wording)
            best = Scene(task, instruction, source, target, region, category, tile, kit.licence)
            best_change = change
        if change >= MIN_CHANGE:
            break
    assert best is not None
    return best


def to_image(pixels: Pixels) -> Image.Image:
    """A float picture (H, W, 3) as 8-bit RGB; values outside [0, 1] are clipped."""
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


def to_case(scene: Scene, case_id: str) -> Case:
    """A scene as a case with its oracle key."""
    region = Image.fromarray((scene.region * 255).astype(np.uint8))
    return Case(
        id=case_id,
        task=scene.task,
        instruction=scene.instruction,
        sources=(to_image(scene.source),),
        source_id=scene.tile.id,
        category=scene.category,
        origin=scene.tile.origin,
        licence="; ".join(filter(None, (scene.tile.licence, scene.objects_licence))),
        oracle=OracleKey(to_image(scene.target), region),
    )


def make_cases(tiles: Sequence[Tile], per_task: int, seed: int, name: str, kit: Kit = DRAWN) -> list[Case]:
    """`per_task` cases of each of the eight tasks, in turns. Ids start with `name`."""
    cases = []
    for index in range(per_task):
        for number, task in enumerate(TASK_IDS):
            rng = np.random.default_rng((seed, number, index))
            cases.append(to_case(make_scene(task, tiles, rng, kit), f"{name}-{task}-{index:04d}"))
    return cases
