"""The options of an editor: the keys of its section, the same in every command that edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from hpedit.cli import app
from hpedit.cli.editor_options import EDITOR_OPTIONS
from hpedit.config.editor import EditorSection
from hpedit.errors import HPEditError

COMMANDS = (["edit"], ["train"], ["run"], ["cases", "build"], ["bench", "run"])
GIVEN = [
    *("--model", "mini", "--dtype", "bfloat16", "--device", "cpu", "--resolution", "64", "--source-area", "4096"),
    *("--frozen-lora", "a", "--frozen-lora", "b"),
]
TAKEN = {
    **{"model": "mini", "dtype": "bfloat16", "device": "cpu", "resolution": 64, "source_area": 4096},
    "frozen_loras": ["a", "b"],
}


def hpedit(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception:
        raise result.exception
    return result.stdout


def choices(kind: Any) -> set[object]:
    """The values that an annotation lists, None aside."""
    found = {value for one in (kind, *get_args(kind)) for value in get_args(one) if isinstance(value, str)}
    return found


def test_each_option_is_a_key_with_the_same_choices() -> None:
    fields = EditorSection.model_fields
    assert EDITOR_OPTIONS.keys() < fields.keys()
    for name, annotation in EDITOR_OPTIONS.items():
        kind = get_args(annotation)[0]
        assert choices(kind) == choices(fields[name].annotation), name


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_that_edits_has_them(command: list[str]) -> None:
    text = hpedit(*command, "--help")
    for name in EDITOR_OPTIONS:
        option = {"frozen_loras": "frozen-lora"}.get(name, name.replace("_", "-"))
        assert f"--{option}" in text
    assert "--editor" in text


@pytest.mark.parametrize(
    ("command", "recipe", "at"),
    [
        (["train"], "recipes/mini.yaml", ("editor",)),
        (["run"], "src/hpedit/pipeline/demo.yaml", ("editor",)),
        (["cases", "build"], "recipes/cases_mini.yaml", ("edits", "editor")),
    ],
    ids=str,
)
def test_they_override_a_recipe(command: list[str], recipe: str, at: tuple[str, ...]) -> None:
    path = str(Path(__file__).parents[1] / recipe)
    section = yaml.safe_load(hpedit(*command, path, "--dry-run", *GIVEN))
    for name in at:
        section = section[name]
    assert section | TAKEN == section
    assert section["base"] == "full"


def test_a_value_that_no_editor_has_is_named_by_its_option(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "in.png")
    asked = ["edit", "--image", str(tmp_path / "in.png"), "--instruction", "x", "--out", str(tmp_path / "out.png")]
    with pytest.raises(HPEditError, match="--resolution: must be a multiple of 32, is 33"):
        hpedit(*asked, "--resolution", "33")
    with pytest.raises(HPEditError, match="base: 8bit and offload: blocks do not go together"):
        hpedit(*asked, "--base", "8bit", "--offload", "blocks")
    with pytest.raises(HPEditError, match="--editor is missing"):
        hpedit("bench", "run", "--cases", "c", "--out", "o")


@pytest.mark.slow
def test_edit_takes_the_models_own_steps_and_sizes_unless_told(tmp_path: Path) -> None:
    Image.new("RGB", (48, 48), (90, 140, 60)).save(tmp_path / "in.png")

    def edited(name: str, *more: str) -> Image.Image:
        out = tmp_path / f"{name}.png"
        hpedit("edit", "--image", str(tmp_path / "in.png"), "--instruction", "make it red", "--out", str(out), *more)
        return Image.open(out)

    usual = edited("usual")
    assert usual.size == (32, 32)
    assert usual.tobytes() == edited("said", "--steps", "8", "--cfg", "1", "--dtype", "auto").tobytes()
    assert usual.tobytes() != edited("fewer", "--steps", "3").tobytes()
    assert edited("larger", "--resolution", "64").size == (64, 64)
