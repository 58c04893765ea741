"""Colours of the page against WCAG 2.2 AA: 4.5 for text, 3 for the edges of controls, in both colour schemes."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("hpedit.rate") / "static" / "rate.css").read_text(encoding="utf-8")
TEXT = [
    *((ink, ground) for ink in ("ink", "muted", "accent") for ground in ("bg", "card")),
    ("muted", "soft"), ("on-accent", "accent"), ("accent", "accent-soft"), ("ink", "accent-soft"), ("good", "bg"),
    *((ink or tone, f"{tone}-bg") for ink in ("", "ink") for tone in ("good", "bad", "warn")),
]  # fmt: skip
EDGES = [(edge, ground) for edge in ("edge", "accent", "good", "bad", "warn") for ground in ("bg", "card")]


def palettes() -> dict[str, dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
    )
    return {"light": light, "dark": light | dark}


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(TEXT, 4.5), (EDGES, 3.0)], ids=["text", "edges"])
def test_colours_can_be_told_apart(scheme: str, pairs: list[tuple[str, str]], least: float) -> None:
    palette = palettes()[scheme]
    ratios = {pair: round(contrast(palette[pair[0]], palette[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < least} == {}
