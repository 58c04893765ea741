"""SVG primitives for charts: shapes, text, axes and scales; every text is escaped, styles are CSS classes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from html import escape

Point = tuple[float, float]
Scale = Callable[[float], float]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def page_safe(text: str) -> str:
    """Text that HTML allows: control characters and lone surrogates become U+FFFD."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _escaped(text: str) -> str:
    return escape(page_safe(text))


def linear(domain: tuple[float, float], target: tuple[float, float]) -> Scale:
    """Map `domain` onto `target`; an empty domain maps to the middle."""
    (low, high), (start, end) = domain, target
    if high == low:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round tick values (1, 2, 2.5 or 5 times a power of ten) that cover [low, high] from within."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low] if math.isfinite(low) else []
    rough = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A tick's label: short, without trailing zeros, with a true minus sign."""
    if value == 0:
        return "0"
    text = f"{value:.0e}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{value:.4g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "\N{MINUS SIGN}")


def picture(
    width: float, height: float, label: str, body: Sequence[str], css: str = "chart", fit: str = "xMidYMid"
) -> str:
    """The whole drawing as SVG; `label` is for screen readers, `fit` is preserveAspectRatio."""
    return (
        f'<svg class="{css}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'preserveAspectRatio="{fit}" aria-label="{_escaped(label)}">{"".join(body)}</svg>'
    )


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """SVG of a straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def text(x: float, y: float, words: str, css: str = "tick", anchor: str = "start") -> str:
    """SVG text with its baseline at `y`."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{_escaped(words)}</text>'


def upright_text(x: float, y: float, words: str) -> str:
    """SVG text of a vertical axis title, centred at (x, y)."""
    turned = f'transform="translate({x:.0f} {y:.0f}) rotate(-90)"'
    return f'<text {turned} class="tick" text-anchor="middle">{_escaped(words)}</text>'


def rect(corner: Point, size: Point, css: str, title: str = "") -> str:
    """SVG of a rectangle; `title` is its tooltip."""
    inside = f"<title>{_escaped(title)}</title>" if title else ""
    (x, y), (width, height) = corner, size
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{css}">{inside}</rect>'


def path(points: Sequence[Point], x: Scale, y: Scale, css: str) -> str:
    """SVG path of straight lines through the points."""
    steps = " ".join(f"{'L' if index else 'M'}{x(a):.1f} {y(b):.1f}" for index, (a, b) in enumerate(points))
    return f'<path d="{steps}" class="{css}"/>'


def dot(x: float, y: float, radius: float, css: str, title: str = "") -> str:
    """SVG of a circle; `title` is its tooltip."""
    inside = f"<title>{_escaped(title)}</title>" if title else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{css}">{inside}</circle>'


def axes(
    x: Scale, y: Scale, xs: tuple[float, float], ys: tuple[float, float], frame: tuple[float, float, float],
    rows: int = 4,
) -> list[str]:  # fmt: skip
    """Horizontal grid lines and the ticks of both axes; `frame` is left, right and bottom edge."""
    left, right, base = frame
    body = []
    for tick in nice_ticks(*ys, count=rows):
        body += [
            line(left, y(tick), right, y(tick), "grid"),
            text(left - 6, y(tick) + 3.5, tick_text(tick), "tick", "end"),
        ]
    for tick in nice_ticks(*xs, count=5):
        body += [
            line(x(tick), base, x(tick), base + 3, "grid"),
            text(x(tick), base + 15, tick_text(tick), "tick", "middle"),
        ]
    return body
