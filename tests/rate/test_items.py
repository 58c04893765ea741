"""Items to rate: what is read, and what is refused before a rater sees it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from tests.rate.serving import make_edits, photo, write_table
from tests.shared_data import shared_data

from hpedit.errors import HPEditError
from hpedit.rate.image_cache import ImageCache
from hpedit.rate.items import RatedImage, compare_items, count_edits, load_rated_images, pair_id, score_items
from hpedit.records import Case, Edit
from hpedit.store.paths import inside
from hpedit.store.tables import write_cases, write_edits


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "cache")


def cases_and_edits(folder: Path, labels: tuple[str, ...]) -> None:
    """cases.parquet, and a folder of edits for each label, as a benchmark leaves them."""
    cases = [
        Case(f"c{n}", "color", "make it red", (photo(n), photo(50 + n, (10, 30))), source_id=f"p{n}") for n in range(3)
    ]
    write_cases(folder / "cases.parquet", cases)
    for number, label in enumerate(labels):
        (folder / label).mkdir()
        edits = [Edit(f"{label}:{case.id}", case.id, label, 0, photo(100 * number + 7, noise=9)) for case in cases[:2]]
        write_edits(folder / label / "edits.parquet", edits)


def read(cache: ImageCache, *paths: Path) -> list[RatedImage]:
    rated_images = load_rated_images(paths[0], cache, *paths[1:])
    cache.seal()
    return rated_images


def test_a_table_of_edits(tmp_path: Path, cache: ImageCache) -> None:
    folder = make_edits(tmp_path / "edits", cases=2)
    assert count_edits(folder) == 4
    first, *others = read(cache, folder)
    assert (first.edit_id, first.case_id, first.source_id, first.task) == ("e0-0", "c0", "p0", "color")
    assert (first.instruction, first.editor, first.size) == ("make thing 0 red", "secret-model-0", (24, 16))
    assert cache.image(first.source).tobytes() == photo(0).tobytes()
    assert cache.image(first.picture).tobytes() == Image.open(folder / "secret-model-0-0.png").tobytes()
    assert [other.edit_id for other in others] == ["e0-1", "e1-0", "e1-1"]
    assert [item.id for item in score_items([first, *others])] == ["e0-0", "e0-1", "e1-0", "e1-1"]
    pairs = compare_items([first, *others])
    assert [pair.id for pair in pairs] == [pair_id("e0-1", "e0-0"), pair_id("e1-0", "e1-1")]


def test_edits_of_one_photo_and_instruction_are_one_case_where_none_is_named(tmp_path: Path, cache: ImageCache) -> None:
    folder = make_edits(tmp_path / "edits", cases=2)
    row = {"instruction": "make it red", "source_file": "s0.png"}
    rows = [{**row, "edit_id": f"e{n}", "edited_file": f"secret-model-{n}-0.png"} for n in range(2)]
    write_table(folder, [*rows, {**row, "edit_id": "e2", "source_file": "s1.png", "edited_file": "s0.png"}])
    assert [rated.case_id for rated in read(cache, folder)] == ["e0", "e0", "e2"]


@pytest.mark.parametrize(("column", "other"), [("instruction", "make it blue"), ("source_file", "s1.png")])
def test_edits_of_unlike_cases_under_one_id_are_not_compared(
    tmp_path: Path, cache: ImageCache, column: str, other: str
) -> None:
    folder = make_edits(tmp_path / "edits", cases=2)
    row = {"case_id": "c", "instruction": "make it red", "source_file": "s0.png"}
    rows = [{**row, "edit_id": f"e{n}", "edited_file": f"secret-model-{n}-0.png"} for n in range(2)]
    rated_images = read(cache, write_table(folder, [rows[0], {**rows[1], column: other}]))
    assert len(score_items(rated_images)) == 2
    with pytest.raises(HPEditError, match=f"e0 and e1 of case c differ in {column.removesuffix('_file')}"):
        compare_items(rated_images)


def test_the_magicbrush_layout(cache: ImageCache) -> None:
    folder = shared_data("magicbrush", "edits.csv")
    cache.add = lambda image: f"{image.size}"  # type: ignore[method-assign]
    rated_images = load_rated_images(folder, cache)
    assert len(rated_images) == 315 == count_edits(folder)
    assert (rated_images[0].edit_id, rated_images[0].source_id, rated_images[0].task) == ("49_1", "49", "removal")
    assert {rated.task for rated in rated_images} == {"addition", "removal", "swap", "color", "background", None}
    with pytest.raises(HPEditError, match="no case has two"):
        compare_items(rated_images)


def test_a_benchmark_of_two_models(tmp_path: Path, cache: ImageCache) -> None:
    cases_and_edits(tmp_path, ("base", "post"))
    rated_images = read(cache, tmp_path)
    assert [rated.edit_id for rated in rated_images] == ["base:c0", "base:c1", "post:c0", "post:c1"]
    assert count_edits(tmp_path) == 4
    assert [item.first.case_id for item in compare_items(rated_images)] == ["c0", "c1"]
    # A further source picture keeps its own size.
    assert cache.image(rated_images[0].references[0]).size == (10, 30)


def test_a_folder_of_edits_beside_its_cases_and_a_bare_table(tmp_path: Path, cache: ImageCache) -> None:
    cases_and_edits(tmp_path, ("base",))
    for place in (tmp_path, tmp_path / "base", tmp_path / "base" / "edits.parquet"):
        assert len(read(ImageCache(tmp_path / "cache"), place)) == 2
    (tmp_path / "cases.parquet").rename(tmp_path / "elsewhere.parquet")
    with pytest.raises(HPEditError, match="holds no cases") as caught:
        load_rated_images(tmp_path / "base" / "edits.parquet", cache)
    assert "--cases" in caught.value.hint
    assert len(read(cache, tmp_path / "base" / "edits.parquet", tmp_path / "elsewhere.parquet")) == 2


def test_what_holds_no_edits_is_said(tmp_path: Path, cache: ImageCache) -> None:
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    for place, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, "holds no edits"),
        (tmp_path / "bad.parquet", "not a table"),
    ):
        with pytest.raises(HPEditError, match=message):
            load_rated_images(place, cache)
    folder = make_edits(tmp_path / "edits", cases=1, editors=1)
    row = {"edit_id": "x", "instruction": "y", "source_file": "s0.png", "edited_file": "s0.png"}
    write_table(folder, [row, row])
    with pytest.raises(HPEditError, match="twice"):
        load_rated_images(folder, cache)
    write_table(folder, [])
    with pytest.raises(HPEditError, match="no edits"):
        load_rated_images(folder, cache)


WILD = [
    "../outside.png", "a/../../outside.png", "/etc/passwd", "link.png", "linked/outside.png", "../edits-evil/x.png",
    "C:\\x.png", "C:x.png", "\\\\server\\share\\x.png", "..\\outside.png", "s0.png\0.jpg", ".", "missing.png",
]  # fmt: skip
ADDRESSES = [
    "http://169.254.169.254/latest/meta-data", "https://example.org/a.png", "file:///etc/passwd", "FILE:/etc/passwd",
    "data:image/png;base64,AAAA", "ftp://x/y.png",
]  # fmt: skip


@pytest.mark.parametrize("name", WILD)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, cache: ImageCache, name: str) -> None:
    folder = make_edits(tmp_path / "edits", cases=1, editors=1)
    photo(1).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "linked").symlink_to(tmp_path)
    (tmp_path / "edits-evil").mkdir()
    photo(1).save(tmp_path / "edits-evil" / "x.png")
    with pytest.raises(HPEditError, match=r"edits\.csv:2"):
        inside(folder, name, "edits.csv:2")
    if "\0" not in name:
        row = {"edit_id": "x", "instruction": "y", "source_file": "s0.png", "edited_file": name}
        write_table(folder, [row])
        with pytest.raises(HPEditError, match=r"edits\.csv:2: "):
            load_rated_images(folder, cache)


@pytest.mark.parametrize("name", ADDRESSES)
def test_no_address_is_fetched(tmp_path: Path, cache: ImageCache, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", never)
    folder = make_edits(tmp_path / "edits", cases=1, editors=1)
    write_table(folder, [{"edit_id": "x", "instruction": "y", "source_file": name, "edited_file": "s0.png"}])
    with pytest.raises(HPEditError, match="nothing is fetched"):
        load_rated_images(folder, cache)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    """A PNG whose comment unpacks to 200 MB."""
    plain = png_of_size(4, 4)
    data = b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return plain[:33] + chunk + plain[33:]


@pytest.mark.parametrize("bomb", [png_of_size(60_000, 60_000), png_of_size(20_000, 20_000), text_bomb()])
def test_decompression_bombs_are_refused(tmp_path: Path, cache: ImageCache, bomb: bytes) -> None:
    folder = make_edits(tmp_path / "edits", cases=1, editors=1)
    (folder / "bomb.png").write_bytes(bomb)
    write_table(folder, [{"edit_id": "x", "instruction": "y", "source_file": "s0.png", "edited_file": "bomb.png"}])
    with pytest.raises(HPEditError, match=r"bomb\.png"):
        load_rated_images(folder, cache)


@pytest.mark.slow
def test_ten_thousand_files(tmp_path: Path) -> None:
    folder = tmp_path / "edits"
    folder.mkdir()
    for number in range(50):
        Image.new("RGB", (4, 3), (number, 7, 7)).save(folder / f"picture{number}.png")
    rows = []
    for number in range(5000):
        names = {"source_file": f"s{number}.png", "edited_file": f"e{number}.png"}
        for name in names.values():
            (folder / name).hardlink_to(folder / f"picture{number % 50}.png")
        rows.append({"edit_id": f"e{number}", "instruction": "x", **names})
    rated_images = read(ImageCache(tmp_path / "cache"), write_table(folder, rows))
    assert len(rated_images) == 5000
    # Equal pictures are kept once.
    assert len(list((tmp_path / "cache").glob("*.png"))) == 50
