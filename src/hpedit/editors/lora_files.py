"""Read, write and convert LoRA files: diffusers loads them with equal pixels; what is read is not trusted.

peft drops the alpha from what it exports; without it diffusers takes alpha = rank and every edit differs, so the file
carries the adapter's configuration as metadata, where `load_lora_weights` looks for it. Beside it stands the base that
the LoRA was trained on: on another one of the same shapes it would load, and do something else.

Only safetensors are read. A pickle (.bin, .pt, or one that is named otherwise) is refused before it could run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor, nn

from hpedit.editors.comfyui import to_comfyui
from hpedit.editors.fingerprint import tensors_fingerprint, weights_fingerprint
from hpedit.editors.lora import ADAPTER, WEIGHTS_NAME, has_lora, remove_lora
from hpedit.editors.lora_layouts import peft_config, to_diffusers
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write
from hpedit.store.json_text import decode_json
from hpedit.store.tensors import open_tensors, tensors_digest

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
FORMS = ("diffusers", "comfyui")
COMFYUI_NAME = "comfyui/lora.safetensors"
"""In a folder of its own: diffusers guesses the file of a LoRA's folder, and must find one alone."""
BASE_KEY = "hpedit.base"
"""Of the base's name in the metadata; diffusers passes over keys that don't begin with a part of the pipeline."""
SEAL_KEY = "hpedit.sha256"
"""Key of the checksum of tensors and configuration, beside the base's."""
PEFT_WEIGHTS = "adapter_model.safetensors"
"""The name that peft gives its weights in a folder."""
PREFIX = "transformer."
MERGED = "+merged:"
"""Precedes, in a base's fingerprint, the hash of each LoRA that was merged into it."""


@dataclass(frozen=True, slots=True)
class LoraBase:
    """The base model that a LoRA was trained on."""

    pipeline: str
    """Class of the pipeline."""
    weights: str
    """`fingerprint.weights_fingerprint` of the transformer."""
    name: str = ""
    """Its id and commit on the hub; empty for a folder, so that a file reveals no local path."""

    def __str__(self) -> str:
        return f"{self.name or 'a local model'} ({self.pipeline}, weights {self.weights})"


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A LoRA file in memory."""

    path: Path
    tensors: Mapping[str, Tensor]
    """"transformer.<layer>.lora_A.weight" (r, in) and lora_B (out, r)."""
    config: Mapping[str, Any] | None
    """peft's, with keys "transformer.r" and so on; None = the file has none, and alpha = rank."""
    base: LoraBase | None
    """None = the file does not say."""

    @property
    def layers(self) -> list[str]:
        """The layers that are adapted, by name in the transformer."""
        return sorted(key.removeprefix(PREFIX).partition(".lora_A")[0] for key in self.tensors if ".lora_A" in key)

    def updates(self) -> dict[str, tuple[Tensor, Tensor, float]]:
        """Name of each layer -> A, B and the scale of the update B A: alpha / rank, 1 where the file does not say.

        Raises:
            HPEditError: a LoRA variant (rsLoRA, DoRA, patterns) with another scale.
        """
        config = self.config or {}
        tricks = [t for t in ("use_rslora", "use_dora", "alpha_pattern", "rank_pattern") if config.get(PREFIX + t)]
        if tricks:
            raise HPEditError(f"{self.path} uses {', '.join(tricks)}, which can't be converted")
        found = {}
        for layer in self.layers:
            down, up = (self.tensors[f"{PREFIX}{layer}.lora_{side}.weight"].float() for side in "AB")
            found[layer] = (down, up, float(config.get(f"{PREFIX}lora_alpha", len(down))) / len(down))
        return found


def save_lora(transformer: Any, folder: Path, base: LoraBase) -> None:
    """Write `folder`/pytorch_lora_weights.safetensors atomically; the same weights give the same bytes.

    Raises:
        HPEditError: no LoRA is attached.
    """
    if not has_lora(transformer):
        raise HPEditError("there is no LoRA to save")
    state = get_peft_model_state_dict(transformer, adapter_name=ADAPTER)
    tensors = {f"{PREFIX}{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    config = {f"{PREFIX}{key}": value for key, value in transformer.peft_config[ADAPTER].to_dict().items()}
    config[BASE_KEY] = asdict(base)
    config[SEAL_KEY] = _seal(tensors, config)
    # The one key, for the order of several is not fixed in the file. Sets are sorted for the same reason.
    metadata = {LORA_ADAPTER_METADATA_KEY: json.dumps(config, sort_keys=True, default=sorted)}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / WEIGHTS_NAME, save(tensors, metadata))


def export_lora(path: Path, out: Path, form: str, pipeline: str | None = None) -> None:
    """Write the LoRA of a folder or file to the file `out`, in the names of diffusers or ComfyUI.

    Args:
        path: Of the LoRA.
        out: A .safetensors file.
        form: One of `FORMS`.
        pipeline: Class of its base's pipeline, for a LoRA that does not say.

    Raises:
        HPEditError: whatever `read_lora` refuses, a LoRA whose base is not known, or a LoRA variant.
    """
    if form not in FORMS:
        raise HPEditError(f"unknown form {form!r}", hint=f"one of {', '.join(FORMS)}")
    if out.suffix != ".safetensors":
        raise HPEditError(f"{out} does not end in .safetensors", hint="LoRAs are written as safetensors alone")
    found = read_lora(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    if form == "diffusers":
        tensors = {name: tensor.float() for name, tensor in found.tensors.items()}
        config = None if found.config is None else dict(found.config)
        if config is not None and found.base is not None:
            config[BASE_KEY] = asdict(found.base)
            config[SEAL_KEY] = _seal(tensors, config)
        metadata = {LORA_ADAPTER_METADATA_KEY: json.dumps(config, sort_keys=True)} if config is not None else {}
        atomic_write(out, save(tensors, metadata))
        return
    known = found.base.pipeline if found.base else _guess_pipeline(found)
    if (pipeline or known) is None:
        raise HPEditError(f"{found.path} does not name its base model", hint="name the class of its pipeline")
    atomic_write(out, save(to_comfyui(found.updates(), str(pipeline or known)), {"format": "pt"}))


def _guess_pipeline(found: LoraFile) -> str | None:
    """Guess the pipeline from the layers' names; None if unclear."""
    return "FluxKontextPipeline" if any(name.startswith("single_") for name in found.layers) else None


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA from a folder or a file, in diffusers' names or in a layout of `lora_layouts`.

    Raises:
        HPEditError: no such file, a pickle, a damaged file, or one that holds something else.
    """
    file = path / WEIGHTS_NAME if path.is_dir() or not path.suffix else path
    if not file.is_file() and (path / PEFT_WEIGHTS).is_file():
        file = path / PEFT_WEIGHTS
    _refuse_pickle(path, file)
    try:
        tensors, metadata = open_tensors(file)
        config = decode_json(metadata.get(LORA_ADAPTER_METADATA_KEY, "null"))
    except HPEditError:
        raise
    except ValueError as error:
        raise HPEditError(f"{file} cannot be read: {error}", hint="it must be a whole safetensors file") from error
    _check_seal(file, tensors, config)
    peft = peft_config(tensors, file)
    if peft is not None or any(name.endswith(".alpha") or not name.startswith(PREFIX) for name in tensors):
        config = peft
    tensors = to_diffusers(tensors, file)
    if peft is not None:
        config[f"{PREFIX}target_modules"] = sorted({n.removeprefix(PREFIX).rsplit(".lora_", 1)[0] for n in tensors})
    known = {k: v for k, v in config.items() if k != SEAL_KEY} if isinstance(config, dict) else None
    base = known.pop(BASE_KEY, None) if known else None
    return LoraFile(file, tensors, known, LoraBase(**base) if base else None)


def _seal(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a LoRA's tensors and configuration, for its metadata."""
    text = json.dumps({k: v for k, v in config.items() if k != SEAL_KEY}, sort_keys=True, default=sorted)
    return hashlib.sha256(f"{tensors_digest(tensors)};{text}".encode()).hexdigest()


def _check_seal(file: Path, tensors: Mapping[str, Tensor], config: Any) -> None:
    """HPEditError if the LoRA was written here and has changed since; those of other programs have no checksum."""
    sealed = config.get(SEAL_KEY) if isinstance(config, dict) else None
    if sealed is not None and sealed != _seal(tensors, config):
        raise HPEditError(f"{file} was altered: its checksum does not match", hint="restore a copy, or train it again")


def _refuse_pickle(path: Path, file: Path) -> None:
    pickled = [p for p in path.glob("*") if p.suffix in PICKLES] if path.is_dir() else [file]
    if not file.is_file():
        if path.is_dir() and pickled:
            raise HPEditError(
                f"{path} holds {pickled[0].name}, a pickle, and no {WEIGHTS_NAME}",
                hint="pickles are not read, since they can run anything; convert it to safetensors",
            )
        raise HPEditError(f"{file} does not exist", hint="give the folder that `hpedit train` wrote: <output>/lora")
    if file.suffix in PICKLES:
        raise HPEditError(
            f"{file} is a pickle", hint="pickles are not read, since they can run anything; convert it to safetensors"
        )


def load_lora(transformer: Any, path: Path, base: LoraBase) -> None:
    """Attach the LoRA of a folder or file, in place of one that may be there.

    Args:
        transformer: Of the pipeline.
        path: Of the LoRA.
        base: What the transformer is; a LoRA that names another one is refused.

    Raises:
        HPEditError: whatever `read_lora` refuses, or a LoRA of another base; then no LoRA is attached.
    """
    remove_lora(transformer)
    found = read_lora(path)
    _check_lora_base(found, base)
    _check_lora_shapes(transformer, found, base)
    config = None if found.config is None else dict(found.config)
    try:
        transformer.load_lora_adapter(dict(found.tensors), metadata=config, adapter_name=ADAPTER)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        remove_lora(transformer)
        raise HPEditError(
            f"{found.path} does not fit {base}: {error}", hint="it was trained on another base"
        ) from error


def merge_loras(pipeline: Any, paths: Sequence[Path]) -> str:
    """Add LoRAs to the weights of a pipeline's transformer for good, as diffusers' `fuse_lora` does.

    Args:
        pipeline: With its transformer in float32 or half precision and without a LoRA.
        paths: Folders or files, in this order. Each adds alpha / rank * B A, computed in float32.

    Returns:
        What the base's fingerprint gets at its end.

    Raises:
        HPEditError: whatever `read_lora` refuses, a LoRA of another base, or one with another scale (rsLoRA, DoRA).
    """
    transformer = pipeline.transformer
    base = LoraBase(type(pipeline).__name__, weights_fingerprint(transformer))
    ending = ""
    for path in paths:
        found = read_lora(path)
        _check_lora_base(found, base)
        _check_lora_shapes(transformer, found, base)
        for layer, (down, up, scale) in found.updates().items():
            weight = transformer.get_submodule(layer).weight
            update = scale * (up.float() @ down.float())
            weight.data = (weight.data.float() + update.to(weight.device)).to(weight.dtype)
        scales = ",".join(f"{scale:g}" for _, _, scale in found.updates().values())
        ending += f"{MERGED}{tensors_fingerprint(found.tensors)}:{hashlib.sha256(scales.encode()).hexdigest()[:8]}"
    return ending


def _check_lora_base(found: LoraFile, base: LoraBase) -> None:
    if found.base and found.base.weights != base.weights:
        raise HPEditError(
            f"{found.path} was trained on {found.base}, and this is {base}", hint="load the base that it was trained on"
        )


def _check_lora_shapes(transformer: nn.Module, found: LoraFile, base: LoraBase) -> None:
    """HPEditError if a layer is missing or of another width; diffusers would widen Flux's layers instead."""
    linear = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    whose = str(found.base) if found.base else "another base"
    for layer in found.layers:
        if layer not in linear:
            raise HPEditError(
                f"{found.path} has the layer {layer}, which {base} has not", hint=f"it was trained on {whose}"
            )
        down, up = (found.tensors.get(f"{PREFIX}{layer}.lora_{side}.weight") for side in "AB")
        if down is None or up is None:
            raise HPEditError(f"{found.path} has half of the layer {layer}")
        wide = (up.shape[0], down.shape[-1])
        if wide != (linear[layer].out_features, linear[layer].in_features):
            has = f"{linear[layer].out_features} x {linear[layer].in_features}"
            raise HPEditError(
                f"{found.path} does not fit {base}: {layer} is {wide[0]} x {wide[1]} there and {has} here",
                hint=f"it was trained on {whose}",
            )
