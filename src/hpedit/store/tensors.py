"""Safetensors files with a checksum, and the one refusal of weights that are not finite.

A flipped bit in a weight or in an encoded case is still a valid safetensors file: it would train or edit something
else. A file written here holds the SHA-256 of its names, types, shapes and values, and is read only if they match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write

SHA256 = "sha256"
"""Key of the checksum in the file's metadata. The only key: the order of several is not fixed in the file."""
_CHECKED = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""Types that are looked at for NaN and infinity; quantised weights have neither."""


def tensors_digest(*states: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of tensors: names, types, shapes and values."""
    digest = hashlib.sha256()
    for state in states:
        for name, tensor in sorted(state.items()):
            flat = tensor.detach().cpu().contiguous()
            digest.update(f"{name};{flat.dtype};{tuple(flat.shape)};".encode())
            digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device with their checksum, atomically; the same tensors give the same bytes."""
    owned = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    atomic_write(path, save(owned, {SHA256: tensors_digest(owned)}))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file of `write_tensors`, onto the CPU; HPEditError if it is missing, altered, or not finite."""
    tensors, metadata = open_tensors(path)
    if metadata.get(SHA256) != tensors_digest(tensors):
        raise HPEditError(f"{path} was altered: its checksum does not match", hint="restore a copy, or make it again")
    return tensors


def open_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, on the CPU, and metadata of any safetensors file; HPEditError if it is damaged or not finite."""
    try:
        with safe_open(path, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            metadata = dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise HPEditError(f"{path} cannot be read: {error}", hint="it must be a whole safetensors file") from error
    check_finite(tensors, str(path))
    return tensors, metadata


def check_finite(tensors: Mapping[str, Tensor], name: str) -> None:
    """HPEditError, with the first tensor's name, if a value is NaN or infinite: pictures would be black or noise."""
    for key, tensor in tensors.items():
        if tensor.dtype not in _CHECKED or not tensor.numel() or tensor.is_meta:
            continue
        # The extremes are NaN if any value is, and no copy of a large tensor is made.
        if not all(torch.isfinite(extreme) for extreme in torch.aminmax(tensor.detach())):
            raise HPEditError(f"{name} holds a number that is not finite, in {key}", "get or make the weights again")
