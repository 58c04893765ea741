"""What a writer of instructions gives for one photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpedit.cases.photos import Draft, Photo


@dataclass(frozen=True, slots=True)
class Written:
    """Drafts for one photograph, and what was written but can't be used."""

    drafts: tuple[Draft, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    """(instruction, reason); the instruction is empty where none came about."""


class Writer(Protocol):
    """Whoever writes instructions.

        for written in writer.write(photos, categories):
            candidates += written.drafts

    What it writes for a photograph depends on nothing but the photograph, its category, the settings and the seed.
    """

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[Written]:
        """One result a photograph, in order. `categories`: see `Labeller.label`; empty where there is none."""
        ...
