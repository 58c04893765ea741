"""Image sizes of an editor: of its edits, and of the sources as the VAE and as the text encoder see them.

    areas = ImageAreas.of(folder, resolution=512)       # sources at 512 px too, whatever the pipeline's own constant
    width, height = dimensions(areas.resolution**2, image)

A pipeline encodes its sources at about 1024 x 1024 px whatever the output's size: 4,096 source tokens beside the 1,024
of a 512 px edit. Here the sources follow the output by default, which saves three quarters of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import CONDITION_IMAGE_SIZE, calculate_dimensions
from PIL import Image

from hpedit.editors.usual import DEFAULT_RESOLUTION, folder_settings
from hpedit.errors import HPEditError

SIDE = 32
"""px to which the Qwen pipelines round; every model here can work with a multiple of it."""
LARGEST = 4096
"""px; larger sizes are taken for typing errors."""
MAX_ASPECT = 8.0
"""Longest aspect ratio; text encoder and transformer have seen nothing beyond."""


@dataclass(frozen=True, slots=True)
class ImageAreas:
    """Image sizes of an editor; a picture keeps its aspect ratio, its sides are rounded."""

    resolution: int
    """px: the output has resolution^2 pixels."""
    condition_area: int
    """px^2 of each source as the text encoder sees it; 0 = it sees none."""
    source_area: int
    """px^2 of each source as the VAE encodes it."""

    @staticmethod
    def of(
        folder: Path,
        resolution: int | None,
        source_area: int | None = None,
        condition_area: int | None = None,
        *,
        usual_condition: int | None = CONDITION_IMAGE_SIZE,
    ) -> ImageAreas:
        """Sizes that are asked for, else those of the folder's hpedit.json, else the defaults.

        Args:
            folder: Of the model; a `hpedit.json` in it may have the names of this class.
            resolution: px; another than the folder's own takes the sources along.
            source_area: px^2; by default that of the output.
            condition_area: px^2.
            usual_condition: The default of condition_area; None = that of the sources.

        Raises:
            HPEditError: an unsupported size.
        """
        stored = folder_settings(folder)
        side = resolution or int(stored.get("resolution", DEFAULT_RESOLUTION))
        if source_area is None:
            as_built = side == stored.get("resolution") and "source_area" in stored
            source_area = int(stored["source_area"]) if as_built else side * side
        if condition_area is None:
            usual = source_area if usual_condition is None else usual_condition
            condition_area = int(stored.get("condition_area", usual))
        areas = ImageAreas(side, condition_area, source_area)
        areas.check()
        return areas

    def check(self) -> None:
        """HPEditError for an unsupported size."""
        if self.resolution % SIDE or not SIDE <= self.resolution <= LARGEST:
            raise HPEditError(
                f"a resolution of {self.resolution} px is not supported",
                hint=f"a multiple of {SIDE} from {SIDE} to {LARGEST}",
            )
        for name, area in (("source_area", self.source_area), ("condition_area", self.condition_area)):
            if area and not SIDE**2 <= area <= LARGEST**2:
                raise HPEditError(
                    f"a {name} of {area} is not supported",
                    hint=f"it is in square pixels, {SIDE**2} to {LARGEST**2}: 512 x 512 px are 262144",
                )


def dimensions(area: int, image: Image.Image) -> tuple[int, int]:
    """(width, height) of about `area` px in the image's aspect ratio, sides rounded to 32 as the Qwen pipelines do.

    Where the pipeline would round a side to 0 and fail, it is 32 here.
    """
    check_aspect(image, MAX_ASPECT)
    # Some of diffusers' pipelines return a third value.
    width, height = calculate_dimensions(area, image.width / image.height)[:2]
    return max(width, SIDE), max(height, SIDE)


def check_aspect(image: Image.Image, most: float) -> None:
    """HPEditError if the picture's longer side is more than `most` times its shorter."""
    if max(image.width / image.height, image.height / image.width) > most:
        raise HPEditError(
            f"a picture of {image.width} x {image.height} px is too narrow to edit",
            hint=f"crop it: the longer side may be {most:g} times the shorter",
        )
