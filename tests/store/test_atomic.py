"""A file is the old one or the new one."""

import math
import os
from pathlib import Path

import pytest

from hpedit.errors import HPEditError
from hpedit.store.atomic import append_jsonl, atomic_write, read_json, read_jsonl, replacing


def test_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    atomic_write(file, "old")
    atomic_write(file, b"new")
    assert file.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_new_file_is_as_readable_as_a_plain_one(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    atomic_write(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode
    (tmp_path / "ours").chmod(0o640)
    atomic_write(tmp_path / "ours", "y")
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o640


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write_half() -> None:
        with replacing(file) as temporary:
            temporary.write_text("ha")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_half()
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_torn_last_line_is_left_out_and_then_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    append_jsonl(file, {"step": 1})
    append_jsonl(file, {"step": 2})
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        complete = whole[:length].count(b"\n")
        assert [record["step"] for record in read_jsonl(file)] == [1, 2][:complete]
        append_jsonl(file, {"step": 9})
        assert [record["step"] for record in read_jsonl(file)] == [*[1, 2][:complete], 9]


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_bytes(b'{"step": 1}\n' + b'{"text": "' + b"x" * 200_000)
    append_jsonl(file, {"step": 2})
    assert read_jsonl(file) == [{"step": 1}, {"step": 2}]
    assert file.read_bytes().startswith(b'{"step": 1}\n{"step": 2')


def test_byte_order_mark_blank_lines_and_crlf_are_no_trouble(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\n')
    assert read_jsonl(file) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(("line", "named"), [(b"{oops", "m.jsonl:2"), (b"[1]", "a list"), (b"\xff", "m.jsonl:2")])
def test_a_bad_line_in_the_middle_is_named(tmp_path: Path, line: bytes, named: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(HPEditError) as caught:
        read_jsonl(file)
    assert named in caught.value.message


def test_a_newline_in_a_text_stays_one_record(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "m.jsonl", {"instruction": "a\nb\u2028c"})
    assert read_jsonl(tmp_path / "m.jsonl") == [{"instruction": "a\nb\u2028c"}]


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_jsonl(tmp_path / "m.jsonl", {"loss": math.nan})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_broken_json_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(HPEditError, match=r"state\.json is not valid JSON"):
        read_json(tmp_path / "state.json")
    with pytest.raises(HPEditError, match="does not exist"):
        read_json(tmp_path / "nothing.json")
