"""One tiny editor of each family, and the family's own pipeline called with the same settings."""

import functools
from contextlib import contextmanager
from dataclasses import dataclass

import diffusers.pipelines.flux.pipeline_flux_kontext as kontext_module
import diffusers.pipelines.qwenimage.pipeline_qwenimage_edit as edit_module
import diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus as plus_module
import numpy as np
import torch
from diffusers import QwenImageEditPipeline, QwenImageEditPlusPipeline

from hpedit.editors.load import wrap_pipeline
from hpedit.editors.sizes import ImageAreas
from hpedit.mini.kontext import build_kontext
from hpedit.progress import quiet_loading
from hpedit.store.shipped import editor_path


@dataclass(frozen=True)
class Family:
    name: str
    build: object
    areas: ImageAreas
    most_sources: int = 1

    def editor(self, areas=None, **settings):
        return wrap_pipeline(self.build(), areas or self.areas, fingerprint=self.name, **settings)


def shipped(kind):
    """The shipped weights: an edit by random ones hardly depends on its source."""
    with quiet_loading():
        return kind.from_pretrained(editor_path(), dtype=torch.float32, local_files_only=True)


PLUS = Family("plus", functools.partial(shipped, QwenImageEditPlusPipeline), ImageAreas(32, 1024, 1024), most_sources=3)
EDIT = Family("edit", functools.partial(shipped, QwenImageEditPipeline), ImageAreas(32, 1024, 1024))
KONTEXT = Family("kontext", functools.partial(build_kontext, 0), ImageAreas(32, 0, 1024))
UNDISTILLED = Family("undistilled", functools.partial(build_kontext, 0, distilled=False), ImageAreas(32, 0, 1024))
FAMILIES = (PLUS, EDIT, KONTEXT)


@contextmanager
def changed(module, **names):
    """Module constants are where pipelines keep their image sizes."""
    before = {name: getattr(module, name) for name in names}
    for name, value in names.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def pipeline_edit(editor, case, seed, steps):
    """The edit by the pipeline's own __call__, at the editor's sizes and guidance."""
    pipe, areas = editor.pipeline, editor.areas
    pipe.set_progress_bar_config(disable=True)
    width, height = editor.output_size(case.source)
    call = {
        "prompt": case.instruction,
        "generator": torch.Generator("cpu").manual_seed(seed),
        "num_inference_steps": steps,
        "true_cfg_scale": editor.cfg,
        "negative_prompt": " " if editor.cfg > 1 else None,
        "width": width,
        "height": height,
    }
    name = type(pipe).__name__
    if name == "QwenImageEditPlusPipeline":
        with changed(plus_module, CONDITION_IMAGE_SIZE=areas.condition_area, VAE_IMAGE_SIZE=areas.source_area):
            return pipe(image=list(case.sources), **call).images[0]
    if name == "QwenImageEditPipeline":
        assert areas.condition_area == areas.source_area, "one size for both in this pipeline"
        dimensions = edit_module.calculate_dimensions
        with changed(edit_module, calculate_dimensions=lambda _area, ratio: dimensions(areas.source_area, ratio)):
            return pipe(image=case.source, **call).images[0]
    scale = (areas.source_area / 1024**2) ** 0.5
    scaled = [
        (round(w * scale / 8) * 8, round(h * scale / 8) * 8) for w, h in kontext_module.PREFERRED_KONTEXT_RESOLUTIONS
    ]
    call |= {"max_area": width * height}
    if editor.adapter.embedded_guidance is not None:
        call["guidance_scale"] = editor.adapter.embedded_guidance
    with changed(kontext_module, PREFERRED_KONTEXT_RESOLUTIONS=scaled):
        return pipe(image=case.source, **call).images[0]


def pixel_difference(a, b):
    assert a.size == b.size
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())
