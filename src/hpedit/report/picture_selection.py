"""Which pictures a report shows, and how they get into the page."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from hpedit.report.report_data import Picture

PER_GROUP = 8
"""Pictures of each extreme: a multiple of the two a wide screen shows side by side."""
RANDOM_COUNT = 12
PIXELATED_UP_TO = 128
"""Longest side, px, up to which a picture is enlarged with hard edges: smoothing would hide what the model made."""
THUMBNAIL = 320
"""Longest side, px, of an embedded picture; 40 cases of 1024 px would otherwise make a page of 100 MB."""


@dataclass(frozen=True, slots=True)
class PictureGroup:
    """Pictures under one heading, in the order in which they are shown."""

    title: str
    note: str
    pictures: tuple[Picture, ...]


def shown_scores(picture: Picture) -> tuple[float, float] | None:
    """The pair by which pictures are ordered: the oracle's where there is one, else HP-Scorer's; None if unscorable."""
    if picture.oracle is not None:
        return picture.oracle
    if picture.scorer is None or picture.scorer[0] is None or picture.scorer[1] is None:
        return None
    return (picture.scorer[0], picture.scorer[1])


def select_pictures(pictures: Sequence[Picture]) -> list[PictureGroup]:
    """Largest losses, lowest results, largest gains, then a random sample; no case twice, empty groups left out.

    The sample is drawn by a hash of the case id: it does not depend on order or on a seed someone might choose.
    """
    scored = [(picture, pair) for picture in pictures if (pair := shown_scores(picture)) is not None]
    taken: set[int] = set()

    def take(ordered: Sequence[Picture], count: int) -> tuple[Picture, ...]:
        chosen = [picture for picture in ordered if id(picture) not in taken][:count]
        taken.update(id(picture) for picture in chosen)
        return tuple(chosen)

    def ranked(key: Callable[[float, float], float], keep: Callable[[float, float], bool]) -> list[Picture]:
        kept = [(key(*pair), picture.case_id, picture) for picture, pair in scored if keep(*pair)]
        return [picture for _, _, picture in sorted(kept, key=lambda row: row[:2])]

    losses = take(ranked(lambda base, post: post - base, lambda base, post: post < base), PER_GROUP)
    lowest = take(ranked(lambda _, post: post, lambda _, post: post <= 2), PER_GROUP)
    gains = take(ranked(lambda base, post: base - post, lambda base, post: post > base), PER_GROUP)
    sample = take(sorted(pictures, key=lambda picture: _shuffle_key(picture.case_id)), RANDOM_COUNT)
    groups = (
        PictureGroup("Largest losses", "where post-training made the edit worse, worst first", losses),
        PictureGroup("Lowest results", "the lowest scores after post-training among the others, 2 or less", lowest),
        PictureGroup("Largest gains", "where post-training helped most", gains),
        PictureGroup(
            "Random sample", "drawn by a hash of the case's name from the rest, so nobody picked them", sample
        ),
    )
    return [group for group in groups if group.pictures]


def _shuffle_key(case_id: str) -> bytes:
    return hashlib.sha256(case_id.encode(errors="backslashreplace")).digest()


def data_uri(image: Image.Image) -> str:
    """The picture inside the page: PNG, bit for bit, up to 128 px; a reduced JPEG above."""
    buffer = io.BytesIO()
    if max(image.size) <= PIXELATED_UP_TO:
        image.save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        small.save(buffer, "JPEG", quality=86)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def is_pixelated(image: Image.Image) -> bool:
    """Whether the page enlarges the picture with hard pixel edges."""
    return max(image.size) <= PIXELATED_UP_TO
