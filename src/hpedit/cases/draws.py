"""Draws that depend on names alone, so that every chunk, in any order and on any machine, draws the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def number(*parts: str | int) -> int:
    """A number below 2**64, even over the names: the head of their SHA-256."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big")


def pick(items: Sequence[T], *parts: str | int) -> T:
    """One of the items, each as likely."""
    return items[number(*parts) % len(items)]


def shuffled(items: Iterable[str], *parts: str | int) -> list[str]:
    """The items in a random order, which does not depend on the order in which they are given."""
    return sorted(set(items), key=lambda item: (number(*parts, item), item))
