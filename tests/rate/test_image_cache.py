"""The images that raters see do not reveal which editor made them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.rate.serving import Serving, make_edits, photo, serving, write_table

from hpedit.rate.image_cache import BUCKET, MAX_SIDE, ImageCache, fit_to_size, item_size, pad_png
from hpedit.store.images import png_bytes


def test_padding_keeps_every_pixel() -> None:
    image = photo(3)
    data = png_bytes(image)
    for length in (len(data), len(data) + 12, len(data) + 13, 100_000):
        padded = pad_png(data, length)
        assert len(padded) == length
        assert Image.open(io.BytesIO(padded)).tobytes() == image.tobytes()
    with pytest.raises(AssertionError):
        pad_png(data, len(data) + 5)


def test_all_pictures_of_one_size_have_one_length(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "cache")
    keys = [
        cache.add(image) for image in (Image.new("RGB", (64, 48)), photo(1, (64, 48)), photo(2, (64, 48), noise=80))
    ]
    other = cache.add(photo(1, (16, 16)))
    cache.seal()
    lengths = {len(cache.read(key)) for key in keys}
    assert len(lengths) == 1
    length = lengths.pop()
    assert length % BUCKET == 0
    assert len(cache.read(other)) < length


def test_a_later_start_encodes_only_what_is_new(tmp_path: Path) -> None:
    def fill(*images: Image.Image) -> dict[str, tuple[int, int]]:
        cache = ImageCache(tmp_path / "cache")
        keys = [cache.add(image) for image in images]
        cache.seal()
        for key, image in zip(keys, images, strict=True):
            assert cache.image(key).tobytes() == image.tobytes()
        assert len({len(cache.read(key)) for key in keys}) == 1
        return {key: (path.stat().st_mtime_ns, path.stat().st_ino) for key in keys if (path := cache._path(key))}

    plain, noisy = Image.new("RGB", (64, 48), (1, 2, 3)), photo(2, (64, 48), noise=80)
    first = fill(plain)
    assert fill(plain) == first
    # A longer picture of the same size: the short one is padded again, from its bare bytes.
    both = fill(plain, noisy)
    assert fill(noisy, plain) == both
    # Half a file, or one with a flipped bit, is not trusted.
    victim = tmp_path / "cache" / f"{next(iter(both))}.png"
    whole = victim.read_bytes()
    for damage in (whole[:-3], whole[:100] + b"\xff" + whole[101:], b""):
        victim.write_bytes(damage)
        fill(plain, noisy)
        assert victim.read_bytes() == whole


def test_sizes_follow_the_source() -> None:
    assert item_size(photo(1, (40, 30))) == (40, 30)
    assert item_size(Image.new("RGB", (MAX_SIDE * 2, MAX_SIDE))) == (MAX_SIDE, MAX_SIDE // 2)
    assert item_size(Image.new("RGB", (MAX_SIDE * 9, 1))) == (MAX_SIDE, 1)
    # Rounded to a multiple of 16 by an editor: resampled, without a frame.
    assert (128, 128, 128) not in fit_to_size(Image.new("RGB", (1024, 768), "red"), (1000, 750)).getdata()
    framed = fit_to_size(Image.new("RGB", (400, 400), "red"), (800, 400))
    assert framed.size == (800, 400)
    assert (framed.getpixel((10, 200)), framed.getpixel((400, 200))) == ((128, 128, 128), (255, 0, 0))


def test_names_metadata_size_and_headers_do_not_tell_the_editor(tmp_path: Path) -> None:
    folder = make_edits(tmp_path / "edits", cases=1, editors=0, size=(32, 24))
    info = PngInfo()
    info.add_text("Software", "secret-model-0")
    exif = Image.Exif()
    exif[0x0131] = "secret-model-1"
    photo(5, (32, 24)).save(folder / "a.png", pnginfo=info)
    photo(6, (64, 48), noise=90).save(folder / "b.jpg", quality=60, exif=exif)
    os.utime(folder / "a.png", (1, 1))
    row = {"case_id": "c", "instruction": "make it red", "source_file": "s0.png"}
    rows = [
        {**row, "edit_id": "secret-model-0", "edited_file": "a.png"},
        {**row, "edit_id": "secret-model-1", "edited_file": "b.jpg"},
    ]
    with serving(write_table(folder, rows), tmp_path / "r.sqlite", kind="compare") as app:
        anna = app.rater()
        reply = anna.http.get("/api/next")
        assert "secret" not in reply.text + str(reply.headers)
        item = reply.json()["item"]
        responses = [anna.picture(address) for address in (item["source"], *item["edits"])]
        for response in responses:
            assert b"secret" not in response.content
            assert Image.open(io.BytesIO(response.content)).info == {}
            assert Image.open(io.BytesIO(response.content)).size == (32, 24)
            assert "etag" not in response.headers
            assert "last-modified" not in response.headers
        assert len({len(response.content) for response in responses}) == 1
        assert len({tuple((k, v) for k, v in r.headers.items() if k != "date") for r in responses}) == 1
        assert len({len(address) for address in (item["source"], *item["edits"])}) == 1


def test_pictures_are_encoded_before_the_first_request(app: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = app.rater()
    item = anna.next()
    assert item is not None

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a picture was encoded or decoded for a request")

    monkeypatch.setattr(Image.Image, "save", never)
    monkeypatch.setattr(Image, "open", never)
    assert anna.picture(item["source"]).status_code == anna.picture(item["edits"][0]).status_code == 200


def test_addresses_differ_between_raters_and_items(app: Serving) -> None:
    addresses: list[str] = []
    for name in ("Anna", "Berta"):
        rater = app.rater(name)
        while (item := rater.next()) is not None:
            addresses += [item["assignment"], item["source"], *item["edits"]]
            rater.answer(item, 3)
    # Eight edits of four photographs, two raters: not even the source of two edits has one address.
    assert len(addresses) == len(set(addresses)) == 2 * 8 * 3
