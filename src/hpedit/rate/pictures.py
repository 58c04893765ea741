"""Pictures that tell nothing but what they show.

Every picture is decoded, brought to its item's size, and encoded again as PNG without metadata, before the first
request: at request time a file is read and sent, whoever made the edit. All pictures of one size are filled up to one
length by a private PNG chunk, so that the length tells the size, which anybody sees, and nothing else.

Sizes: an item has the size of its source, the longer side at most MAX_SIDE. An edit of another size is resampled to it
(Lanczos); one whose aspect ratio differs by more than ASPECT_TOLERANCE is fitted inside and framed in grey instead of
being stretched, since stretching would be taken for the editor's fault. What no frame can hide stays visible: an editor
that crops, or that works at a much lower resolution and so looks soft.
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
from hpedit.store.atomic import atomic_write, dump_json, read_json
from hpedit.store.images import decode_image, png_bytes

MAX_SIDE = 2048
"""Pixels of the longer side: more than a screen shows, and few enough that a phone can load two."""
ASPECT_TOLERANCE = 0.02
"""Editors round sides to multiples of 16 or 32, which changes the ratio by up to 2 % and must not earn a frame."""
BUCKET = 4096
"""Lengths are multiples of this many bytes."""
PAD_TYPE = b"hpEd"
"""Ancillary, private, safe to copy: decoders skip it (PNG specification, 5.4)."""

_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
_CHUNK = 12
"""Bytes of a chunk besides its data: length, type, CRC."""
_MANIFEST = "pictures.json"
_GREY = (128, 128, 128)


def item_size(source: Image.Image) -> tuple[int, int]:
    """Width and height at which the source and its edits are shown."""
    scale = min(1.0, MAX_SIDE / max(source.size))
    return max(1, round(source.width * scale)), max(1, round(source.height * scale))


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """`image` at `size`: as it is, resampled, or framed in grey where its aspect ratio is another."""
    if image.size == size:
        return image
    ratio = (image.width / image.height) / (size[0] / size[1])
    # A whole pixel more or less is rounding too, which matters for small pictures.
    slack = max(ASPECT_TOLERANCE, 1.0 / min(*size, *image.size))
    if abs(math.log(ratio)) <= math.log1p(slack):
        return image.resize(size, Image.Resampling.LANCZOS)
    return ImageOps.pad(image, size, Image.Resampling.LANCZOS, color=_GREY)


def pad_png(data: bytes, length: int) -> bytes:
    """`data` (a PNG) with a chunk that brings it to `length` bytes; it must be as long already, or 12 shorter."""
    room = length - len(data) - _CHUNK
    assert data.endswith(_END), "a PNG ends with IEND"
    if len(data) == length:
        return data
    assert room >= 0, "no room for a chunk"
    # Not zeros: a proxy that compresses what it passes on would undo the padding.
    filling = hashlib.shake_256(data[-64:]).digest(room)
    chunk = struct.pack(">I", room) + PAD_TYPE + filling + struct.pack(">I", zlib.crc32(PAD_TYPE + filling))
    return data[: -len(_END)] + chunk + _END


class PictureShelf:
    """The folder of encoded pictures. `add` all, then `seal`, then `read`.

    A picture is named by the hash of its pixels, and one that an earlier start has encoded is taken as it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HPEditError(f"{folder} cannot be made: {error.strerror}", hint="choose another --db") from error
        # Of each picture: bytes before and after filling up, and the CRC-32 of its file.
        self._known: dict[str, list[int]] = read_json(self._manifest) if self._manifest.exists() else {}
        self._groups: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, Future[None]] = {}
        workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(workers, "encode")
        # Pictures that wait for a thread are held decoded; more than these would only fill the memory.
        self._room = threading.Semaphore(2 * workers)

    @property
    def _manifest(self) -> Path:
        return self.folder / _MANIFEST

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.png"

    def add(self, image: Image.Image) -> str:
        """Encode an RGB picture at its present size, in another thread; returns its key."""
        key = hashlib.sha256(f"{image.width}x{image.height};".encode() + image.tobytes()).hexdigest()
        if key not in self._groups:
            self._groups[key] = image.size
            if not self._is_there(key):
                self._room.acquire()
                self._waiting[key] = self._pool.submit(self._encode, key, image.copy())
        return key

    def _is_there(self, key: str) -> bool:
        """Whether an earlier start left the picture whole."""
        path = self._path(key)
        return key in self._known and path.is_file() and zlib.crc32(path.read_bytes()) == self._known[key][2]

    def _encode(self, key: str, image: Image.Image) -> None:
        try:
            data = png_bytes(image)
            self._put(key, data)
            self._known[key] = [len(data), len(data), zlib.crc32(data)]
        finally:
            self._room.release()

    def _put(self, key: str, data: bytes) -> None:
        """Write a picture, not flushed: what a power cut leaves of it fails its checksum, and it is made again."""
        temporary = self.folder / f".tmp-{key}"
        temporary.write_bytes(data)
        temporary.replace(self._path(key))

    def seal(self) -> None:
        """Wait for the encoders and give all pictures of one size one length. OSError of the disk as HPEditError."""
        try:
            for future in self._waiting.values():
                future.result()
            self._pool.shutdown()
            for size in set(self._groups.values()):
                self._level([key for key, group in self._groups.items() if group == size])
            atomic_write(self._manifest, dump_json(self._known))
        except OSError as error:
            raise HPEditError(
                f"the pictures cannot be kept in {self.folder}: {error.strerror}",
                hint="free space or choose another --db",
            ) from error

    def _level(self, keys: list[str]) -> None:
        longest = max(self._known[key][0] for key in keys)
        length = -(-(longest + _CHUNK) // BUCKET) * BUCKET
        for key in keys:
            bare, padded, _ = self._known[key]
            if padded != length:
                # What an earlier start filled up is cut back first.
                whole = self.read(key)[: bare - len(_END)] + _END
                filled = pad_png(whole, length)
                self._put(key, filled)
                self._known[key] = [bare, length, zlib.crc32(filled)]

    def length(self, key: str) -> int:
        """Bytes of the picture, equal for all of its size."""
        return self._known[key][1]

    def read(self, key: str) -> bytes:
        """The PNG of a key that `add` gave."""
        return self._path(key).read_bytes()

    def image(self, key: str) -> Image.Image:
        """The picture of a key that `add` gave, decoded; also before `seal`."""
        if key in self._waiting:
            self._waiting[key].result()
        return decode_image(self.read(key), key)
