"""What flows through the first stages of a build: photographs, and drafts of cases."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True, slots=True)
class Draft:
    """An instruction for a photograph, before it is a case."""

    task: str
    """One of `hpedit.tasks.TASK_IDS`."""
    instruction: str
    category: str = ""
    """The object that it is about; empty where there is none."""
    id: str = ""
    """Of the case; empty = made of photograph, task and instruction."""
    wording: int = 0
    """Drafts of one photograph and task that say the same in other words are numbered from 0."""
    language: str = "en"
    """ISO 639-1."""
    requirement: str = ""
    """What a judge is to look for, where the source says so (Edit-R1)."""
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
    """The unit of splits and of the bootstrap; empty = the photograph itself, by its pixels."""
    labels: tuple[str, ...] = ()
    """Categories that came with it, the main one first."""
    drafts: tuple[Draft, ...] = ()
    """Instructions that came with it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something of a source that could not be used."""

    id: str
    reason: str
    """What is wrong, in one line."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a source that is read at a time: plain data, so that it can be sent to another process."""

    source: int
    """Number of the source in the recipe."""
    number: int
    """Of the chunk within the source."""
    items: tuple[str, ...] = field(default=())
    """What to read, in the source's own words: names, row groups, a shard."""
