"""The records that stages exchange: Case -> Edit -> Rating / Score. No torch.

All images are PIL images in mode RGB (a mask is mode "L"). Records are validated when they are created, so that a bad
value is found where it arises and not three stages later.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from hpedit.errors import HPEditError

MIN_SCORE = 0.0
"""Lowest human score: the edit does not follow the instruction."""
MAX_SCORE = 5.0
"""Highest human score: follows it fully and looks real."""
MAX_SOURCES = 3
"""Qwen-Image-Edit-2509 takes one to three source images."""


def _require_mode(image: Image.Image, mode: str, what: str) -> None:
    if image.mode != mode:
        raise HPEditError(f"{what} has mode {image.mode}, not {mode}", hint=f'convert it with image.convert("{mode}")')


def _require_name(value: str, what: str) -> None:
    if not value.strip():
        raise HPEditError(f"{what} is empty")


@dataclass(frozen=True, slots=True, eq=False)
class OracleKey:
    """Ground truth of a mini-world case; real photographs have none."""

    target: Image.Image
    """RGB, the size of the source: the only correct edit."""
    region: Image.Image
    """Mode "L", the size of the source: 255 where the edit must change pixels, 0 where it must not."""

    def __post_init__(self) -> None:
        """HPEditError for wrong modes or different sizes."""
        _require_mode(self.target, "RGB", "oracle target")
        _require_mode(self.region, "L", "oracle region")
        if self.target.size != self.region.size:
            raise HPEditError(f"oracle target is {self.target.size} but its region is {self.region.size}")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An editing case: source image(s), an instruction, and its task. It holds no edit."""

    id: str
    task: str
    """One of `hpedit.tasks.TASK_IDS`."""
    instruction: str
    sources: tuple[Image.Image, ...]
    """1 to 3 RGB images; the first is the one that is edited."""
    source_id: str
    """Id of the photo crop: the unit of splits and of the bootstrap, as cases of one crop are not independent."""
    category: str = ""
    """Category of the object, for balancing; may be empty."""
    origin: str = ""
    licence: str = ""
    oracle: OracleKey | None = None

    def __post_init__(self) -> None:
        """HPEditError for empty names, no or too many sources, modes other than RGB, an oracle of another size."""
        _require_name(self.id, "case id")
        _require_name(self.instruction, f"instruction of case {self.id}")
        _require_name(self.source_id, f"source_id of case {self.id}")
        if not 1 <= len(self.sources) <= MAX_SOURCES:
            raise HPEditError(f"case {self.id} has {len(self.sources)} source images, not 1 to {MAX_SOURCES}")
        for image in self.sources:
            _require_mode(image, "RGB", f"a source of case {self.id}")
        if self.oracle is not None and self.oracle.target.size != self.source.size:
            raise HPEditError(f"case {self.id}: the source is {self.source.size}, its target {self.oracle.target.size}")

    @property
    def source(self) -> Image.Image:
        """The image that is edited, RGB."""
        return self.sources[0]

    @property
    def group_key(self) -> str:
        """SHA-256 (hex) of source pixels and instruction: edits are compared within this group.

        Two photos with the same instruction are two groups; merging them would give every edit a wrong baseline.
        """
        digest = hashlib.sha256()
        for image in self.sources:
            digest.update(f"{image.width}x{image.height};".encode())
            digest.update(image.tobytes())
        digest.update(self.instruction.encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """An edited image, with the editor and seed that made it."""

    id: str
    case_id: str
    editor: str
    """Fingerprint of the editor: model, revision, LoRA, steps."""
    seed: int
    image: Image.Image
    """RGB."""

    def __post_init__(self) -> None:
        """HPEditError for empty names and modes other than RGB."""
        _require_name(self.id, "edit id")
        _require_name(self.case_id, f"case id of edit {self.id}")
        _require_mode(self.image, "RGB", f"the image of edit {self.id}")


@dataclass(frozen=True, slots=True)
class Rating:
    """One rater's score of one edit."""

    edit_id: str
    rater: str
    score: float
    """0 to 5, whole or half."""
    flags: tuple[str, ...] = ()
    time: str = ""
    """ISO 8601 with time zone; empty if unknown."""
    simulated: bool = False
    """True if not given by a person; must be labelled wherever it appears."""

    def __post_init__(self) -> None:
        """HPEditError for a score that no rater can give."""
        _require_name(self.edit_id, "edit id of a rating")
        _require_name(self.rater, f"rater of edit {self.edit_id}")
        if not MIN_SCORE <= self.score <= MAX_SCORE or not float(self.score * 2).is_integer():
            hint = "a rating is a whole or half number from 0 to 5"
            raise HPEditError(f"rating of edit {self.edit_id} by {self.rater} is {self.score}", hint)


@dataclass(frozen=True, slots=True)
class Score:
    """A scorer's score of one edit. Scores of different fingerprints are never mixed."""

    edit_id: str
    scorer: str
    """Fingerprint of the scorer: judge, revision, prompt, decoding, calibration."""
    value: float | None
    """0 to 5 on the human scale; None = unscorable: left out and counted, never 0."""
    std: float | None = None
    """The scorer's own standard deviation, same unit."""
    reason: str | None = None
    """Why it is unscorable; None if there is a value."""
    raw: Mapping[str, float] = field(default_factory=dict)
    """The judge's answers before calibration, by question."""

    def __post_init__(self) -> None:
        """HPEditError for NaN, values off the scale, and None without a reason."""
        _require_name(self.edit_id, "edit id of a score")
        if self.value is None:
            if not self.reason:
                raise HPEditError(f"score of edit {self.edit_id} has neither a value nor a reason")
        elif not MIN_SCORE <= self.value <= MAX_SCORE:
            raise HPEditError(f"score of edit {self.edit_id} is {self.value}", hint="a score is from 0 to 5")
        if self.std is not None and not (math.isfinite(self.std) and self.std >= 0.0):
            raise HPEditError(f"standard deviation of the score of edit {self.edit_id} is {self.std}")
