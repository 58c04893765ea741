"""Loading: which adapter a folder gets, and everything that is refused with one clear error."""

import json
import pickle

import pytest
import torch
from tests.editors.families import EDIT, KONTEXT, pixel_difference

from hpedit.editors.flux_kontext import FluxKontext
from hpedit.editors.load import ADAPTERS, load_editor, wrap_pipeline
from hpedit.editors.placement import check_base
from hpedit.editors.qwen_image import QwenEdit, QwenEditPlus
from hpedit.editors.sampling import edit_cases
from hpedit.editors.sizes import ImageAreas
from hpedit.errors import HPEditError
from hpedit.mini.weights import EDITORS, make_editor


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    out = tmp_path_factory.mktemp("mini")
    for kind in EDITORS:
        make_editor(kind, out / kind)
    return out


@pytest.fixture
def kontext(folders, tmp_path):
    """A copy that a test may damage."""
    (tmp_path / "kontext").mkdir()
    for path in (folders / "flux-kontext").rglob("*"):
        target = tmp_path / "kontext" / path.relative_to(folders / "flux-kontext")
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
    return tmp_path / "kontext"


@pytest.mark.parametrize(
    ("kind", "adapter", "areas"),
    [
        ("qwen-image-edit-plus", QwenEditPlus, ImageAreas(32, 1024, 1024)),
        ("qwen-image-edit", QwenEdit, ImageAreas(32, 1024, 1024)),
        ("flux-kontext", FluxKontext, ImageAreas(32, 0, 1024)),
    ],
)
def test_model_index_json_chooses_the_adapter(folders, make_case, kind, adapter, areas):
    editor = load_editor(str(folders / kind), device="cpu")
    assert type(editor.adapter) is adapter is ADAPTERS[type(editor.pipeline).__name__]
    assert editor.areas == areas
    assert editor.settings()["resolution"] == 32
    assert edit_cases(editor, [make_case()], [3], 2)[0].size == (32, 32)


def test_a_saved_folder_edits_like_the_pipeline_it_was_saved_from(folders, make_case):
    loaded = load_editor(str(folders / "flux-kontext"), device="cpu")
    ours, theirs = (edit_cases(editor, [make_case()], [3], 2)[0] for editor in (KONTEXT.editor(), loaded))
    assert pixel_difference(ours, theirs) == 0
    assert load_editor(str(folders / "flux-kontext"), device="cpu").fingerprint == loaded.fingerprint


def test_settings_reach_the_editor_and_its_fingerprint(folders):
    folder = str(folders / "flux-kontext")
    usual = load_editor(folder, device="cpu")
    asked = load_editor(folder, device="cpu", resolution=64, source_area=1024, cfg=3.0, guidance=4.0)
    assert asked.areas == ImageAreas(64, 0, 1024)
    assert asked.cfg == 3.0
    assert asked.adapter.embedded_guidance == 4.0
    assert asked.fingerprint.endswith("/guidance4/cfg3")
    assert asked.fingerprint != usual.fingerprint


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dtype": "float16"}, "unknown dtype"),
        ({"resolution": 40}, "resolution of 40"),
        ({"source_area": 5}, "source_area of 5"),
        ({"condition_area": 1024}, "condition_area was given"),
        ({"cfg": 0.5}, "cfg is 0.5"),
        ({"cfg": 100.0}, "cfg is 100"),
        ({"guidance": -1.0}, "guidance is -1"),
        ({"base": "2bit"}, "unknown base"),
        ({"offload": "disk"}, "unknown offload"),
        ({"base": "4bit"}, "the device is the cpu"),
        ({"base": "8bit"}, "the device is the cpu"),
        ({"base": "offload"}, "the device is the cpu"),
        ({"offload": "blocks"}, "offload blocks saves memory of an accelerator"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(folders, settings, told):
    with pytest.raises(HPEditError, match=told):
        load_editor(str(folders / "flux-kontext"), device="cpu", **settings)


def test_embedded_guidance_is_refused_where_there_is_none(folders):
    with pytest.raises(HPEditError, match="takes no embedded guidance"):
        load_editor(str(folders / "qwen-image-edit-plus"), device="cpu", guidance=2.5)


def test_a_quantised_base_without_bitsandbytes_or_in_another_dtype_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(HPEditError, match="needs bitsandbytes"):
        check_base("8bit", "bfloat16", "cuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    with pytest.raises(HPEditError, match="computes in bfloat16"):
        check_base("8bit", "float32", "cuda")
    with pytest.raises(HPEditError, match="do not go together"):
        check_base("4bit", "bfloat16", "cuda", "blocks")
    check_base("8bit", "bfloat16", "cuda")
    check_base("4bit", "bfloat16", "cuda")
    check_base("full", "float32", "cuda:1", "blocks")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused_before_the_model_is_looked_for():
    with pytest.raises(HPEditError, match="device cuda is not available"):
        load_editor("nobody/no-such-model", device="cuda:1")
    with pytest.raises(HPEditError, match="unknown device"):
        load_editor("nobody/no-such-model", device="gpu")


def test_what_is_no_model_is_one_clear_error(tmp_path, monkeypatch):
    with pytest.raises(HPEditError, match="cannot be loaded"):
        load_editor(str(tmp_path))
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(HPEditError, match="StableDiffusionPipeline, which is not supported") as caught:
        load_editor(str(tmp_path))
    assert "FluxKontextPipeline" in caught.value.hint
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HPEditError, match="neither a folder nor"):
        load_editor("nobody/no-such-model")


def test_a_pipeline_in_memory_of_another_kind_is_refused():
    with pytest.raises(HPEditError, match="is a dict, which is not supported"):
        wrap_pipeline({}, EDIT.areas)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_weights_as_a_pickle_are_refused_and_not_run(kontext, tmp_path):
    (kontext / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    (kontext / "transformer" / "diffusion_pytorch_model.bin").write_bytes(bomb)
    with pytest.raises(HPEditError, match="cannot be loaded"):
        load_editor(str(kontext), device="cpu")
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb)
    assert (tmp_path / "ran").exists(), "the bomb works where it is let in"


@pytest.mark.parametrize("damage", [b"", b"not safetensors", b"\xff" * 64])
def test_a_damaged_file_of_weights_is_one_clear_error(kontext, damage):
    (kontext / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(damage)
    with pytest.raises(HPEditError, match="cannot be loaded"):
        load_editor(str(kontext), device="cpu")


def test_a_mini_editor_is_not_written_over_something(tmp_path):
    with pytest.raises(HPEditError, match="is there already"):
        make_editor("flux-kontext", tmp_path)
    with pytest.raises(HPEditError, match="unknown mini editor"):
        make_editor("flux", tmp_path / "new")
