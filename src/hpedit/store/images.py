"""Load untrusted image files as upright sRGB images, or report a clear error; encode PNG.

An animation, a multi-page scan or a file with the wrong extension is refused rather than guessed at, since the frame or
format picked might not be the one that was meant.
"""

from __future__ import annotations

import io
import logging
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from hpedit.errors import HPEditError

logger = logging.getLogger(__name__)

MAX_PIXELS = 120_000_000
"""Largest accepted image: a 108-megapixel phone photograph passes, a decompression bomb does not."""

MAX_BYTES = 1 << 30
"""Largest accepted file: MAX_PIXELS with 16-bit RGBA and no compression fill 0.96 GB."""

EXTENSIONS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".avif": "AVIF",
}
_FORMATS = tuple(sorted(set(EXTENSIONS.values())))
# All that Pillow's decoders raise on damaged files.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,  # AVIF
    TypeError,  # TIFF, as the next
    LookupError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def load_image(path: Path | str, name: str = "") -> Image.Image:
    """Load an image file as RGB: EXIF orientation applied, alpha over white, colours converted to sRGB.

    HPEditError, naming the file (as `name`, if given) and the problem, for a missing or empty file, a pipe or device, a
    file that is not an image (HTML, SVG) or truncated, a wrong extension, several frames or pages, and more than
    MAX_BYTES or MAX_PIXELS.
    """
    path = Path(path)
    name = name or str(path)
    try:
        status = path.stat()
        # Reading a pipe would wait forever; read_bytes refuses a folder.
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise HPEditError(f"{name} is a pipe or a device", hint="give a picture")
        if status.st_size > MAX_BYTES:
            raise HPEditError(f"{name} is too large: {status.st_size:,} bytes", hint=f"at most {MAX_BYTES:,} bytes")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise HPEditError(f"{name} does not exist") from error
    except OSError as error:
        raise HPEditError(f"{name} cannot be read: {error.strerror}") from error
    return decode_image(data, name, EXTENSIONS.get(path.suffix.lower()))


def decode_image(data: bytes, name: str, expected_format: str | None = None) -> Image.Image:
    """Decode an image from bytes, as `load_image` does.

    Args:
        data: Content of the file.
        name: Its name in errors.
        expected_format: Pillow's name of the format it must have; None for any.
    """
    image = _open_image(data, name)
    found = "JPEG" if image.format == "MPO" else image.format
    if expected_format is not None and found != expected_format:
        suffix = next(suffix for suffix, kind in EXTENSIONS.items() if kind == found)
        raise HPEditError(f"{name} is named like {expected_format} but holds {found}", f"rename it to end in {suffix}")
    try:
        # The second picture of an MPO is a phone's depth map or preview; the first is the photograph.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames == 1:
            image.load()
    except _DAMAGE as error:
        raise HPEditError(f"{name} is damaged or truncated: {error}", hint="get the file again") from error
    if frames > 1:
        raise HPEditError(f"{name} has {frames} frames or pages", hint="save the one you need as PNG or JPEG")
    return _to_rgb(_apply_exif_orientation(image, name), name)


def _open_image(data: bytes, name: str) -> Image.Image:
    if not data:
        raise HPEditError(f"{name} is empty (0 bytes)", hint="get the file again")
    try:
        with warnings.catch_warnings():
            # Our own limit, below, gives an error; Pillow's warning would only be noise.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise HPEditError(f"{name} is not an image{_file_type(data)}", hint="give PNG, JPEG, WebP or TIFF") from error
    except Image.DecompressionBombError as error:
        raise HPEditError(f"{name} is too large: {error}", hint=f"at most {MAX_PIXELS:,} pixels") from error
    except _DAMAGE as error:
        raise HPEditError(f"{name} is damaged: {error}", hint="get the file again") from error
    if image.width * image.height > MAX_PIXELS:
        raise HPEditError(f"{name} is too large: {image.width} x {image.height}", hint=f"at most {MAX_PIXELS:,} pixels")
    if _has_altered_chunk(data):
        raise HPEditError(f"{name} is damaged: a checksum of PNG does not match", hint="get the file again")
    return image


def _has_altered_chunk(data: bytes) -> bool:
    """Whether a chunk of a PNG that matters to its pixels does not match its CRC-32; Pillow does not check IDAT's."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if end + 4 > len(data):
            return False  # truncated, which the decoder says
        if kind[:1].isupper() and zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            return True
        if kind == b"IEND":
            return False
        at = end + 4
    return False


def _file_type(data: bytes) -> str:
    """What a file that is not an image probably is, for the error message."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return " but an SVG drawing"
    if head.startswith((b"<!doctype html", b"<html")) or b"<html" in head:
        return " but an HTML page (a download that failed?)"
    return " that can be read here"


def _apply_exif_orientation(image: Image.Image, name: str) -> Image.Image:
    """Apply the EXIF orientation; broken EXIF data is logged and ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        logger.warning("%s: unreadable EXIF data, orientation ignored: %s", name, error)
        return image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_16_bit_grey(image, name)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        colors = rgba.convert("RGB")
        colors.info["icc_profile"] = image.info.get("icc_profile")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        return Image.composite(_convert_icc_to_srgb(colors) or colors, white, rgba.getchannel("A"))
    if image.mode == "LAB":
        raise HPEditError(f"{name} has colours of mode LAB", hint="save it as RGB")
    return _convert_icc_to_srgb(image) or image.convert("RGB")


def _from_16_bit_grey(image: Image.Image, name: str) -> Image.Image:
    """16-bit grey to 8 bits a channel; Pillow's own conversion would clip all above 255 to white."""
    values = np.asarray(image)
    if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise HPEditError(f"{name} holds numbers, not a picture (mode {image.mode})", hint="save it with 8 or 16 bits")
    return Image.fromarray(np.rint(values / 257.0).astype(np.uint8), mode="L").convert("RGB")


def _convert_icc_to_srgb(image: Image.Image) -> Image.Image | None:
    """Convert from the embedded ICC profile to sRGB; None if there is none, it is sRGB already, or unusable."""
    profile_bytes = image.info.get("icc_profile")
    if not profile_bytes or image.mode not in ("RGB", "CMYK", "L"):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return None
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def png_bytes(image: Image.Image) -> bytes:
    """Encode an image as PNG without metadata: the same pixels give the same bytes."""
    buffer = io.BytesIO()
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    bare.save(buffer, format="PNG")
    return buffer.getvalue()


def list_images(folder: Path | str) -> tuple[list[Path], list[tuple[Path, str]]]:
    """List the usable images under `folder`, sorted, and why each other file was skipped. Hidden files are ignored.

    Every image is decoded here once, so that a long run does not meet its first damaged file hours later.
    """
    root = Path(folder)
    if not root.is_dir():
        raise HPEditError(f"{root} is not a folder", hint="give a folder of photographs")
    usable: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    for path in sorted(root.rglob("*")):
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        reason = _why_unusable_image(path, root)
        if reason:
            skipped.append((path, reason))
        else:
            usable.append(path)
    return usable, skipped


def _why_unusable_image(path: Path, root: Path) -> str:
    if not path.resolve().is_relative_to(root.resolve()):
        return f"{path} is a link out of the folder"
    if path.suffix.lower() not in EXTENSIONS:
        return f"{path} does not have the extension of an image"
    try:
        load_image(path)
    except HPEditError as error:
        return error.message
    return ""
