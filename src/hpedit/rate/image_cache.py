"""Cache of the images that raters see: blinded PNG files that do not reveal which editor made them.

Every image is decoded, resized to its item's size and encoded again as PNG without metadata before the first request;
a request only reads a file. All images of one size are padded to one length by a private PNG chunk, so that the file
length reveals nothing but the size.

Sizes: an item has the size of its source, the longer side at most MAX_SIDE. An edit of another size is resampled to it
(Lanczos); if its aspect ratio differs by more than ASPECT_TOLERANCE it is fitted inside a grey frame, since raters
would blame the editor for stretching. What no frame can hide stays visible: cropping, or the softness of an editor
that works at a much lower resolution.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import threading
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

from hpedit.errors import HPEditError
from hpedit.store.atomic import read_json, write_json
from hpedit.store.images import decode_image, png_bytes

MAX_SIDE = 2048
"""Pixels of the longer side: more than most screens show, and small enough that a phone can load two."""
ASPECT_TOLERANCE = 0.02
"""Editors round sides to multiples of 16 or 32, which changes the ratio by up to 2 % and must not cause a frame."""
BUCKET = 4096
"""Padded lengths are multiples of this many bytes."""
PAD_TYPE = b"hpEd"
"""Chunk type: ancillary, private, safe to copy, so decoders skip it (PNG specification, 5.4)."""

_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_CHUNK = 12
"""Bytes of a chunk besides its data: length, type, CRC."""
_MANIFEST = "pictures.json"
_GREY = (128, 128, 128)


def item_size(source: Image.Image) -> tuple[int, int]:
    """Width and height at which the source and its edits are shown."""
    scale = min(1.0, MAX_SIDE / max(source.size))
    return max(1, round(source.width * scale)), max(1, round(source.height * scale))


def fit_to_size(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` resampled to `size` (width, height), or framed in grey if its aspect ratio differs."""
    if image.size == size:
        return image
    ratio = (image.width / image.height) / (size[0] / size[1])
    # One pixel more or less is rounding too, which matters for small images.
    slack = max(ASPECT_TOLERANCE, 1.0 / min(*size, *image.size))
    if abs(math.log(ratio)) <= math.log1p(slack):
        return image.resize(size, Image.Resampling.LANCZOS)
    return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=_GREY)


def pad_png(data: bytes, length: int) -> bytes:
    """Pad the PNG `data` to `length` bytes by a private chunk; it must be that long already, or at least 12 shorter."""
    room = length - len(data) - _CHUNK
    assert data.endswith(_END), "a PNG ends with IEND"
    if len(data) == length:
        return data
    assert room >= 0, "no room for a chunk"
    # Not zeros: a compressing proxy would undo the padding.
    filling = hashlib.shake_256(data[-64:]).digest(room)
    chunk = struct.pack(">I", room) + PAD_TYPE + filling + struct.pack(">I", zlib.crc32(PAD_TYPE + filling))
    return data[: -len(_END)] + chunk + _END


_AGAIN = "start the server again, which makes the picture again; your answers are stored"


class ImageCache:
    """A folder of encoded images: `add` all, then `seal`, then `read`.

    An image's key is the hash of its pixels; images that an earlier start encoded are reused.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HPEditError(f"{folder} cannot be created: {error.strerror}", hint="choose another --db") from error
        self._manifest = folder / _MANIFEST
        # Of each image: bytes before and after padding, and the CRC-32 of its file.
        self._known: dict[str, list[int]] = read_json(self._manifest) if self._manifest.exists() else {}
        self._groups: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, Future[None]] = {}
        workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers, "encode")
        # Images that wait for a thread are held decoded; more than these would only fill the memory.
        self._room = threading.Semaphore(2 * workers)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.png"

    def add(self, image: Image.Image) -> str:
        """Encode an RGB image at its size, in another thread; returns its key."""
        key = hashlib.sha256(f"{image.width}x{image.height};".encode() + image.tobytes()).hexdigest()
        if key not in self._groups:
            self._groups[key] = image.size
            if not self._is_intact(key):
                self._room.acquire()
                self._waiting[key] = self._pool.submit(self._encode, key, image.copy())
        return key

    def _is_intact(self, key: str) -> bool:
        """Whether an earlier start left the image's file complete."""
        path = self._path(key)
        return key in self._known and path.is_file() and zlib.crc32(path.read_bytes()) == self._known[key][2]

    def _encode(self, key: str, image: Image.Image) -> None:
        try:
            data = png_bytes(image)
            self._write_png(key, data, bare=len(data))
        finally:
            self._room.release()

    def _write_png(self, key: str, data: bytes, bare: int) -> None:
        """Write an image without fsync: if a power cut truncates it, its checksum fails and it is encoded again."""
        temporary = self.folder / f".tmp-{key}"
        temporary.write_bytes(data)
        temporary.replace(self._path(key))
        self._known[key] = [bare, len(data), zlib.crc32(data)]

    def seal(self) -> None:
        """Wait for the encoders and pad all images of one size to one length; HPEditError if the disk fails."""
        try:
            for future in self._waiting.values():
                future.result()
            self._pool.shutdown()
            for size in set(self._groups.values()):
                self._pad_group([key for key, group in self._groups.items() if group == size])
            write_json(self._manifest, self._known)
        except OSError as error:
            raise HPEditError(
                f"the images cannot be written to {self.folder}: {error.strerror}",
                hint="free space or choose another --db",
            ) from error

    def _pad_group(self, keys: list[str]) -> None:
        longest = max(self._known[key][0] for key in keys)
        length = -(-(longest + _CHUNK) // BUCKET) * BUCKET
        for key in keys:
            bare, padded, _ = self._known[key]
            if padded != length:
                # The padding of an earlier start is cut off first.
                self._write_png(key, pad_png(self.read(key)[: bare - len(_END)] + _END, length), bare)

    def read(self, key: str) -> bytes:
        """The PNG file of a cached image; HPEditError if it is gone or was altered."""
        try:
            data = self._path(key).read_bytes()
        except OSError as error:
            raise HPEditError(f"a picture is missing on the server ({error.strerror})", hint=_AGAIN) from error
        if key in self._known and zlib.crc32(data) != self._known[key][2]:
            raise HPEditError("a picture on the server was altered", hint=_AGAIN)
        return data

    def image(self, key: str) -> Image.Image:
        """A cached image, decoded; also before `seal`."""
        if key in self._waiting:
            self._waiting[key].result()
        return decode_image(self.read(key), key)
