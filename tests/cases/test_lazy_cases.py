"""Cases and pairs that are decoded when they are asked for."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpedit.cases import folder as folder_module
from hpedit.cases.folder import CasesFolder, lazy_cases
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.tables import write_cases

SIDE = 256


def flat_case(number):
    """Large in memory and small on disk."""
    return Case(f"case-{number}", "color", "make it red", (Image.new("RGB", (SIDE, SIDE), number),), f"photo-{number}")


def noisy_case(number, side, instruction="make it red"):
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Case(f"case-{number}", "color", instruction, (Image.fromarray(pixels),), f"photo-{number}")


@pytest.fixture
def folder(tmp_path):
    """Two tables; two cases are the same, under two names."""
    (tmp_path / "data").mkdir()
    write_cases(tmp_path / "data" / "a.parquet", [noisy_case(i, 32) for i in range(5)])
    twin = noisy_case(3, 32)
    again = Case("again", "color", twin.instruction, twin.sources, "photo-3")
    other = Case("other words", "color", "make it blue", twin.sources, "photo-3")
    write_cases(tmp_path / "data" / "b.parquet", [again, noisy_case(7, 32), other])
    return CasesFolder(tmp_path)


def test_they_are_the_folders_cases_without_those_that_are_there_twice(folder):
    cases = lazy_cases(folder)
    expected = list({case.group_key: case for case in list(folder.kept())[::-1]}.values())[::-1]
    assert [case.id for case in cases] == ["case-0", "case-1", "case-2", "case-3", "case-4", "case-7", "other words"]
    assert sorted(case.group_key for case in cases) == sorted(case.group_key for case in expected)
    assert cases[-1].id == "other words"
    assert [case.id for case in cases[1:3]] == ["case-1", "case-2"]
    assert cases[2] is cases[2], "kept for the moment"
    with pytest.raises(IndexError):
        cases[7]


def test_no_picture_is_decoded_before_it_is_asked_for(folder, tmp_path, monkeypatch):
    def refuse(*_args):
        raise AssertionError("decoded")

    monkeypatch.setattr("hpedit.store.tables.decode_image", refuse)
    cases = lazy_cases(folder, tmp_path / "index.json")
    assert len(cases) == 7
    with pytest.raises(AssertionError, match="decoded"):
        cases[0]


def test_the_index_spares_reading_the_tables_until_one_is_written_again(folder, tmp_path, monkeypatch):
    index = tmp_path / "run" / "index.json"
    first = lazy_cases(folder, index)
    reads = []
    keys = folder_module._keys
    monkeypatch.setattr(folder_module, "_keys", lambda file: (reads.append(file), keys(file))[1])
    assert lazy_cases(folder, index).places == first.places
    assert not reads
    write_cases(tmp_path / "data" / "b.parquet", [noisy_case(9, 32)])
    assert [case.id for case in lazy_cases(folder, index)][-1] == "case-9"
    assert len(reads) == 2
    index.write_text("{")
    assert len(lazy_cases(folder, index)) == 6
    assert json.loads(index.read_text())["places"]


def test_a_row_that_is_gone_is_an_error(folder, tmp_path):
    cases = lazy_cases(folder)
    write_cases(tmp_path / "data" / "a.parquet", [noisy_case(0, 32)])
    with pytest.raises(HPEditError, match="has no row 4 any more"):
        cases[4]


PEAK = """
import resource, sys
from hpedit.cases.folder import CasesFolder
from hpedit.cases.folder import lazy_cases
cases = lazy_cases(CasesFolder(sys.argv[1]))
for number in range(0, len(cases), len(cases) // 100):
    assert cases[number].source.getpixel((0, 0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_does_not_grow_with_the_number_of_cases(tmp_path):
    peaks = []
    for count in (100, 700):
        path = tmp_path / f"{count}.parquet"
        write_cases(path, map(flat_case, range(count)))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
        )
        peaks.append(int(done.stdout))
    decoded = 600 * SIDE * SIDE * 3
    assert peaks[1] - peaks[0] < decoded / 3, (peaks, decoded)
