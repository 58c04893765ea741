"""What stands in a scene: `Thing`, and the `Kit` that a scene takes its objects from.

kit = DrawnKit()                                    # six shapes in six colours; objects.CutoutKit has a user's cut-outs
ball = kit.make("ball", kit.looks(rng, 1)[0], (8, 24))
blue, color = kit.recolored(ball, rng)              # the same ball, and what its new colour is called
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np

from hpedit.mini.drawing import COLORS, SHAPES, Alpha, stamp
from hpedit.mini.photos import Pixels


class Thing(Protocol):
    """An object at its place."""

    @property
    def kind(self) -> str:
        """Its category; no two objects of a scene share one."""
        ...

    @property
    def name(self) -> str:
        """What instructions call it."""
        ...

    @property
    def center(self) -> tuple[int, int]:
        """Row and column in pixels."""
        ...

    def stamped(self) -> tuple[Pixels, Alpha]:
        """Its colours (SIZE, SIZE, 3) and its opacity (SIZE, SIZE) on an empty scene."""
        ...


class Kit(Protocol):
    """Where objects come from."""

    @property
    def kinds(self) -> Sequence[str]:
        """All there are, in a fixed order; at least four, for a scene of three and a new one."""
        ...

    @property
    def licence(self) -> str:
        """What stands beside the photograph's licence; empty where the objects need none."""
        ...

    def looks(self, rng: np.random.Generator, count: int) -> list[int]:
        """A random look for each of `count` objects, whatever their kind."""
        ...

    def make(self, kind: str, look: int, center: tuple[int, int]) -> Thing:
        """An object."""
        ...

    def recolored(self, thing: Thing, rng: np.random.Generator) -> tuple[Thing, str]:
        """The same object in another colour, and the colour's name."""
        ...


@dataclass(frozen=True, slots=True)
class DrawnThing:
    """A coloured shape, "red ball"."""

    kind: str
    color: str
    center: tuple[int, int]

    @property
    def name(self) -> str:
        """Colour and shape."""
        return f"{self.color} {self.kind}"

    def stamped(self) -> tuple[Pixels, Alpha]:
        """See `Thing`."""
        return stamp(self.kind, self.color, self.center)


class DrawnKit:
    """Six shapes in six colours; a look is a colour."""

    kinds: Sequence[str] = SHAPES
    licence = ""

    def looks(self, rng: np.random.Generator, count: int) -> list[int]:
        """See `Kit`."""
        return [int(look) for look in rng.choice(len(COLORS), size=count)]

    def make(self, kind: str, look: int, center: tuple[int, int]) -> Thing:
        """See `Kit`."""
        return DrawnThing(kind, list(COLORS)[look], center)

    def recolored(self, thing: Thing, rng: np.random.Generator) -> tuple[Thing, str]:
        """See `Kit`."""
        drawn = cast(DrawnThing, thing)
        color = str(rng.choice([name for name in COLORS if name != drawn.color]))
        return replace(drawn, color=color), color


DRAWN = DrawnKit()
