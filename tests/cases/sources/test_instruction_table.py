"""Tables of pictures with instructions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cases.sources.opening import encoded, fingerprint, photos, picture, put, read, skipped
from tests.shared_data import shared_data

from hpedit.cases.duplicates import pixel_sha, source_id_of_pixels
from hpedit.cases.sources.records import RecordFile
from hpedit.errors import HPEditError
from hpedit.records import Case


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_csv_with_what_is_skipped(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"<html>no picture</html>")
    rows = [
        "id,image,instruction,task,license,photo_id,object",
        "1,a.png,remove the cup,removal,CC0,p1,cup",
        "2,missing.png,remove the cup,removal,,,",
        "3,broken.png,remove the cup,removal,,,",
        "4,a.png,,removal,,,",
        "5,a.png,do something,,,,",
        "6,./a.png,remove the plate,,,,plate",
        "7,a.png,too few",
    ]
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    items = read(tmp_path, table=".", origin="mine")
    (photo,) = photos(items).values()
    assert (photo.id, photo.licence, photo.origin, photo.source_id) == ("0/a.png", "CC0", "mine/a.png", "p1")
    assert [(d.id, d.task, d.instruction, d.category) for d in photo.candidates] == [
        ("1", "removal", "remove the cup", "cup"),
        ("6", "removal", "remove the plate", "plate"),
    ]
    reasons = skipped(items)
    assert {key: reasons[f"0/cases.csv:{key}"] for key in (4, 5)}
    assert "missing.png is not a file" in reasons["0/cases.csv:3"]
    assert "HTML" in reasons["0/cases.csv:4"]
    assert reasons["0/cases.csv:5"] == "the instruction is empty"
    assert "none of the eight" in reasons["0/cases.csv:6"]
    assert "3 cells, but the header has 7" in reasons["0/cases.csv:8"]
    assert len(reasons) == 5


def test_csv_cells_with_line_ends_quotes_and_apostrophes(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "b.png", 1)
    (tmp_path / "t.csv").write_bytes(
        b'\xef\xbb\xbfimage,instruction\r\n"a.png","remove the\r\n""red"" cup"\r\n\r\nb.png,\'=remove the cup\r\n'
    )
    found = photos(read(tmp_path, table="t.csv", size=1))
    assert found["0/a.png"].candidates[0].instruction == 'remove the\r\n"red" cup'
    assert found["0/b.png"].candidates[0].instruction == "=remove the cup"


def test_edit_r1_folder(tmp_path: Path) -> None:
    put(tmp_path / "images" / "1.png")
    row = {"prompt": "make it sepia", "image": "images/1.png", "requirement": "the whole picture is sepia"}
    jsonl(tmp_path / "train_metadata.jsonl", row)
    jsonl(tmp_path / "test_metadata.jsonl", {**row, "prompt": "remove the cup"})
    (photo,) = photos(read(tmp_path, table=".")).values()
    (candidate,) = photo.candidates
    assert (candidate.task, candidate.instruction, candidate.requirement) == (
        "style",
        "make it sepia",
        "the whole picture is sepia",
    )


def test_flow_grpo_tables_of_one_and_of_two_pictures(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "input/1.png", "referenced/1.png")):
        put(tmp_path / name, number)
    counting = {
        "tag": "counting",
        "include": [{"class": "cup", "count": 2}],
        "t2i_prompt": "a photo of one cup",
        "prompt": "Add a cup",
        "image": "a.png",
    }
    two = {
        "tag": "dual_ref",
        "prompt": "Replace the logo with the one in the second picture",
        "ctrl_image": "input/1.png",
        "ref_image": "referenced/1.png",
        "sup_image": "supervise/1.png",
    }
    jsonl(tmp_path / "train_metadata.jsonl", counting, two, {**two, "ref_image": "gone.png"})
    items = read(tmp_path, table=".", licence="CC0")
    assert [candidate.task for candidate in photos(items)["0/a.png"].candidates] == ["addition"]
    (case,) = [item for item in items if isinstance(item, Case)]
    assert (case.task, case.licence, case.source_id) == ("swap", "CC0", source_id_of_pixels(pixel_sha(picture(1))))
    assert [image.tobytes() for image in case.sources] == [picture(1).tobytes(), picture(2).tobytes()]
    assert "gone.png" in skipped(items)["0/train_metadata.jsonl:3"]


def test_missing_pictures_duplicate_ids_and_repeated_rows(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "b.png", 1)
    jsonl(
        tmp_path / "t.jsonl",
        {"id": 1, "image": "a.png", "prompt": "remove the cup"},
        {"id": 1, "image": "b.png", "prompt": "remove the plate"},
        {"id": 2, "image": "b.png", "prompt": "remove the cup"},
        {"image": "b.png", "prompt": "remove the cup"},
        {"id": 3, "prompt": "remove the cup"},
        {"id": 4, "image": "gone.png", "prompt": "remove the cup"},
    )
    items = read(tmp_path, table="t.jsonl")
    assert {key: [candidate.id for candidate in photo.candidates] for key, photo in photos(items).items()} == {
        "0/a.png": ["1"],
        "0/b.png": ["2"],
    }
    reasons = skipped(items)
    assert reasons["0/t.jsonl:2"] == "line 1 has the id 1 too"
    assert "same picture and instruction as in line 3" in reasons["0/t.jsonl:4"]
    assert "no picture" in reasons["0/t.jsonl:5"]
    assert "gone.png is not a file" in reasons["0/t.jsonl:6"]
    assert len(reasons) == 4


@pytest.mark.parametrize("name", ["../a.png", "/etc/hostname", "c:\\a.png", "file:///a.png", "a\0.png", "out.png"])
def test_pictures_outside_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    put(root / "good.png")
    put(tmp_path / "a.png", 1)
    (root / "out.png").symlink_to(tmp_path / "a.png")
    jsonl(root / "t.jsonl", *({"image": image, "prompt": "remove the cup"} for image in ("good.png", name)))
    items = read(tmp_path, table="root/t.jsonl")
    assert list(photos(items)) == ["0/good.png"]
    assert list(skipped(items)) == ["0/t.jsonl:2"]
    assert fingerprint(tmp_path, table="root/t.jsonl")


def test_bad_lines_are_named_and_the_others_read(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    lines = [
        b'\xef\xbb\xbf{"image": "a.png", "prompt": "remove the cup"}',
        b"",
        b"   ",
        b'{"image": "a.png", "prompt": "remove the caf\xe9"}',
        b"[1, 2]",
        b"{not json}",
        b"[" * 100_000,
        b'{"image": "a.png", "prompt": "remove the cup"}',
        b'{"image": "a.png", "prompt": "remove the plate\\nand the spoon"}\r',
        b'{"image": "a.png", "prompt": "remove half a \\ud83d"}',
        b'{"image": "a.png", "prompt": "remove the fork"',
    ]
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(lines))
    items = read(tmp_path, table="t.jsonl", size=1)
    (photo,) = photos(items).values()
    assert [candidate.instruction for candidate in photo.candidates] == [
        "remove the cup",
        "remove the plate\nand the spoon",
    ]
    reasons = skipped(items)
    said = {
        4: "not UTF-8",
        5: "not an object",
        6: "not JSON",
        7: "not JSON",
        8: "same picture",
        10: "surrogate",
        11: "torn",
    }
    assert set(reasons) == {f"0/t.jsonl:{line}" for line in said}
    for line, words in said.items():
        assert words in reasons[f"0/t.jsonl:{line}"]


def test_bad_rows_of_a_csv(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "t.csv").write_bytes(
        b'image,instruction\na.png,remove the caf\xe9\na.png,"remove" it\n\n , \na.png,remove the cup'
    )
    items = read(tmp_path, table="t.csv")
    assert [candidate.instruction for candidate in photos(items)["0/a.png"].candidates] == ["remove the cup"]
    reasons = skipped(items)
    assert "not UTF-8" in reasons["0/t.csv:2"]
    assert "not CSV" in reasons["0/t.csv:3"]
    assert len(reasons) == 2


INDEX_A_MILLION = """
import resource
from pathlib import Path
from hpedit.cases.recipe import SourceSection
from hpedit.cases.sources import open_source
source = open_source(SourceSection(table="t.jsonl"), 0, Path("."))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
items = [item for chunk in source.chunks(64) for item in chunk.items[:1]]
print(len(items), items[0], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_million_rows_in_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "t.jsonl").open("w") as file:
        for number in range(1_000_000):
            file.write(f'{{"id": "{number}", "image": "{number % 300_000}.png", "prompt": "remove cup {number}"}}\n')
    child = [sys.executable, "-c", INDEX_A_MILLION]
    done = subprocess.run(child, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=True)
    chunks, first, megabytes = done.stdout.split()
    assert int(chunks) == -(-300_000 // 64)
    assert [int(place.split(":")[0]) for place in first.split(",")] == [1, 300_001, 600_001, 900_001]
    # Four numbers a row, and as much again several times while they are sorted; not one text is kept.
    assert int(megabytes) < 300


def test_rows_are_found_again_by_their_places(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('image,prompt\na,"x\ny"\n\nb,"z\n\n"\nc,d\n')
    file = RecordFile(tmp_path / "t.csv")
    records = list(file.records())
    assert [record.line for record in records] == [2, 5, 8]
    assert list(file.at((record.line, record.offset) for record in reversed(records))) == records[::-1]
    (tmp_path / "t.csv").write_text("image,prompt\n")
    with pytest.raises(HPEditError, match="is gone"):
        list(file.at([(2, records[0].offset)]))


def test_pictures_in_another_folder_and_a_count(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "pictures" / f"{number}.png", number)
    rows = [{"image": f"{number}.png", "prompt": "remove the cup"} for number in (2, 0, 1, 2)]
    jsonl(tmp_path / "tables.jsonl", *rows)
    items = read(tmp_path, table="tables.jsonl", photos="pictures", count=2)
    assert list(photos(items)) == ["0/2.png", "0/0.png"]


def test_the_fingerprint_knows_table_and_pictures(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "unnamed.png")
    jsonl(tmp_path / "t.jsonl", {"image": "a.png", "prompt": "remove the cup"})
    before = fingerprint(tmp_path, table="t.jsonl")
    put(tmp_path / "unnamed.png", 1)
    assert fingerprint(tmp_path, table="t.jsonl") == before
    put(tmp_path / "a.png", 1)
    changed = fingerprint(tmp_path, table="t.jsonl")
    assert changed != before
    jsonl(tmp_path / "t.jsonl", {"image": "a.png", "prompt": "remove the plate"})
    assert fingerprint(tmp_path, table="t.jsonl") not in (before, changed)


def test_missing_columns_and_empty_tables_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,words\na.png,x\n")
    with pytest.raises(HPEditError, match="no column 'instruction'"):
        read(tmp_path, table="t.csv")
    (tmp_path / "e.csv").write_text("image,instruction\n")
    with pytest.raises(HPEditError, match="has no row"):
        read(tmp_path, table="e.csv")
    (tmp_path / "z.csv").write_text("")
    with pytest.raises(HPEditError, match="is empty"):
        read(tmp_path, table="z.csv")
    with pytest.raises(HPEditError, match="does not exist"):
        read(tmp_path, table="no.csv")
    (tmp_path / "d").mkdir()
    with pytest.raises(HPEditError, match="no table of instructions"):
        read(tmp_path, table="d")
    (tmp_path / "t.xlsx").write_bytes(encoded())
    with pytest.raises(HPEditError, match="neither CSV nor JSONL"):
        read(tmp_path, table="t.xlsx")


def test_all_of_magicbrush_is_read() -> None:
    folder = shared_data("magicbrush", "edits.csv")
    items = read(folder, table="edits.csv", licence="CC BY 4.0", origin="MagicBrush")
    found = photos(items).values()
    candidates = [candidate for photo in found for candidate in photo.candidates]
    assert len(candidates) + len(skipped(items)) == 315
    assert {candidate.task for candidate in candidates} == {"addition", "removal", "swap", "color", "background"}
    assert all("none of the eight" in reason for reason in skipped(items).values())
    assert len({photo.source_id for photo in found}) < len(found)
    assert {candidate.id for candidate in candidates} <= {path.stem for path in (folder / "edited").iterdir()}
    assert {(photo.licence, photo.origin.split("/")[0]) for photo in found} == {("CC BY 4.0", "MagicBrush")}
