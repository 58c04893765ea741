"""The commands that join several stages, on a real pipeline with random weights, from files to files."""

import json
from pathlib import Path

import pytest
from PIL import Image

from hpedit.commands import bench_base_and_lora, edit_file, write_bench_report
from hpedit.config import LoraSection
from hpedit.editors.qwen_image_edit import QwenImageEdit
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.store.tables import write_cases


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
    with Image.open(outs[0]) as edited:
        assert edited.format == "PNG"


def test_a_bad_picture_or_name_is_named_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    options = {"model": str(tmp_path / "no model"), "lora": None, "steps": 2, "seed": 0}
    with pytest.raises(HPEditError, match=r"empty\.png is empty"):
        edit_file(tmp_path / "empty.png", "x", tmp_path / "out.png", **options)  # type: ignore[arg-type]
    with pytest.raises(HPEditError, match=r"does not end in \.png"):
        edit_file(tmp_path / "empty.png", "x", tmp_path / "out.jpg", **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_base_and_lora_are_measured_and_reported(model: Path, tmp_path: Path) -> None:
    editor = QwenImageEdit.load(str(model))
    editor.add_lora(LoraSection(rank=2), seed=0)
    editor.save_lora(tmp_path / "lora")
    write_cases(tmp_path / "cases.parquet", make_cases(embedded_tiles("bench"), 1, 0, "bench")[:3])
    out = tmp_path / "bench"
    options = {"lora": tmp_path / "lora", "scorer": None, "model": str(model), "steps": 2, "seed": 0}
    command = ["hpedit", "bench", "--out", "a b"]
    summary = bench_base_and_lora(tmp_path / "cases.parquet", out, command=command, **options)  # type: ignore[arg-type]
    assert summary["n"] == 3
    # A fresh LoRA changes nothing, so neither does the oracle.
    assert summary["oracle"]["gain"]["mean"] == 0.0
    assert summary["scorer"] is None
    page = (out / "report.html").read_bytes()
    assert b"hpedit bench --out &#39;a b&#39;" in page
    assert json.loads((out / "summary.json").read_text())["n"] == 3
    (out / "report.html").unlink()
    assert write_bench_report(out).read_bytes() == page


def test_a_report_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="is not the folder of a finished benchmark"):
        write_bench_report(tmp_path)
