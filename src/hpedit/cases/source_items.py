"""Records of the first stages of a build: photographs, instruction candidates, skipped items, chunks of sources."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True, slots=True)
class InstructionCandidate:
    """An instruction for a photograph that may become a case."""

    task: str
    """One of `hpedit.tasks.TASK_IDS`."""
    instruction: str
    category: str = ""
    """The object that it is about; "" = none."""
    id: str = ""
    """Of the case; "" = generated, see `make_case_id`."""
    wording: int = 0
    """Index among the wordings of the same instruction, from 0."""
    language: str = "en"
    """ISO 639-1."""
    requirement: str = ""
    """What a judge should check, if the source says so (Edit-R1)."""
    by: str = "given"
    """"given", "template", or "judge:" and its fingerprint."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One usable photograph."""

    id: str
    """Unique in a build: the source's number and the name in it, as 0/holiday/beach.jpg."""
    image: Image.Image
    """RGB, upright, sRGB."""
    origin: str
    licence: str
    source_id: str = ""
    """The unit of splits and of the bootstrap; "" = by its pixels."""
    labels: tuple[str, ...] = ()
    """Categories that came with it, the main one first."""
    candidates: tuple[InstructionCandidate, ...] = ()
    """Instructions that came with it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An item of a source that could not be used."""

    id: str
    reason: str
    """What is wrong, in one line."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a source to read: plain data, so that it can be sent to another process."""

    source: int
    """Number of the source in the recipe."""
    number: int
    """Of the chunk within the source."""
    items: tuple[str, ...] = field(default=())
    """What to read, encoded by the source, see `OpenedSource.items`."""


@dataclass(frozen=True, slots=True)
class WrittenInstructions:
    """Instruction candidates for one photograph, and rejected texts with reasons."""

    candidates: tuple[InstructionCandidate, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    """(instruction, reason); the instruction is empty if none was written."""
