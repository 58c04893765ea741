"""Encoded cases, kept in memory and, by content, in a folder that any number of models and runs share."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from hpedit.editors.protocol import Conditioning
from hpedit.records import Case
from hpedit.store.atomic import atomic_write

MEMORY_CASES = 1024
"""Encoded cases kept in memory: some 2 MB each at full scale, the rest is on disk."""


class ConditioningCache:
    """What a case is encoded to, computed once for one model and its settings."""

    def __init__(self, name: str, folder: Path | None, device: torch.device) -> None:
        """Start empty.

        Args:
            name: Names all that an encoding depends on beside the case: weights, dtype, sizes, with or without a
                negative.
            folder: Of the files; None keeps them in memory alone.
            device: Where what is read goes.
        """
        self._name, self._folder, self._device = name, folder, device
        self._memory: OrderedDict[str, Conditioning] = OrderedDict()

    def get(self, case: Case, encode: Callable[[Case], Conditioning]) -> Conditioning:
        """The case's encoding from memory, else from the folder, else by `encode`, which is then kept in both."""
        key = hashlib.sha256(f"{self._name};{case.group_key}".encode()).hexdigest()
        if key not in self._memory:
            self._memory[key] = self._read(key) or self._make(key, case, encode)
            if len(self._memory) > MEMORY_CASES:
                self._memory.popitem(last=False)
        self._memory.move_to_end(key)
        return self._memory[key]

    def _path(self, key: str) -> Path | None:
        return self._folder / key[:2] / f"{key}.safetensors" if self._folder else None

    def _read(self, key: str) -> Conditioning | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            return Conditioning.from_tensors(load_file(path)).to(self._device)
        except (SafetensorError, KeyError):
            # A cache entry is worth no error: a damaged one is encoded anew and replaced.
            return None

    def _make(self, key: str, case: Case, encode: Callable[[Case], Conditioning]) -> Conditioning:
        conditioning = encode(case)
        path = self._path(key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, save({name: t.cpu() for name, t in conditioning.to_tensors().items()}))
        return conditioning
