"""Estimates with 95 % confidence intervals as people read them: `0.71 [0.64, 0.77]`, in terminals, tables and pages.

    interval = Interval.read(summary, "oracle", "gain")      # from {"mean" or "value": ..., "ci95": [low, high]}
    interval.text(GAIN)                                      # "+0.42 [+0.31, +0.53]"
    interval.bounds(PAGE_GAIN, between=" to ")               # "+0.31 to +0.53", with true minus signs

A figure that rounds to 0 has no sign.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNDEFINED = "n/a"
FEWEST_PHOTOS = 8
"""Photos below which an interval is shown but nothing is concluded from it: see docs/bench.md for its coverage."""


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How the sign of a figure is written."""

    plus: bool = False
    """Whether positive figures have a plus: for differences."""
    minus: str = "-"


PLAIN, GAIN = NumberStyle(), NumberStyle(plus=True)
"""For terminals and tables."""
PAGE, PAGE_GAIN = NumberStyle(minus="\N{MINUS SIGN}"), NumberStyle(True, "\N{MINUS SIGN}")
"""For pages: with a true minus sign."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval; the bounds are None where too few sources allow none."""

    value: float
    low: float | None = None
    high: float | None = None
    clear: bool | None = None
    """Of a difference: whether its corrected p agrees and its photos are enough; None where no test was made."""
    photos: int | None = None
    """Of a difference: how many it is of, if known."""

    @classmethod
    def read(cls, block: Mapping[str, Any] | None, *keys: str) -> Interval | None:
        """The estimate at `keys` of a JSON block, its value called "mean" or "value"; None if absent or not finite."""
        node: Any = block
        for key in keys:
            node = node.get(key) if isinstance(node, Mapping) else None
        value = finite_number(node.get("mean", node.get("value"))) if isinstance(node, Mapping) else None
        if value is None:
            return None
        low, high = node.get("ci95") or (None, None)
        return cls(value, finite_number(low), finite_number(high), node.get("clear"), node.get("photos"))

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return self.low is not None and self.high is not None

    @property
    def sign(self) -> int:
        """+1 if the whole interval is above 0, -1 if below; 0 if it holds 0, is not clear, or of too few photos."""
        if self.too_few or self.clear is False or not self.excludes_zero:
            return 0
        return 1 if (self.low or 0.0) > 0 else -1

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is known and lies on one side of 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def too_few(self) -> bool:
        """Whether nothing can be concluded for want of photos: there is no interval, or it is of too few."""
        return not self.known or (self.photos is not None and self.photos < FEWEST_PHOTOS)

    def scaled(self, factor: float) -> Interval:
        """The same estimate in another unit; a negative factor swaps the bounds."""
        low, high = (None if bound is None else factor * bound for bound in (self.low, self.high))
        return Interval(factor * self.value, *((low, high) if factor >= 0 else (high, low)), self.clear, self.photos)

    def text(self, style: NumberStyle = PLAIN, digits: int = 2) -> str:
        """`0.71 [0.64, 0.77]`, or the bare figure where there is no interval."""
        value, bounds = number_text(self.value, style, digits), self.bounds(style, digits)
        return f"{value} [{bounds}]" if bounds else value

    def bounds(self, style: NumberStyle = PLAIN, digits: int = 2, between: str = ", ") -> str:
        """`0.64, 0.77`; empty where there is no interval."""
        if self.low is None or self.high is None:
            return ""
        return f"{number_text(self.low, style, digits)}{between}{number_text(self.high, style, digits)}"


def interval_text(block: Mapping[str, Any] | None, style: NumberStyle = PLAIN, digits: int = 2) -> str:
    """A JSON estimate as `0.71 [0.64, 0.77]`, or n/a if it is undefined."""
    interval = Interval.read(block)
    return UNDEFINED if interval is None else interval.text(style, digits)


def number_text(value: float, style: NumberStyle = PLAIN, digits: int = 2) -> str:
    """A figure with so many decimals."""
    rounded = round(value, digits)
    sign = style.minus if rounded < 0 else "+" if rounded > 0 and style.plus else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def finite_number(value: Any) -> float | None:
    """`value` as a finite float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
