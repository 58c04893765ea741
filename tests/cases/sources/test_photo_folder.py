"""A folder of pictures: what is read, what is skipped and why, and whose each picture is."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.cases.sources.opening import encoded, fingerprint, photos, picture, put, read, skipped

from hpedit.cases.recipe import SourceSection
from hpedit.cases.sources import open_source
from hpedit.errors import HPEditError


def test_pictures_are_found_in_the_depths_and_sorted(tmp_path: Path) -> None:
    for number, name in enumerate(("b.png", "a/z.PNG", "a/b/c.png", "ä ö.png", ".hidden/x.png", ".x.png")):
        put(tmp_path / name, number)
    items = read(tmp_path, number=3, folder=".")
    assert list(photos(items)) == ["3/a/b/c.png", "3/a/z.PNG", "3/b.png", "3/ä ö.png"]
    assert not skipped(items)
    assert photos(items)["3/b.png"].image.tobytes() == picture(0).tobytes()


def test_chunks_are_plain_data_and_hold_everything_once(tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path / f"{number}.png", number)
    source = open_source(SourceSection(folder=str(tmp_path)), 0, Path("/nowhere"))
    chunks = pickle.loads(pickle.dumps(list(source.chunks(2))))
    assert [chunk.items for chunk in chunks] == [("0.png", "1.png"), ("2.png", "3.png"), ("4.png",)]
    assert len(photos(read(tmp_path, folder=".", size=2))) == 5
    assert [photo.id for photo in photos(read(tmp_path, folder=".", count=3)).values()] == [
        "0/0.png",
        "0/1.png",
        "0/2.png",
    ]


def test_what_is_broken_is_named_and_skipped(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    broken = {
        "cut.jpg": (encoded(format="JPEG")[:-100], "damaged or truncated"),
        "empty.png": (b"", "is empty (0 bytes)"),
        "page.png": (b"<!doctype html><html>", "HTML"),
        "lies.png": (encoded(format="JPEG"), "named like PNG but holds JPEG"),
        "drawing.svg": (b"<svg/>", "image extension"),
        "notes.txt": (b"hello", "image extension"),
    }
    for name, (content, _) in broken.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    items = read(tmp_path, folder=".")
    assert list(photos(items)) == ["0/good.png"]
    reasons = skipped(items)
    assert set(reasons) == {*(f"0/{name}" for name in broken), "0/pipe.png"}
    for name, (_, said) in broken.items():
        assert said in reasons[f"0/{name}"]
        assert name in reasons[f"0/{name}"]
    assert not any(str(tmp_path) in reason for reason in reasons.values())


def test_links_out_are_skipped_and_links_within_are_not(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-evil"
    put(root / "a.png")
    put(outside / "secret.png", 1)
    (root / "within.png").symlink_to(root / "a.png")
    (root / "out.png").symlink_to(outside / "secret.png")
    (root / "album").symlink_to(outside)
    (root / "loop").symlink_to(root)
    items = read(tmp_path, folder="root")
    assert set(photos(items)) == {"0/a.png", "0/within.png"}
    reasons = skipped(items)
    assert set(reasons) == {"0/out.png", "0/album", "0/loop"}
    assert "link out" in reasons["0/out.png"]
    assert "link to a folder" in reasons["0/album"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    put(tmp_path / "good\nname.png")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png"))).write_bytes(encoded(1))
    items = read(tmp_path, folder=".")
    assert list(photos(items)) == ["0/good\nname.png"]
    assert "not UTF-8" in skipped(items)["0/bad\\xff.png"]
    json.dumps(list(skipped(items))).encode()


def test_every_mode_comes_out_as_rgb(tmp_path: Path) -> None:
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"):
        image = Image.new(mode, (17, 5))
        image.save(tmp_path / f"{mode.replace(';', '')}.{'tif' if mode == 'CMYK' else 'png'}")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("RGB", (1, 10000)).save(tmp_path / "thin.png")
    found = photos(read(tmp_path, folder="."))
    assert len(found) == 9
    assert {photo.image.mode for photo in found.values()} == {"RGB"}
    assert found["0/thin.png"].image.size == (1, 10000)


def test_licence_and_origin_of_each_picture(tmp_path: Path) -> None:
    for name in ("own", "defaults", "wrong", "huge"):
        put(tmp_path / "d" / f"{name}.png")
    said = {"license": "CC0", "url": "https://example.org/1", "label": "dog", "caption": "a dog"}
    (tmp_path / "d" / "own.json").write_text(json.dumps(said))
    (tmp_path / "d" / "own.txt").write_text("a dog")
    (tmp_path / "d" / "wrong.json").write_text("{")
    (tmp_path / "d" / "huge.json").write_text(json.dumps({"license": "x" * 2_000_000}))
    items = read(tmp_path, folder="d", licence="CC BY 4.0", origin="Pixabay")
    own, defaults = photos(items)["0/own.png"], photos(items)["0/defaults.png"]
    assert (own.licence, own.origin, own.labels) == ("CC0", "https://example.org/1", ("dog",))
    assert (defaults.licence, defaults.origin, defaults.labels) == ("CC BY 4.0", "Pixabay/defaults.png", ())
    assert set(skipped(items)) == {"0/wrong.png", "0/huge.png"}
    bare = photos(read(tmp_path, folder="d"))["0/defaults.png"]
    assert (bare.licence, bare.origin) == ("", "defaults.png")


def test_the_fingerprint_follows_the_content_alone(tmp_path: Path) -> None:
    put(tmp_path / "one" / "a.png", 1)
    put(tmp_path / "one" / "b.png", 2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = fingerprint(tmp_path, folder="one")
    assert fingerprint(tmp_path, folder="two") == before
    content = bytearray((tmp_path / "two" / "a.png").read_bytes())
    content[-20] ^= 1
    status = (tmp_path / "two" / "a.png").stat()
    (tmp_path / "two" / "a.png").write_bytes(content)
    os.utime(tmp_path / "two" / "a.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(tmp_path, folder="two") != before
    (tmp_path / "one" / "a.png").rename(tmp_path / "one" / "c.png")
    assert fingerprint(tmp_path, folder="one") != before


def test_no_folder_and_no_picture_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="is not a folder"):
        read(tmp_path, folder="nothing")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(HPEditError, match="contains no picture"):
        read(tmp_path, folder=".")
