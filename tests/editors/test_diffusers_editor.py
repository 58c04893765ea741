"""What is the same for every editor: sizes, schedule, the cache of encoded cases."""

import pytest
import torch

from hpedit.editors.load import wrap_pipeline
from hpedit.editors.protocol import Conditioning
from hpedit.editors.sampling import edit_image, group_by_size
from hpedit.editors.sizes import ImageAreas
from hpedit.errors import HPEditError


def test_cases_of_different_sizes_are_refused_in_one_batch_and_grouped(tiny_editor, make_case):
    cases = [make_case("a"), make_case("b", sizes=((90, 30),)), make_case("c", seed=4)]
    with pytest.raises(HPEditError, match="different sizes"):
        tiny_editor.encode(cases)
    assert group_by_size([tiny_editor.encode([case]) for case in cases]) == [[0, 2], [1]]


def test_edit_image_keeps_the_editors_output_size(tiny_editor, make_picture):
    assert edit_image(tiny_editor, make_picture(100, 60), "make it red", seed=1, steps=2).size == (32, 32)
    assert edit_image(tiny_editor, make_picture(200, 50), "make it red", seed=1, steps=2).size == (64, 32)


def test_a_picture_too_narrow_for_the_model_is_one_clear_error(tiny_editor, make_picture):
    with pytest.raises(HPEditError, match="1 x 3000 px is too narrow"):
        edit_image(tiny_editor, make_picture(1, 3000), "make it red", steps=2)


def test_single_step_is_refused_where_the_schedule_would_be_nan(tiny_editor, make_case):
    with pytest.raises(HPEditError, match="too few"):
        tiny_editor.schedule(1, tiny_editor.encode([make_case()]))


class TestConditioningCache:
    def editor(self, tiny_editor, folder, name="tiny"):
        return wrap_pipeline(tiny_editor.pipeline, tiny_editor.areas, fingerprint=name, cache=folder)

    def test_a_second_editor_reads_what_the_first_wrote(self, tiny_editor, make_case, tmp_path, monkeypatch):
        case = make_case(sizes=((32, 32), (90, 30)))
        first = self.editor(tiny_editor, tmp_path).encode([case])
        second_editor = self.editor(tiny_editor, tmp_path)
        monkeypatch.setattr(second_editor.adapter, "encode", None)
        second = second_editor.encode([case])
        assert second.grids == first.grids
        for name, tensor in first.to_tensors().items():
            assert torch.equal(tensor, second.to_tensors()[name])

    def test_the_key_holds_model_pixels_words_and_sizes(self, tiny_editor, make_case, tmp_path):
        self.editor(tiny_editor, tmp_path).encode([make_case()])
        self.editor(tiny_editor, tmp_path, "another model").encode([make_case()])
        self.editor(tiny_editor, tmp_path).encode([make_case(instruction="make it blue")])
        self.editor(tiny_editor, tmp_path).encode([make_case(seed=1)])
        wrap_pipeline(tiny_editor.pipeline, ImageAreas(64, 1024, 1024), fingerprint="tiny", cache=tmp_path).encode(
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
        assert torch.equal(again.prompt.embeds, whole.prompt.embeds)
        assert entry.read_bytes() == content


def test_select_keeps_the_way_through_the_attention(tiny_editor, make_case):
    batch = tiny_editor.encode([make_case("a", "make it red"), make_case("b", "make it red and then blue")])
    assert batch.select([1, 1, 0]).prompt.padded
    assert len(batch.select([1, 1, 0])) == 3
    assert Conditioning.cat([batch.select([1])]).prompt.padded
