"""One description of an editor: the same keys in every recipe, a name alone is enough, folders of 0.2.0 continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpedit.cases.recipe import CasesRecipe
from hpedit.config.editor import EditorSection
from hpedit.config.reading import read_options, read_recipe, recipe_text
from hpedit.config.recipe import Recipe, load_recipe
from hpedit.errors import HPEditError

KEYS: dict[str, Any] = {
    "model": "Qwen/Qwen-Image-Edit-2509", "revision": "abc", "dtype": "bfloat16", "device": "cuda", "resolution": 768,
    "source_area": 262144, "base": "full", "frozen_loras": ["a", "b.safetensors"],
}  # fmt: skip


def cases_recipe(folder: Path, edits: dict[str, Any], *settings: str) -> CasesRecipe:
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump({"output": "x", "sources": [{"folder": "photos"}], "edits": edits}))
    return read_recipe(path, CasesRecipe, settings)


def train_recipe(folder: Path, editor: object, *settings: str) -> Recipe:
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump({"output": "x", "cases": "c", "scorer": "s", "editor": editor}))
    return load_recipe(path, settings)


def test_all_recipes_and_the_options_take_the_same_keys(tmp_path: Path) -> None:
    section = read_options(EditorSection, KEYS)
    assert section.frozen_loras == ("a", "b.safetensors")
    assert train_recipe(tmp_path, KEYS).editor == section
    assert cases_recipe(tmp_path, {"editor": KEYS}).edits.editor == section


def test_a_name_alone_is_the_model_and_can_be_added_to(tmp_path: Path) -> None:
    assert train_recipe(tmp_path, "mini").editor == EditorSection()
    named = cases_recipe(tmp_path, {"editor": "mini"}, "edits.editor.dtype=bfloat16")
    assert named.edits.editor == EditorSection(model="mini", dtype="bfloat16")
    assert cases_recipe(tmp_path, {}, "edits.editor=mini").edits.editor == EditorSection(model="mini")


def test_a_recipe_with_an_editor_is_read_back(tmp_path: Path) -> None:
    made = cases_recipe(tmp_path, {"editor": KEYS})
    (tmp_path / "again.yaml").write_text(recipe_text(made))
    assert read_recipe(tmp_path / "again.yaml", CasesRecipe) == made


@pytest.mark.parametrize(
    ("editor", "says"),
    [
        ({"base": "8bit", "offload": "blocks"}, "do not go together"),
        ({"base": "4bit", "frozen_loras": ["a"]}, "can't be merged into a base of 4bit"),
        ({"base": "8bit", "dtype": "float32"}, "computes in bfloat16"),
        ({"offload": "blocks"}, "can edit, not train"),
        ({"dtype": "fp16"}, "editor.dtype: must be one of auto, float32, bfloat16"),
        ({"frozen_loras": "a"}, "editor.frozen_loras: a list is expected"),
        ({"frozen_lora": ["a"]}, "did you mean frozen_loras"),
        (5, "a section of keys is expected"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, editor: object, says: str) -> None:
    with pytest.raises(HPEditError, match=says):
        train_recipe(tmp_path, editor)


def test_options_are_named_as_they_were_typed() -> None:
    with pytest.raises(HPEditError, match=r"--resolution: must be a multiple of 32, is 100; --device: must be auto"):
        read_options(EditorSection, {"resolution": 100, "device": "gpu"})


def test_edits_need_a_model_and_one_revision(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match=r"edits\.editor: its model is missing"):
        cases_recipe(tmp_path, {}, "edits.editor.dtype=bfloat16")
    with pytest.raises(HPEditError, match=r"edits\.revision is a, edits\.editor\.revision b"):
        cases_recipe(tmp_path, {"editor": {"model": "o/m", "revision": "b"}, "revision": "a"})
    assert cases_recipe(tmp_path, {"editor": "o/m", "revision": "a"}).edits.opened.revision == "a"


def test_folders_know_an_editor_as_before_where_nothing_new_is_said(tmp_path: Path) -> None:
    old = ["model", "revision", "dtype", "resolution", "source_area", "condition_area", "guidance", "base", "compile"]
    assert list(train_recipe(tmp_path, "mini").shaping()["editor"]) == [*old, "offload_encoders", "device"]
    assert train_recipe(tmp_path, KEYS).shaping()["editor"]["frozen_loras"] == KEYS["frozen_loras"]
    before = {"editor": "mini", "revision": "r", "lora": None, "per_case": 1, "steps": 8, "batch": 48}
    assert cases_recipe(tmp_path, {"editor": "mini", "revision": "r"}).edits.shaping() == before
    plain = {"model": "mini", "revision": "r", "dtype": "float32"}
    assert cases_recipe(tmp_path, {"editor": plain}).edits.shaping() == before
    more = cases_recipe(tmp_path, {"editor": {"model": "mini", "dtype": "bfloat16"}}).edits.shaping()
    assert more["editor"] == {"model": "mini", "dtype": "bfloat16"}
    assert cases_recipe(tmp_path, {}).edits.shaping()["editor"] is None
