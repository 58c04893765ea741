"""Encode images for judges and caches: a digest of the pixels, and a lossless data URL."""

from __future__ import annotations

import base64
import hashlib

from PIL import Image

from hpedit.store.images import png_bytes


def picture_digest(image: Image.Image) -> str:
    """SHA-256 of mode, size and pixels, whatever file an image came from."""
    digest = hashlib.sha256(f"{image.mode};{image.width};{image.height};".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def data_url(image: Image.Image) -> str:
    """The image as a PNG data URL. Lossless: JPEG would hide the flaws that a judge is asked about."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()
