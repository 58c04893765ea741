"""The shipped weights: they load without this package, are small, and are as good as the docs say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import QwenImageEditPlusPipeline

from hpedit.editors.load import load_editor
from hpedit.editors.sampling import edit_cases
from hpedit.mini.oracle import score_edit
from hpedit.mini.photos import embedded_tiles
from hpedit.mini.scenes import make_cases
from hpedit.store.shipped import editor_path, judge_path
from hpedit.tasks import TASK_IDS

MEGABYTE = 10**6


def test_together_at_most_24_megabytes() -> None:
    files = [file for folder in (editor_path(), judge_path()) for file in folder.rglob("*") if file.is_file()]
    assert files
    assert sum(file.stat().st_size for file in files) <= 24 * MEGABYTE
    assert not [file for file in files if file.suffix in (".bin", ".pt", ".pkl")]


def test_load_with_plain_diffusers_and_transformers() -> None:
    program = (
        "import sys\n"
        "from diffusers import QwenImageEditPlusPipeline as P, QwenImageTransformer2DModel, AutoencoderKLQwenImage\n"
        "from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration as V\n"
        "p = P.from_pretrained(sys.argv[1])\n"
        "assert type(p.transformer) is QwenImageTransformer2DModel and type(p.vae) is AutoencoderKLQwenImage\n"
        "assert type(p.text_encoder) is V\n"
        "assert 1e6 <= sum(x.numel() for x in p.transformer.parameters()) <= 6e6\n"
        "V.from_pretrained(sys.argv[2]); AutoProcessor.from_pretrained(sys.argv[2])\n"
        "assert not [name for name in sys.modules if name.startswith('hpedit')]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(editor_path()), str(judge_path())],
        capture_output=True,
        text=True,
        cwd=Path("/"),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_vae_reaches_30_db_on_scenes_it_never_saw() -> None:
    vae = QwenImageEditPlusPipeline.from_pretrained(editor_path(), torch_dtype=torch.float32).vae
    cases = make_cases(embedded_tiles("bench"), 8, 0, "v")
    pictures = [case.source for case in cases] + [case.oracle.target for case in cases if case.oracle]
    x = (
        torch.from_numpy(np.stack([np.asarray(p, np.float32) for p in pictures]) / 127.5 - 1)
        .permute(0, 3, 1, 2)
        .unsqueeze(2)
    )
    with torch.no_grad():
        back = vae.decode(vae.encode(x).latent_dist.mode()).sample
    error = ((back - x) / 2).square().mean((1, 2, 3, 4))
    assert float((-10 * torch.log10(error)).mean()) >= 30.0


@pytest.mark.slow
def test_base_is_decent_but_imperfect_and_above_the_copy_on_every_task() -> None:
    cases = make_cases(embedded_tiles("bench"), 20, 123, "w")
    images = edit_cases(load_editor("mini"), cases, list(range(len(cases))), 8, batch_size=40)
    scores = np.array([score_edit(case, image) for case, image in zip(cases, images, strict=True)])
    copies = np.array([score_edit(case, case.source) for case in cases])
    assert 2.0 <= scores.mean() <= 3.8
    for task in TASK_IDS:
        rows = [index for index, case in enumerate(cases) if case.task == task]
        assert scores[rows].mean() > copies[rows].mean() + 0.3
