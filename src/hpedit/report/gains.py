"""The gains of a run in one line an instrument, as the command line prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpedit.bench.before_after import INSTRUMENTS, SECOND


def gain_lines(summary: Mapping[str, Any]) -> list[str]:
    """Base, post-trained and the paired gain with its 95 % interval, of each instrument that was measured."""
    lines = []
    for name in (*INSTRUMENTS, SECOND):
        block = summary.get(name)
        if not block:
            continue
        low, high = block["gain"]["ci95"]
        interval = "too few photographs for an interval" if low is None else f"95 % interval {low:+.2f} to {high:+.2f}"
        lines.append(
            f"{name:<7} {block['base']['mean']:.2f} -> {block['post']['mean']:.2f}, "
            f"gain {block['gain']['mean']:+.2f} ({interval})"
        )
    return lines
