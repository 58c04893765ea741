"""Which pictures a page shows, worst first, and how they get into the page."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

from hpedit.bench.bench_folder import BenchFolder
from hpedit.records import Case
from hpedit.report.report_data import Picture

T = TypeVar("T")

PER_GROUP = 8
"""Pictures of each extreme: a multiple of the two a wide screen shows side by side."""
RANDOM_COUNT = 12
PIXELATED_UP_TO = 128
"""Longest side, px, up to which a picture is enlarged with hard edges: smoothing would hide what the model made."""
THUMBNAIL = 320
"""Longest side, px, of an embedded picture; 40 cases of 1024 px would otherwise make a page of 100 MB."""


NOTES = {
    "Largest losses": "where post-training made the edit worse, worst first",
    "Lowest results": "the lowest scores after post-training among the others, 2 or less",
    "Largest gains": "where post-training helped most",
    "Random sample": "drawn by a hash of the case's name from the rest, so nobody picked them",
}


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """The figures by which a case is chosen for a page."""

    case_id: str
    changes: Sequence[float] = ()
    """Differences of models to the reference; none where unscorable."""
    lowest: float | None = None
    """The lowest score of a model; None where unscorable."""


def collect_pictures(cases: Sequence[Case], base: BenchFolder, post: BenchFolder) -> list[Picture]:
    """One picture a case that both benchmark folders hold, in the order of `cases`."""
    before, after = ({row.case_id: row for row in folder.rows()} for folder in (base, post))
    edited = [{edit.case_id: edit.image for edit in folder.edits()} for folder in (base, post)]
    return [
        Picture(
            case.id, case.task, case.instruction, case.source, edited[0][case.id], edited[1][case.id],
            target=case.oracle.target if case.oracle else None,
            oracle=None if old.oracle is None or new.oracle is None else (old.oracle, new.oracle),
            scorer=None if old.score is None and new.score is None else (old.score, new.score),
        )
        for case in cases
        if (old := before.get(case.id)) and (new := after.get(case.id))
    ]  # fmt: skip


def shown_scores(picture: Picture) -> tuple[float, float] | None:
    """The pair by which pictures are ordered: the oracle's if there is one, else HP-Scorer's; None if unscorable."""
    if picture.oracle is not None:
        return picture.oracle
    if picture.scorer is None or picture.scorer[0] is None or picture.scorer[1] is None:
        return None
    return (picture.scorer[0], picture.scorer[1])


def select_pictures(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Heading -> pictures of the demo's report: see `extreme_cases`."""
    outcomes = []
    for picture in pictures:
        pair = shown_scores(picture)
        outcomes.append(CaseOutcome(picture.case_id, *(([pair[1] - pair[0]], pair[1]) if pair else ())))
    return extreme_cases(pictures, outcomes, PER_GROUP, RANDOM_COUNT)


def extreme_cases(
    cases: Sequence[T], outcomes: Sequence[CaseOutcome], per_group: int, random_count: int
) -> dict[str, list[T]]:
    """Choose cases for a page: largest losses, lowest results, largest gains, a random sample; no case twice.

    The sample is drawn by a hash of the case id: it does not depend on order or on a seed someone might choose.
    """
    taken: set[int] = set()

    def take(places: Iterable[int], count: int) -> list[T]:
        chosen = [place for place in places if place not in taken][:count]
        taken.update(chosen)
        return [cases[place] for place in chosen]

    def ranked(keys: Iterable[tuple[float, str, int]], count: int) -> list[T]:
        return take([place for _, _, place in sorted(keys)], count)

    numbered = list(enumerate(outcomes))
    changed = [(place, one) for place, one in numbered if one.changes]
    losses = [(min(one.changes), one.case_id, place) for place, one in changed if min(one.changes) < 0]
    low = [(one.lowest, one.case_id, place) for place, one in numbered if one.lowest is not None and one.lowest <= 2]
    gains = [(-max(one.changes), one.case_id, place) for place, one in changed if max(one.changes) > 0]
    worst = [ranked(keys, per_group) for keys in (losses, low, gains)]
    sample = take(sorted(range(len(cases)), key=lambda place: _shuffle_key(outcomes[place].case_id)), random_count)
    return {title: found for title, found in zip(NOTES, [*worst, sample], strict=True) if found}


def _shuffle_key(case_id: str) -> bytes:
    return hashlib.sha256(case_id.encode(errors="backslashreplace")).digest()


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture embedded in a page as a data URI."""

    uri: str
    pixelated: bool

    @classmethod
    def of(cls, image: Image.Image) -> Frame:
        """Embed a picture; large ones are reduced."""
        return cls(data_uri(image), max(image.size) <= PIXELATED_UP_TO)

    @classmethod
    def of_file(cls, data: bytes) -> Frame:
        """Embed the content of a PNG or JPEG file as it is."""
        with Image.open(io.BytesIO(data)) as picture:
            return cls(encoded_uri(data), max(picture.size) <= PIXELATED_UP_TO)


def data_uri(image: Image.Image) -> str:
    """A picture as data URI: lossless PNG up to 128 px, a reduced JPEG above."""
    if max(image.size) > PIXELATED_UP_TO:
        return reduced_uri(image, (THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return encoded_uri(buffer.getvalue())


def reduced_uri(image: Image.Image, size: tuple[int, int]) -> str:
    """A picture as data URI: a JPEG of at most `size` px."""
    small, buffer = image.convert("RGB"), io.BytesIO()
    small.thumbnail(size, Image.Resampling.LANCZOS)
    small.save(buffer, "JPEG", quality=86)
    return encoded_uri(buffer.getvalue())


def encoded_uri(data: bytes) -> str:
    """The content of a PNG or JPEG file as a data URI."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
