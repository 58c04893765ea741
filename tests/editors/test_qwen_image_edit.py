"""The adapter computes what diffusers' own pipeline computes."""

import json
from contextlib import contextmanager

import diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus as plus
import numpy as np
import pytest
import torch

from hpedit.editors.protocol import Conditioning
from hpedit.editors.qwen_image_edit import ImageAreas, QwenImageEdit
from hpedit.editors.sampling import edit_cases, edit_image, group_by_size
from hpedit.errors import HPEditError


@contextmanager
def image_areas(areas):
    """The pipeline has its image sizes as module constants."""
    before = plus.CONDITION_IMAGE_SIZE, plus.VAE_IMAGE_SIZE
    plus.CONDITION_IMAGE_SIZE, plus.VAE_IMAGE_SIZE = areas.condition_area, areas.source_area
    try:
        yield
    finally:
        plus.CONDITION_IMAGE_SIZE, plus.VAE_IMAGE_SIZE = before


def pipeline_edit(editor, case, seed, steps):
    width, height = editor.output_size(case.source)
    editor.pipeline.set_progress_bar_config(disable=True)
    with image_areas(editor.areas):
        return editor.pipeline(
            image=list(case.sources),
            prompt=case.instruction,
            generator=torch.Generator("cpu").manual_seed(seed),
            num_inference_steps=steps,
            true_cfg_scale=1.0,
            width=width,
            height=height,
        ).images[0]


def pixel_difference(a, b):
    assert a.size == b.size
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


@pytest.mark.parametrize(
    "sizes",
    [((32, 32),), ((150, 60),), ((60, 150),), ((32, 32), (64, 25)), ((25, 64), (32, 32), (100, 40))],
    ids=["32 px", "wide", "tall", "two sources", "three sources"],
)
def test_identity_9_noise_0_rollout_is_the_pipelines_own_output(tiny_editor, make_case, sizes):
    case = make_case(sizes=sizes, instruction="Replace the sky with a red one.")
    ours = edit_cases(tiny_editor, [case], [7], 3)[0]
    theirs = pipeline_edit(tiny_editor, case, 7, 3)
    assert pixel_difference(ours, theirs) == 0
    assert len(np.unique(np.asarray(ours))) > 10, "a flat picture would prove nothing"


def test_identity_9_holds_with_other_seeds_and_areas(make_case, tiny_editor):
    editor = QwenImageEdit(tiny_editor.pipeline, ImageAreas(64, 56 * 56, 32 * 32), fingerprint="other areas")
    case = make_case(sizes=((90, 50),))
    first, second = edit_cases(editor, [case, case], [1, 2], 2, batch_size=1)
    assert pixel_difference(first, pipeline_edit(editor, case, 1, 2)) == 0
    assert pixel_difference(second, pipeline_edit(editor, case, 2, 2)) == 0
    assert pixel_difference(first, second) > 0


def test_a_batch_of_different_prompts_and_sizes_equals_one_by_one(tiny_editor, make_case):
    cases = [
        make_case("a", "make it red"),
        make_case("b", "add a very large green hat to the left of it", seed=5),
        make_case("c", "remove it", sizes=((90, 30),)),
        make_case("d", "remove it, please", sizes=((90, 30),), seed=3),
    ]
    together = edit_cases(tiny_editor, cases, [1, 2, 3, 4], 2)
    alone = [edit_cases(tiny_editor, [case], [seed], 2)[0] for case, seed in zip(cases, [1, 2, 3, 4], strict=True)]
    assert [image.size for image in together] == [image.size for image in alone]
    assert all(pixel_difference(a, b) <= 1 for a, b in zip(together, alone, strict=True))


def test_velocity_of_a_padded_row_equals_the_unpadded(tiny_editor, make_case):
    short, long = make_case("a", "make it red"), make_case("b", "add a very large green hat to the left of it")
    batch = tiny_editor.encode([short, long])
    assert batch.padded
    noise = tiny_editor.initial_noise(batch, [1, 2])
    with torch.no_grad():
        together = tiny_editor.velocity(noise, torch.tensor([0.9, 0.3]), batch)
        alone = tiny_editor.velocity(noise[:1], torch.tensor(0.9), tiny_editor.encode([short]))
    torch.testing.assert_close(together[0], alone[0], rtol=1e-4, atol=1e-5)


def test_cases_of_different_sizes_are_refused_in_one_batch_and_grouped(tiny_editor, make_case):
    cases = [make_case("a"), make_case("b", sizes=((90, 30),)), make_case("c", seed=4)]
    with pytest.raises(HPEditError, match="different sizes"):
        tiny_editor.encode(cases)
    assert group_by_size([tiny_editor.encode([case]) for case in cases]) == [[0, 2], [1]]


def test_edit_image_keeps_the_editors_output_size(tiny_editor, make_picture):
    assert edit_image(tiny_editor, make_picture(100, 60), "make it red", seed=1, steps=2).size == (32, 32)
    assert edit_image(tiny_editor, make_picture(200, 50), "make it red", seed=1, steps=2).size == (64, 32)


def test_D3_a_picture_too_narrow_for_the_model_is_one_clear_error(tiny_editor, make_picture):
    with pytest.raises(HPEditError, match="1 x 3000 px is too narrow"):
        edit_image(tiny_editor, make_picture(1, 3000), "make it red", steps=2)


def test_single_step_is_refused_where_the_schedule_would_be_nan(tiny_editor, make_case):
    with pytest.raises(HPEditError, match="too few"):
        tiny_editor.schedule(1, tiny_editor.encode([make_case()]))


class TestConditioningCache:
    def editor(self, tiny_editor, folder, name="tiny"):
        return QwenImageEdit(tiny_editor.pipeline, tiny_editor.areas, fingerprint=name, cache=folder)

    def test_a_second_editor_reads_what_the_first_wrote(self, tiny_editor, make_case, tmp_path, monkeypatch):
        case = make_case(sizes=((32, 32), (90, 30)))
        first = self.editor(tiny_editor, tmp_path).encode([case])
        second_editor = self.editor(tiny_editor, tmp_path)
        monkeypatch.setattr(second_editor, "_encode_one", None)
        second = second_editor.encode([case])
        assert second.grids == first.grids
        for name, tensor in first.to_tensors().items():
            assert torch.equal(tensor, second.to_tensors()[name])

    def test_J7_the_key_holds_model_pixels_words_and_sizes(self, tiny_editor, make_case, tmp_path):
        self.editor(tiny_editor, tmp_path).encode([make_case()])
        self.editor(tiny_editor, tmp_path, "another model").encode([make_case()])
        self.editor(tiny_editor, tmp_path).encode([make_case(instruction="make it blue")])
        self.editor(tiny_editor, tmp_path).encode([make_case(seed=1)])
        QwenImageEdit(tiny_editor.pipeline, ImageAreas(64, 1024, 1024), fingerprint="tiny", cache=tmp_path).encode(
            [make_case()]
        )
        assert len(list(tmp_path.rglob("*.safetensors"))) == 5

    @pytest.mark.parametrize("damage", [b"", b"not safetensors"])
    def test_a_damaged_entry_is_encoded_anew(self, tiny_editor, make_case, tmp_path, damage):
        whole = self.editor(tiny_editor, tmp_path).encode([make_case()])
        (entry,) = tmp_path.rglob("*.safetensors")
        content = entry.read_bytes()
        entry.write_bytes(damage)
        again = self.editor(tiny_editor, tmp_path).encode([make_case()])
        assert torch.equal(again.prompt_embeds, whole.prompt_embeds)
        assert entry.read_bytes() == content


def test_select_keeps_the_way_through_the_attention(tiny_editor, make_case):
    batch = tiny_editor.encode([make_case("a", "make it red"), make_case("b", "make it red and then blue")])
    assert batch.select([1, 1, 0]).padded
    assert len(batch.select([1, 1, 0])) == 3
    assert Conditioning.cat([batch.select([1])]).padded


class TestLoad:
    def test_a_saved_folder_edits_like_the_pipeline_it_was_saved_from(self, tiny_editor, make_case, tmp_path):
        tiny_editor.pipeline.save_pretrained(tmp_path)
        areas = {"resolution": 32, "condition_area": 1024, "source_area": 1024}
        (tmp_path / "hpedit.json").write_text(json.dumps(areas))
        loaded = QwenImageEdit.load(str(tmp_path), device="cpu")
        assert loaded.settings() == areas
        assert QwenImageEdit.load(str(tmp_path), device="cpu").fingerprint == loaded.fingerprint
        case = make_case()
        assert pixel_difference(edit_cases(loaded, [case], [3], 2)[0], edit_cases(tiny_editor, [case], [3], 2)[0]) == 0

    def test_what_is_no_model_is_one_clear_error(self, tmp_path, monkeypatch):
        with pytest.raises(HPEditError, match="cannot be loaded"):
            QwenImageEdit.load(str(tmp_path))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(HPEditError, match="neither a folder nor"):
            QwenImageEdit.load("nobody/no-such-model")

    def test_areas_follow_the_resolution(self, tmp_path):
        assert ImageAreas.of(tmp_path, None) == ImageAreas(512, 384 * 384, 512 * 512)
        assert ImageAreas.of(tmp_path, 768) == ImageAreas(768, 384 * 384, 768 * 768)
        (tmp_path / "hpedit.json").write_text('{"resolution": 32, "condition_area": 1024, "source_area": 4096}')
        assert ImageAreas.of(tmp_path, None) == ImageAreas.of(tmp_path, 32) == ImageAreas(32, 1024, 4096)
        assert ImageAreas.of(tmp_path, 64) == ImageAreas(64, 1024, 4096)
