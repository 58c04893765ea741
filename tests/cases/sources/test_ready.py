"""Ready cases and scenes of the mini world as sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.cases.sources.opening import encoded, fingerprint, picture, put, read, skipped

from hpedit.cases.sources.ready import case_files
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.records import Case
from hpedit.store.tables import iter_cases, write_cases
from hpedit.tasks import TASK_IDS


def case(number: int, licence: str = "") -> Case:
    return Case(f"c{number}", "removal", "remove it", (picture(number),), f"p{number}", licence=licence)


@pytest.mark.parametrize(
    "place", ["cases.parquet", "data/train-0.parquet", "dataset/data/train-0.parquet", "x.parquet"]
)
def test_cases_are_found_where_they_are_kept(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    write_cases(tmp_path / place, [case(number) for number in range(5)])
    for name in (".", place):
        items = read(tmp_path, cases=name, size=2)
        assert [item.id for item in items if isinstance(item, Case)] == [f"c{number}" for number in range(5)]
    assert [item.sources[0].tobytes() for item in items if isinstance(item, Case)] == [
        picture(number).tobytes() for number in range(5)
    ]
    assert len(read(tmp_path, cases=".", count=3)) == 3


def test_licence_and_origin_stand_in_where_a_case_has_none(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.parquet", [case(0, "CC0"), case(1)])
    items = read(tmp_path, cases=".", licence="CC BY 4.0", origin="mine")
    assert [(item.licence, item.origin) for item in items if isinstance(item, Case)] == [
        ("CC0", "mine"),
        ("CC BY 4.0", "mine"),
    ]


def test_what_holds_no_cases_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="holds no cases"):
        read(tmp_path, cases=".")
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(HPEditError, match="not a readable parquet file"):
        read(tmp_path, cases="a.parquet")
    with pytest.raises(HPEditError, match="holds no cases"):
        case_files(tmp_path / "gone.parquet")


@pytest.mark.parametrize("rows", [range(0, 1), range(3, 9), range(9, 10), range(0, 10), range(4, 4)])
def test_a_range_of_rows_of_a_table(tmp_path: Path, rows: range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpedit.store.tables.ROWS_PER_GROUP", 4)
    write_cases(tmp_path / "cases.parquet", [case(number) for number in range(10)])
    assert [found.id for found in iter_cases(tmp_path / "cases.parquet", rows)] == [f"c{number}" for number in rows]


def test_scenes_are_those_of_the_mini_world(tmp_path: Path) -> None:
    expected = make_cases(embedded_tiles("train"), 2, 7, "train")
    items = read(tmp_path, mini="train", count=11, seed=7, size=4)
    found = [item for item in items if isinstance(item, Case)]
    assert [item.id for item in found] == [item.id for item in expected[:11]]
    assert [item.group_key for item in found] == [item.group_key for item in expected[:11]]
    assert {item.licence for item in found} == {item.licence for item in expected[:11]}
    other = [item for item in read(tmp_path, number=1, mini="train", count=8, seed=7) if isinstance(item, Case)]
    assert not {item.id for item in other} & {item.id for item in expected}
    assert not {item.group_key for item in other} & {item.group_key for item in expected}
    assert {item.task for item in other} == set(TASK_IDS)


def test_scenes_on_photographs_of_the_users_own(tmp_path: Path) -> None:
    for number in range(3):
        picture(number, (200, 200)).save(put(tmp_path / "photos" / f"{number}.png"))
    (tmp_path / "photos" / "broken.png").write_bytes(encoded()[:-40])
    before = fingerprint(tmp_path, mini="train", photos="photos")
    items = read(tmp_path, mini="train", photos="photos", count=8, licence="CC0", origin="mine")
    found = [item for item in items if isinstance(item, Case)]
    assert len(found) == 8
    assert {item.licence for item in found} == {"CC0"}
    assert {item.origin for item in found} <= {f"mine/{number}.png" for number in range(3)}
    (reason,) = skipped(items).values()
    assert reason.startswith("broken.png is damaged")
    picture(9, (200, 200)).save(tmp_path / "photos" / "0.png")
    assert fingerprint(tmp_path, mini="train", photos="photos") != before
    (tmp_path / "empty").mkdir()
    with pytest.raises(HPEditError, match="no picture that can be read"):
        read(tmp_path, mini="train", photos="empty")


def test_scenes_with_cut_outs(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    for number, name in enumerate(("red ball", "blue box", "green cone", "yellow star", "white cup")):
        image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
        image.paste((200 - 30 * number, 40 * number, 60), (6, 6, 34, 34))
        image.save(tmp_path / "objects" / f"{name}.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "objects" / "flat.png")
    items = read(tmp_path, mini="train", objects="objects", count=8, size=3)
    assert len([item for item in items if isinstance(item, Case)]) == 8
    assert "0/flat.png" in skipped(items)
