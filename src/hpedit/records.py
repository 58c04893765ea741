"""What flows between the stages: Case -> Edit -> Rating / Score. No torch.

All images are PIL images in mode RGB (a mask is mode "L"). A record checks itself when it is made, so that a bad
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
"""The human scale's foot: the edit does not follow the instruction."""
MAX_SCORE = 5.0
"""The human scale's head: follows it fully and looks real."""
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
    """The exact answer of a mini-world case; real photographs have none."""

    target: Image.Image
    """RGB, the size of the source: the one right edit."""
    region: Image.Image
    """Mode "L", the size of the source: 255 where the edit must change pixels, 0 where it must not."""

    def __post_init__(self) -> None:
        """Refuse wrong modes and sizes that differ (HPEditError)."""
        _require_mode(self.target, "RGB", "oracle target")
        _require_mode(self.region, "L", "oracle region")
        if self.target.size != self.region.size:
            raise HPEditError(f"oracle target is {self.target.size} but its region is {self.region.size}")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One thing to be edited: source image(s), an instruction, and the task that it belongs to. It holds no edit."""

    id: str
    task: str
    """One of `hpedit.tasks.TASK_IDS`."""
    instruction: str
    sources: tuple[Image.Image, ...]
    """1 to 3 RGB images; the first is the one that is edited."""
    source_id: str
    """The photo crop: the unit of splits and of the bootstrap, since two cases of one crop are not independent."""
    category: str = ""
    """The object's category, for balance; empty where there is none."""
    origin: str = ""
    licence: str = ""
    oracle: OracleKey | None = None

    def __post_init__(self) -> None:
        """Refuse empty names, no or too many sources, other modes than RGB, an oracle of another size (HPEditError)."""
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
        """SHA-256 (hex) of source pixels and instruction: edits are compared within it.

        Two photos with the same words are two groups; merging them gives every edit a wrong baseline.
        """
        digest = hashlib.sha256()
        for image in self.sources:
            digest.update(f"{image.width}x{image.height};".encode())
            digest.update(image.tobytes())
        digest.update(self.instruction.encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One edited image, with what made it."""

    id: str
    case_id: str
    editor: str
    """Fingerprint of the editor: model, revision, LoRA, steps."""
    seed: int
    image: Image.Image
    """RGB."""

    def __post_init__(self) -> None:
        """Refuse empty names and other modes than RGB (HPEditError)."""
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
    """ISO 8601 with zone; empty where unknown."""
    simulated: bool = False
    """True where no person gave it; must be labelled wherever it appears."""

    def __post_init__(self) -> None:
        """Refuse a score that no rater can give (HPEditError)."""
        _require_name(self.edit_id, "edit id of a rating")
        _require_name(self.rater, f"rater of edit {self.edit_id}")
        if not MIN_SCORE <= self.score <= MAX_SCORE or not float(self.score * 2).is_integer():
            raise HPEditError(
                f"rating of edit {self.edit_id} by {self.rater} is {self.score}",
                hint="a rating is a whole or half number from 0 to 5",
            )


@dataclass(frozen=True, slots=True)
class Score:
    """One scorer's value of one edit. Scores of two fingerprints are never mixed."""

    edit_id: str
    scorer: str
    """Fingerprint of the scorer: judge, revision, prompt, decoding, calibration."""
    value: float | None
    """0 to 5 on the human scale; None = unscorable: left out and counted, never 0."""
    std: float | None = None
    """The scorer's own standard deviation, same unit."""
    reason: str | None = None
    """Why it is unscorable; None where there is a value."""
    raw: Mapping[str, float] = field(default_factory=dict)
    """The judge's answers before calibration, by question."""

    def __post_init__(self) -> None:
        """Refuse NaN, values off the scale, and None without a reason (HPEditError)."""
        _require_name(self.edit_id, "edit id of a score")
        if self.value is None:
            if not self.reason:
                raise HPEditError(f"score of edit {self.edit_id} has neither a value nor a reason")
        elif not MIN_SCORE <= self.value <= MAX_SCORE:
            raise HPEditError(f"score of edit {self.edit_id} is {self.value}", hint="a score lies in 0 to 5")
        if self.std is not None and not (math.isfinite(self.std) and self.std >= 0.0):
            raise HPEditError(f"standard deviation of the score of edit {self.edit_id} is {self.std}")
