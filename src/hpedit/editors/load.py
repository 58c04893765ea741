"""Load an editor by name: "mini", a folder, or a hub id; its model_index.json selects the adapter.

    editor = load_editor("Qwen/Qwen-Image-Edit-2509", dtype="bfloat16", resolution=512, lora="runs/qwen/lora")
    image = edit_image(editor, picture, "make it dusk", steps=20)

What opens an editor for a command has a recipe's `editor` section: `open_editor(section)`.

Weights are read from safetensors alone; a folder that has pickles instead is refused, for a pickle can run anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError
from torch import nn

from hpedit.config.editor import EditorSection
from hpedit.editors.adapter import Adapter
from hpedit.editors.diffusers_editor import DiffusersEditor
from hpedit.editors.flux_kontext import FluxKontext
from hpedit.editors.locate import resolve_model
from hpedit.editors.lora_files import merge_loras
from hpedit.editors.placement import check_base, compile_blocks, place_pipeline, quantization
from hpedit.editors.qwen_image import QwenEdit, QwenEditPlus
from hpedit.editors.sizes import ImageAreas
from hpedit.editors.usual import usual_sampling
from hpedit.errors import HPEditError
from hpedit.progress import quiet_loading
from hpedit.store.atomic import read_json
from hpedit.store.tensors import check_finite

ADAPTERS: Final[dict[str, type[Adapter]]] = {
    "QwenImageEditPipeline": QwenEdit,
    "QwenImageEditPlusPipeline": QwenEditPlus,
    "FluxKontextPipeline": FluxKontext,
}
"""The pipeline's class in model_index.json -> its adapter."""
DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def open_editor(
    section: EditorSection, *, cfg: float | None = 1.0, lora: Path | str | None = None, cache: Path | None = None
) -> DiffusersEditor:
    """Load the editor that a recipe's section, or a command's options, describe.

    Args:
        section: The description.
        cfg: Scale of classifier-free guidance; 1 is off, None = the model's own.
        lora: See `load_editor`, as for `cache`.

    Raises:
        HPEditError: as `load_editor`.
    """
    return load_editor(
        section.model, section.revision, section.dtype, section.resolution, section.device, lora, cache,
        source_area=section.source_area, condition_area=section.condition_area, cfg=cfg, guidance=section.guidance,
        base=section.base, offload=section.offload, frozen_loras=section.frozen_loras, compile=section.compile,
    )  # fmt: skip


def load_editor(
    model: str,
    revision: str | None = None,
    dtype: str = "float32",
    resolution: int | None = None,
    device: str = "auto",
    lora: Path | str | None = None,
    cache: Path | None = None,
    *,
    source_area: int | None = None,
    condition_area: int | None = None,
    cfg: float | None = 1.0,
    guidance: float | None = None,
    base: str = "full",
    offload: str = "none",
    frozen_loras: Sequence[Path | str] = (),
    compile: bool = False,
) -> DiffusersEditor:
    """Load an image editor from a diffusers pipeline, optionally with a LoRA.

    Args:
        model: Folder or hub id of a diffusers pipeline, or "mini" (the weights inside the package).
        revision: Commit or tag on the hub; ignored for a folder.
        dtype: Of the frozen weights: float32, bfloat16, or auto, which is bfloat16 on an accelerator and float32 on
            the CPU. Latents, noise and the LoRA are float32 always.
        resolution: px, None = the checkpoint's own, else 512.
        device: "auto" (the first accelerator there is, else cpu) or a torch device.
        lora: Folder written by `save_lora`, or a safetensors file, to edit with a post-trained model.
        cache: Folder of encoded cases; None keeps them in memory alone.
        source_area: px^2 of a source as the VAE encodes it; None = as many as the edit has.
        condition_area: px^2 of a source as the text encoder sees it; None = the model family's own.
        cfg: Scale of classifier-free guidance; 1 is off, None = the model's own.
        guidance: Embedded guidance of a distilled transformer (Kontext); None = its usual 2.5.
        base: "full", "8bit" or "4bit"; see `placement.BASES`. "offload" means offload="blocks".
        offload: "none", or "blocks": the transformer's weights stay in the CPU's memory and are moved block by block.
        frozen_loras: LoRAs that are merged into the base, in this order; see `lora_files.merge_loras`.
        compile: Compile the transformer's blocks: worth it where hundreds of forwards follow.

    Raises:
        HPEditError: no such model, an unknown pipeline class, or settings that don't fit it.
    """
    device = _device(device)
    if dtype == "auto":
        dtype = "float32" if torch.device(device).type == "cpu" else "bfloat16"
    if dtype not in DTYPES:
        raise HPEditError(f"unknown dtype {dtype!r}", hint=f"auto, {', '.join(DTYPES)}")
    if base == "offload":
        base, offload = "full", "blocks"
    check_base(base, dtype, device, offload)
    folder, name = resolve_model(model, revision)
    adapter = adapter_of(folder, model)
    areas = ImageAreas.of(folder, resolution, source_area, condition_area, usual_condition=adapter.CONDITION_AREA)
    pipeline = _read_pipeline(folder, model, dtype, base)
    if frozen_loras:
        if base != "full":
            raise HPEditError(f"LoRAs can't be merged into a base of {base}", hint="set base to full")
        name += merge_loras(pipeline, [Path(path) for path in frozen_loras])
    pipeline = place_pipeline(pipeline, offload, device)
    usual = usual_sampling(folder, adapter.USUAL)
    cfg = usual.cfg if cfg is None else cfg
    editor = DiffusersEditor(adapter(pipeline, areas, guidance), fingerprint=name, cache=cache, cfg=cfg, usual=usual)
    if lora is not None:
        editor.load_lora(Path(lora))
    if compile:
        compile_blocks(pipeline.transformer)
    return editor


def wrap_pipeline(
    pipeline: Any,
    areas: ImageAreas,
    *,
    fingerprint: str | None = None,
    cache: Path | None = None,
    cfg: float = 1.0,
    guidance: float | None = None,
) -> DiffusersEditor:
    """Make an editor of a diffusers pipeline that is in memory, on its device; see `DiffusersEditor` and `load_editor`.

    Raises:
        HPEditError: an unknown pipeline class.
    """
    adapter = _known_adapter(type(pipeline).__name__, "this pipeline")
    return DiffusersEditor(adapter(pipeline, areas, guidance), fingerprint=fingerprint, cache=cache, cfg=cfg)


def adapter_of(folder: Path, model: str) -> type[Adapter]:
    """The adapter for a model's folder; HPEditError if it holds no pipeline, or one of another kind."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise HPEditError(
            f"{model} cannot be loaded: there is no {index}",
            hint="give the folder or hub id of a complete pipeline (it has a model_index.json)",
        )
    return _known_adapter(str(read_json(index).get("_class_name")), model)


def _known_adapter(kind: str, model: str) -> type[Adapter]:
    if kind not in ADAPTERS:
        raise HPEditError(f"{model} is a {kind}, which is not supported", hint=f"supported: {', '.join(ADAPTERS)}")
    return ADAPTERS[kind]


def _device(device: str) -> str:
    """The device by name, "auto" resolved; HPEditError if it is not available, before any download."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if device == "auto":
        return found.type if found else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise HPEditError(f"unknown device {device!r}", hint="auto, cpu, mps, cuda or cuda:N") from error
    if kind != "cpu" and (found is None or found.type != kind):
        raise HPEditError(f"device {kind} is not available", hint="use device auto or cpu")
    return device


def _read_pipeline(folder: Path, model: str, dtype: str, base: str) -> Any:
    try:
        with quiet_loading():
            pipeline = DiffusionPipeline.from_pretrained(
                folder, dtype=DTYPES[dtype], local_files_only=True, use_safetensors=True, **quantization(base)
            )
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise HPEditError(
            f"{model} cannot be loaded: {error}",
            hint="give the folder or hub id of a complete pipeline (model_index.json, weights as safetensors)",
        ) from error
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            check_finite(dict(part.named_parameters()), f"{name} of {model}")
    return pipeline
