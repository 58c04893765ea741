"""`hpedit mini build` from nothing to weights that edit and judge, with a few steps of everything."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hpedit.editors.load import load_editor
from hpedit.editors.sampling import edit_image
from hpedit.errors import HPEditError
from hpedit.judges.transformers_judge import TransformersJudge
from hpedit.mini.build import build, stages
from hpedit.records import Case
from hpedit.scorer.prompts import score_question
from hpedit.store.atomic import read_jsonl

FEW = {
    "VAE_STEPS": 3,
    "EDITOR_STEPS": 2,
    "EDITOR_SCENES": 16,
    "JUDGE_FIRST_STEPS": 2,
    "JUDGE_STEPS": 2,
    "JUDGE_SCENES": 16,
    "JUDGE_HELD_OUT": 8,
}


@pytest.mark.slow
def test_all_stages_leave_weights_that_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FEW.items():
        monkeypatch.setattr(stages, name, value)
    build(tmp_path, "all", 0)
    picture = Image.new("RGB", (32, 32), "teal")
    edited = edit_image(load_editor(str(tmp_path / "editor")), picture, "make it sepia style", steps=2)
    assert edited.size == (32, 32)
    judge = TransformersJudge.load(str(tmp_path / "judge"))
    case = Case("c", "style", "make it sepia style", (picture,), "c")
    (answer,) = judge.ask([score_question(case, edited)])
    assert answer.probabilities is not None or answer.reason
    for stage in ("work-vae", "work-editor", "work-judge-0", "work-judge-1"):
        assert read_jsonl(tmp_path / stage / "metrics.jsonl")


def test_a_stage_without_the_one_before_says_so(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="vae is missing"):
        build(tmp_path, "editor", 0)
