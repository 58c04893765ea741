"""A model's own resolution, steps and guidance, and what `auto` stands for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.editors.families import KONTEXT, pixel_difference

from hpedit.config.editor import EditorSection
from hpedit.editors.load import ADAPTERS, open_editor
from hpedit.editors.sampling import edit_cases
from hpedit.editors.usual import MINI, UsualSampling, on_accelerator, settle, usual_sampling
from hpedit.errors import HPEditError


@pytest.mark.parametrize(
    ("pipeline", "usual"),
    [
        ("QwenImageEditPlusPipeline", UsualSampling(40, 4.0)),
        ("QwenImageEditPipeline", UsualSampling(40, 4.0)),
        ("FluxKontextPipeline", UsualSampling(28, 1.0)),
    ],
)
def test_each_family_has_its_own(tmp_path: Path, pipeline: str, usual: UsualSampling) -> None:
    family = ADAPTERS[pipeline].USUAL
    assert usual_sampling(tmp_path, family) == usual
    (tmp_path / "hpedit.json").write_text(json.dumps({"resolution": 32}))
    assert usual_sampling(tmp_path, family) == MINI
    (tmp_path / "hpedit.json").write_text(json.dumps({"resolution": 1024, "steps": 4, "cfg": 1.5}))
    assert usual_sampling(tmp_path, family) == UsualSampling(4, 1.5)


def test_what_is_left_open_is_settled(tmp_path: Path) -> None:
    assert settle(EditorSection(), accelerator=False) == EditorSection(dtype="float32", resolution=32)
    hub = settle(EditorSection(model="o/m"), accelerator=True)
    assert (hub.dtype, hub.resolution) == ("bfloat16", 512)
    (tmp_path / "hpedit.json").write_text(json.dumps({"resolution": 768}))
    given = EditorSection(model=str(tmp_path), dtype="float32")
    assert settle(given, accelerator=True) == given.model_copy(update={"resolution": 768})
    assert on_accelerator("cuda:3")
    assert not on_accelerator("cpu")


def test_the_mini_editor_opens_in_float32_on_a_cpu_with_its_own_guidance() -> None:
    editor = open_editor(EditorSection(device="cpu"), cfg=None)
    assert str(editor.dtype) == "torch.float32"
    assert (editor.cfg, editor.usual) == (1.0, MINI)
    assert str(open_editor(EditorSection(device="cpu", dtype="bfloat16")).dtype) == "torch.bfloat16"


def test_another_guidance_shares_weights_and_lora(make_case) -> None:  # type: ignore[no-untyped-def]
    editor = KONTEXT.editor()
    guided = editor.with_guidance(3.0)
    assert editor.with_guidance(editor.cfg) is editor
    assert guided.pipeline is editor.pipeline
    assert guided.fingerprint == f"{editor.fingerprint}/cfg3"
    plain = edit_cases(editor, [make_case()], [1], 2)[0]
    assert pixel_difference(plain, edit_cases(guided, [make_case()], [1], 2)[0]) > 0
    assert pixel_difference(plain, edit_cases(editor, [make_case()], [1], 2)[0]) == 0
    expected = edit_cases(KONTEXT.editor(cfg=3.0), [make_case()], [1], 2)[0]
    assert pixel_difference(edit_cases(guided, [make_case()], [1], 2)[0], expected) == 0
    with pytest.raises(HPEditError, match=r"cfg is 0\.5"):
        editor.with_guidance(0.5)
