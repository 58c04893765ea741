"""The JSON reader refuses what would break a program later on, and finds bits that flipped on the disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.errors import HPEditError
from hpedit.store.atomic import append_jsonl, read_json, read_jsonl, write_json
from hpedit.store.json_text import MAX_DEPTH, decode_json, parse_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc\u00e9"), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip

HOSTILE = {
    "brackets": "[" * 100_000,
    "closed brackets": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "a little too deep": "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "digits": "1" * 5_000,
    "digits below Python's limit": "[" + "1" * 4_000 + "]",
    "half of a pair": r'{"id": "\udfff"}',
    "half of a pair in a key": r'{"\ud800": 1}',
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "empty": "",
    "torn": '{"a": [1, 2',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_json_is_one_error_with_its_name(what: str) -> None:
    with pytest.raises(HPEditError, match=r"t\.json is not valid JSON"):
        parse_json(HOSTILE[what], "t.json")


@pytest.mark.parametrize("text", ["[" * MAX_DEPTH + "]" * MAX_DEPTH, json.dumps(["[" * 1000] * 3), r'["\ud83d\ude42"]'])
def test_real_depth_brackets_in_texts_and_whole_pairs_are_read(text: str) -> None:
    assert decode_json(text) == json.loads(text)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.json"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(HPEditError, match="is not a file"):
        read_json(path)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60) | st.text(max_size=60) | PLAIN.map(json.dumps))
def test_any_bytes_are_read_or_refused(data: bytes | str) -> None:
    try:
        value = parse_json(data, "t.json")
    except HPEditError:
        with pytest.raises(ValueError, match=r"."):  # the plain parser refuses it, or what it gives is out of bounds
            decode_json(data)
    else:
        assert json.dumps(value, ensure_ascii=False).encode(), "what is read can be written"


@settings(max_examples=150, deadline=None)
@given(content=st.dictionaries(st.sampled_from("abc"), PLAIN, min_size=1, max_size=3), data=st.data())
def test_a_flipped_bit_of_a_written_file_is_refused_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flips")
    write_json(folder / "t.json", content)
    append_jsonl(folder / "t.jsonl", content)
    assert read_json(folder / "t.json") == content
    assert read_jsonl(folder / "t.jsonl") == [content]
    for name in ("t.json", "t.jsonl"):
        whole = (folder / name).read_bytes()
        # Not the last line's end, whose loss is a kill's and drops the line with a warning.
        place = data.draw(st.integers(0, 8 * (len(whole) - 1) - 1))
        altered = bytearray(whole)
        altered[place // 8] ^= 1 << place % 8
        (folder / name).write_bytes(altered)
        try:
            found = read_json(folder / name) if name == "t.json" else read_jsonl(folder / name)[0]
        except HPEditError:
            continue
        assert {key: value for key, value in found.items() if key in content} == content
