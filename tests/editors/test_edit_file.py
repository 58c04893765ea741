"""The commands that join several stages, on a real pipeline with random weights, from files to files."""

from pathlib import Path

import pytest
from PIL import Image

from hpedit.editors.edit_file import edit_file
from hpedit.errors import HPEditError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: a diffusers pipeline, with our settings beside."""
    from hpedit.mini.architecture import build_pipeline

    folder = tmp_path_factory.mktemp("model")
    build_pipeline(0).save_pretrained(folder)
    (folder / "hpedit.json").write_text('{"resolution": 32, "condition_area": 1024, "source_area": 1024}')
    return folder


@pytest.mark.slow
def test_one_picture_is_edited_the_same_each_time(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (48, 32), (200, 30, 40)).save(tmp_path / "in.png")
    outs = [tmp_path / "new folder" / name for name in ("a.png", "b.png", "c.png")]
    for out, seed in zip(outs, (0, 0, 1), strict=True):
        edit_file(tmp_path / "in.png", "make it blue", out, model=str(model), lora=None, steps=2, seed=seed)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert outs[0].read_bytes() != outs[2].read_bytes()
    guided = tmp_path / "guided.png"
    edit_file(tmp_path / "in.png", "make it blue", guided, model=str(model), lora=None, steps=2, seed=0, cfg=8.0)
    assert guided.read_bytes() != outs[0].read_bytes()
    with Image.open(outs[0]) as edited:
        assert edited.format == "PNG"


def test_a_bad_picture_or_name_is_named_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    options = {"model": str(tmp_path / "no model"), "lora": None, "steps": 2, "seed": 0}
    with pytest.raises(HPEditError, match=r"empty\.png is empty"):
        edit_file(tmp_path / "empty.png", "x", tmp_path / "out.png", **options)  # type: ignore[arg-type]
    with pytest.raises(HPEditError, match=r"does not end in \.png"):
        edit_file(tmp_path / "empty.png", "x", tmp_path / "out.jpg", **options)  # type: ignore[arg-type]
