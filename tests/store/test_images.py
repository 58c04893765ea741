"""Every file that people hand us becomes an upright RGB picture or one clear error."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from hpedit.errors import HPEditError
from hpedit.store.images import MAX_BYTES, decode_image, list_images, load_image, png_bytes

RED = (200, 30, 40)


def picture(size: tuple[int, int] = (40, 24)) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, format=format, **options)
    return buffer.getvalue()


def png_of_claimed_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + crc
        + struct.pack(">I", 0)
        + b"IDAT"
        + bytes(4)
    )


def frames(format: str) -> bytes:
    return encoded(format, save_all=True, append_images=[Image.new("RGB", (40, 24), RED)])


BAD = {
    "truncated.jpg": (encoded("JPEG")[:-200], "damaged or truncated"),
    "truncated.png": (encoded("PNG")[:-200], "damaged or truncated"),
    "empty.png": (b"", "is empty (0 bytes)"),
    "page.png": (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
    "drawing.png": (b'<?xml version="1.0"?><svg><script>alert(1)</script></svg>', "an SVG drawing"),
    "noise.jpg": (bytes(range(256)), "not an image"),
    "really_jpeg.png": (encoded("JPEG"), "named like PNG but holds JPEG"),
    "really_png.jpeg": (encoded("PNG"), "named like JPEG but holds PNG"),
    "animated.gif": (frames("GIF"), "2 frames"),
    "animated.webp": (frames("WEBP"), "2 frames"),
    "animated.png": (frames("PNG"), "2 frames"),
    "pages.tiff": (frames("TIFF"), "2 frames or pages"),
    "bomb.png": (png_of_claimed_size(65000, 65000), "too large"),
    "large.png": (png_of_claimed_size(12000, 12000), "too large: 12000 x 12000"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gives_one_clear_error(tmp_path: Path, name: str) -> None:
    content, said = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HPEditError) as caught:
        load_image(tmp_path / name)
    assert said in caught.value.message
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.hint


def test_every_truncation_of_a_file_is_an_error_or_the_whole_picture(tmp_path: Path) -> None:
    for format, name in (("PNG", "a.png"), ("JPEG", "a.jpg"), ("WEBP", "a.webp"), ("TIFF", "a.tif"), ("BMP", "a.bmp")):
        whole = encoded(format)
        for length in range(0, len(whole), max(1, len(whole) // 25)):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(HPEditError):
                load_image(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["AVIF", "TIFF", "PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_changed_byte_is_an_error_or_a_picture(format: str) -> None:
    whole = encoded(format)
    # What describes the picture stands at the front, in a TIFF at the end.
    places = [*range(0, min(len(whole), 360), 2), *range(max(0, len(whole) - 300), len(whole), 2)]
    refused = 0
    for place in places:
        for value in (0, 255):
            changed = bytearray(whole)
            changed[place] = value
            try:
                assert decode_image(bytes(changed), "a").mode == "RGB"
            except HPEditError:
                refused += 1
    assert refused


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="does not exist"):
        load_image(tmp_path / "nothing.png")
    with pytest.raises(HPEditError, match="cannot be read: Is a directory"):
        load_image(tmp_path)


def test_a_phones_two_picture_jpeg_is_its_photograph(tmp_path: Path) -> None:
    (tmp_path / "phone.jpg").write_bytes(frames("MPO"))
    assert load_image(tmp_path / "phone.jpg").size == (40, 24)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (40, 24), "white")
    upright.paste((0, 0, 0), (0, 0, 20, 12))  # the upper left quarter is black
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert load_image(tmp_path / "a.png").tobytes() == upright.tobytes()


def test_corrupt_exif_leaves_the_picture_as_it_lies(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", quality=95)
    assert load_image(tmp_path / "a.jpg").size == (40, 24)


def test_alpha_is_laid_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "rgba.png")
    Image.new("LA", (4, 4), (0, 0)).save(tmp_path / "la.png")
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0] * 256)
    palette.save(tmp_path / "p.png", transparency=0)
    for name in ("rgba", "la", "p"):
        assert load_image(tmp_path / f"{name}.png").getpixel((1, 1)) == (255, 255, 255)


def test_deep_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    values = np.asarray(load_image(tmp_path / "a.png"))
    assert np.abs(values[..., 0] - ramp / 257.0).max() <= 0.5


def swapped_profile() -> bytes:
    """A profile of RGB files whose first channel is blue and whose last is red."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"tmpX"), (b"bXYZ", b"rXYZ"), (b"tmpX", b"bXYZ")):
        data = data.replace(old, new)
    return data.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_a_profile_is_applied_with_alpha_and_without(tmp_path: Path) -> None:
    color = (90, 60, 30)
    Image.new("RGB", (4, 4), color).save(tmp_path / "rgb.png", icc_profile=swapped_profile())
    Image.new("RGBA", (4, 4), (*color, 255)).save(tmp_path / "rgba.png", icc_profile=swapped_profile())
    Image.new("RGBA", (4, 4), (*color, 255)).save(tmp_path / "plain.png")
    for name in ("rgb", "rgba"):
        assert np.abs(np.subtract(load_image(tmp_path / f"{name}.png").getpixel((0, 0)), (30, 60, 90))).max() <= 2
    assert load_image(tmp_path / "plain.png").getpixel((0, 0)) == color


def test_lab_colours_are_refused(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4), (100, 20, 30)).save(tmp_path / "a.tif")
    with pytest.raises(HPEditError, match="mode LAB"):
        load_image(tmp_path / "a.tif")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(HPEditError, match="pipe or a device"):
        load_image(tmp_path / "a.png")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(HPEditError, match="too large: 1,073,741,825 bytes"):
        load_image(tmp_path / "a.png")


def test_an_error_uses_the_given_name_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(HPEditError) as caught:
        load_image(tmp_path / "a.png", "album/a.png")
    assert caught.value.message == "album/a.png does not exist"


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "P"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture().convert(mode).save(tmp_path / "a.tif")
    loaded = load_image(tmp_path / "a.tif")
    assert (loaded.mode, loaded.size) == ("RGB", (40, 24))


def test_a_picture_of_numbers_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(HPEditError, match="holds numbers"):
        load_image(tmp_path / "a.tif")


def test_a_colour_profile_is_applied_and_a_broken_one_ignored(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    flat = Image.new("RGB", (4, 4), RED)
    flat.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    flat.save(tmp_path / "broken.png", icc_profile=b"no profile at all")
    flat.save(tmp_path / "odd.png", icc_profile=lab)
    assert load_image(tmp_path / "srgb.png").getpixel((0, 0)) == RED
    assert load_image(tmp_path / "broken.png").getpixel((0, 0)) == RED
    assert load_image(tmp_path / "odd.png").mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (1, 10000), (31, 17)])
def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").size == size


def test_png_is_lossless_and_the_same_each_time() -> None:
    image = picture()
    tagged = image.copy()
    tagged.info["dpi"] = (300, 300)
    assert png_bytes(image) == png_bytes(tagged)
    with Image.open(io.BytesIO(png_bytes(image))) as read:
        assert read.tobytes() == image.tobytes()


def test_a_folder_gives_the_usable_ones_and_why_not_the_others(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    (root / "deep").mkdir(parents=True)
    picture().save(root / "b.png")
    picture().save(root / "deep" / "a.jpg")
    picture().save(tmp_path / "outside.png")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "notes.txt").write_text("x")
    (root / "empty.png").write_bytes(b"")
    usable, skipped = list_images(root)
    assert usable == [root / "b.png", root / "deep" / "a.jpg"]
    assert {path.name: reason.split(" ", 1)[1] for path, reason in skipped} == {
        "empty.png": "is empty (0 bytes)",
        "link.png": "is a link out of the folder",
        "notes.txt": "does not have the extension of an image",
    }
    with pytest.raises(HPEditError, match="is not a folder"):
        list_images(root / "b.png")
