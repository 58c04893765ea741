"""Tables as people have them: the edited picture is never a source, and nothing is left unread without a word."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from tests.cases.sources.opening import encoded, photos, picture, put, read, skipped

from hpedit.cases.recipe import SourceSection
from hpedit.errors import HPEditError
from hpedit.records import Case

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(folder: Path, rows: list[dict[str, Any]], name: str = "metadata.csv") -> None:
    """Write rows with pictures: source.png is picture 0, second.png 1, target.png 2, third.png 3."""
    for seed, stem in enumerate(("source", "second", "target", "third")):
        put(folder / f"{stem}.png", seed)
    if name.endswith(".jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


WORDS = "remove the cup"
LAYOUTS: dict[str, dict[str, Any]] = {
    "DiffSynth": {"image": "target.png", "edit_image": "source.png", "prompt": WORDS},
    "MagicBrush": {"img_id": "7", "turn_index": 1, "source_img": "source.png", "mask_img": "third.png",
                   "instruction": WORDS, "target_img": "target.png"},
    "UltraEdit": {"source_image": "source.png", "edited_image": "target.png", "edit_prompt": WORDS,
                  "source_caption": "a cup", "target_caption": "no cup"},
    "InstructPix2Pix": {"original_image": "source.png", "original_prompt": "a cup", "edit_prompt": WORDS,
                        "edited_prompt": "no cup", "edited_image": "target.png"},
    "OmniEdit": {"omni_edit_id": "o1", "src_img": "source.png", "edited_img": "target.png",
                 "edited_prompt_list": json.dumps([WORDS, "get rid of the cup"]), "task": "removal"},
    "Pico-Banana": {"open_image_input_url": "http://a/b.jpg", "local_input_image": "source.png",
                    "output_image": "target.png", "text": WORDS},
    "Bagel": {"image_list": json.dumps(["source.png"]), "instruction_list": json.dumps([WORDS])},
    "EditScore": {"input_images": json.dumps(["source.png"]), "output_image": "target.png", "instruction": WORDS},
    "GPT-Image-Edit": {"input": "source.png", "output": "target.png", "instruction": WORDS},
    "imagefolder pairs": {"original_file_name": "source.png", "edited_file_name": "target.png", "edit_prompt": WORDS},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_known_layout_gives_its_source_and_its_instruction(layout: str, tmp_path: Path) -> None:
    table(tmp_path, [LAYOUTS[layout]])
    items = read(tmp_path, table=".")
    (photo,) = photos(items).values()
    assert photo.image.tobytes() == picture(0).tobytes(), "not the edited picture"
    assert [candidate.instruction for candidate in photo.candidates] == [WORDS]
    assert not skipped(items)


def test_columns_and_tasks_of_the_recipe(tmp_path: Path) -> None:
    row = {"before": "source.png", "after": "target.png", "what": "vanish it", "kind": "Remove an existing object"}
    table(tmp_path, [row | {"shot": "p9"}])
    columns = {"image": "before", "instruction": "what", "task": "kind", "source_id": "shot"}
    maps = {"columns": columns, "tasks": {"remove an existing object": "removal"}}
    with pytest.raises(HPEditError, match="after"):
        read(tmp_path, table=".", **maps)
    (photo,) = photos(read(tmp_path, table=".", **maps, ignore=("after",))).values()
    assert photo.image.tobytes() == picture(0).tobytes()
    assert (photo.source_id, photo.candidates[0].task) == ("p9", "removal")
    with pytest.raises(HPEditError, match="no column 'befor'"):
        read(tmp_path, table=".", columns={"image": "befor"}, ignore=("after",))


@pytest.mark.parametrize(
    ("more", "column"),
    [
        ({"edited": "target.png"}, "edited"),
        ({"mask_image": "third.png"}, "mask_image"),
        ({"source": "second.png"}, "source"),
        ({"long_prompt": "remove the cup from the table"}, "long_prompt"),
        ({"pictures": json.dumps(["second.png"])}, "pictures"),
    ],
)
def test_an_unread_column_of_pictures_or_texts_is_named_until_it_is_ignored(
    more: dict[str, str], column: str, tmp_path: Path
) -> None:
    table(tmp_path, [{"image": "source.png", "instruction": WORDS, "split": "train", "height": 32} | more])
    with pytest.raises(HPEditError) as refused:
        read(tmp_path, table=".")
    assert column in refused.value.message
    assert f"ignore: [{column}]" in str(refused.value.hint)
    assert len(photos(read(tmp_path, table=".", ignore=(column,)))) == 1


@pytest.mark.parametrize(
    ("pictures", "count"),
    [
        ({"image": ["source.png"]}, 1),
        ({"image": ["source.png", "second.png"]}, 2),
        ({"image": ["source.png", "second.png", "third.png"]}, 3),
        ({"image": "source.png", "image2": "second.png"}, 2),
        ({"image": "source.png", "image2": "second.png", "image3": "third.png"}, 3),
        ({"image": '["source.png", "second.png"]'}, 2),
    ],
)
def test_lists_of_one_to_three_pictures(pictures: dict[str, Any], count: int, tmp_path: Path) -> None:
    table(tmp_path, [{**pictures, "instruction": "add the hat of image 2"}], "metadata.jsonl")
    items = read(tmp_path, table=".")
    if count == 1:
        assert len(photos(items)) == 1
        return
    (case,) = [item for item in items if isinstance(item, Case)]
    seeds = (0, 1, 3)[:count]
    assert [image.tobytes() for image in case.sources] == [picture(seed).tobytes() for seed in seeds]


def test_four_pictures_are_too_many(tmp_path: Path) -> None:
    table(tmp_path, [{"image": ["source.png"] * 4, "instruction": WORDS}], "metadata.jsonl")
    assert "4 pictures" in next(iter(skipped(read(tmp_path, table=".")).values()))


def test_turns_of_one_photograph_share_their_source(tmp_path: Path) -> None:
    """MagicBrush's parquet: the second turn begins with the first one's edit."""
    rows = [
        {"img_id": photo, "turn_index": turn, "source_img": cell(seed), "mask_img": cell(8), "instruction": WORDS,
         "target_img": cell(9)}
        for photo, turn, seed in (("12", 1, 0), ("12", 2, 1), ("40", 1, 2))
    ]  # fmt: skip
    schema = pa.Table.from_pylist(rows).schema
    for name in ("source_img", "mask_img", "target_img"):
        schema = schema.set(schema.get_field_index(name), pa.field(name, IMAGE))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "train.parquet")
    found = list(photos(read(tmp_path, parquet="train.parquet")).values())
    assert [photo.source_id for photo in found] == ["12", "12", "40"]
    assert [photo.image.tobytes() for photo in found] == [picture(seed).tobytes() for seed in (0, 1, 2)]
    assert [photo.candidates[0].instruction for photo in found] == [WORDS] * 3


def cell(seed: int) -> dict[str, Any]:
    """A picture as a cell of Hugging Face's."""
    return {"bytes": encoded(seed), "path": None}


@pytest.mark.parametrize("key", [{"columns": {"image": "x"}}, {"tasks": {"x": "style"}}, {"ignore": ("x",)}])
@pytest.mark.parametrize("kind", ["folder", "image_folder", "webdataset", "cases"])
def test_a_map_that_nothing_would_read_is_refused(kind: str, key: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is read of table and parquet alone"):
        SourceSection.model_validate({kind: "x", **key})
