"""The protocol of instruction writers (templates, VLM), and their result for one photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hpedit.cases.source_items import InstructionCandidate, Photo


@dataclass(frozen=True, slots=True)
class WrittenInstructions:
    """Instruction candidates for one photograph, and rejected texts with reasons."""

    candidates: tuple[InstructionCandidate, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    """(instruction, reason); the instruction is empty if none was written."""


class InstructionWriter(Protocol):
    """Writes instructions for photographs.

        for written in writer.write(photos, categories):
            candidates += written.candidates

    The result for a photograph depends only on the photograph, its category, the settings and the seed.
    """

    def write(self, photos: Sequence[Photo], categories: Sequence[str]) -> list[WrittenInstructions]:
        """Write instructions for each photograph; `categories` are those of `Labeller.label`, "" for none."""
        ...
