"""Fingerprints (content hashes) of model weights and folders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hpedit.store.tensors import tensors_digest

WHOLE_FILE = 256 * 2**20
"""Bytes up to which a file is hashed whole.

Of a larger one only size, head and tail count: reading 40 GB at every start takes minutes.
"""
EDGE = 2**20
LENGTH = 16
"""Hexadecimal digits kept: 64 bits, ample to tell models apart."""


def tensors_fingerprint(*states: Mapping[str, Tensor]) -> str:
    """Hash of tensors: names, types, shapes and values."""
    return tensors_digest(*states)[:LENGTH]


def weights_fingerprint(model: nn.Module) -> str:
    """Hash that identifies a base model in any dtype, with or without a LoRA: layers, shapes, all vectors.

    The vectors (biases, scales of norms) are some 10 MB of a 20B model and differ between any two trainings of it.
    They are compared in bfloat16, in which a model may be loaded.
    """
    digest = hashlib.sha256()
    named = {name.replace(".base_layer", ""): p for name, p in model.named_parameters() if ".lora_" not in name}
    for name, parameter in sorted(named.items()):
        # bitsandbytes packs 4-bit weights and keeps their shape beside them.
        shape = tuple(getattr(getattr(parameter, "quant_state", None), "shape", parameter.shape))
        digest.update(f"{name};{shape};".encode())
        if len(shape) == 1:
            digest.update(parameter.detach().to("cpu", torch.bfloat16).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:LENGTH]


def folder_fingerprint(folder: Path) -> str:
    """Hash of the weights and configurations of a model folder; other files (a README, hidden ones) do not count."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".safetensors", ".json", ".txt", ".jinja"):
            size = path.stat().st_size
            digest.update(f"{path.relative_to(folder).as_posix()};{size};".encode())
            with path.open("rb") as file:
                if size <= WHOLE_FILE:
                    digest.update(file.read())
                else:
                    digest.update(file.read(EDGE))
                    file.seek(-EDGE, 2)
                    digest.update(file.read(EDGE))
    return digest.hexdigest()[:LENGTH]
