"""Exclude benchmark photographs from training data (leakage): by id, by pixels and by perceptual hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hpedit.cases.duplicates import NO_HASH, Hashes, image_fingerprints
from hpedit.cases.sources.ready import case_files
from hpedit.store.tables import iter_cases

NEAR = 6
"""Default bits in which near duplicates may differ."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Ids, pixel hashes and perceptual hashes of benchmarks, to find leakage; plain data for other processes."""

    near: int = NEAR
    """Bits of 64 in which near duplicates may differ; 0 = only pixels and ids."""
    ids: dict[str, str] = field(default_factory=dict)
    """Id of a case or its photograph -> its name in messages."""
    shas: dict[str, str] = field(default_factory=dict)
    """Pixel hash of a source picture -> its name in messages."""
    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Perceptual hashes of the source pictures."""
    names: tuple[str, ...] = ()
    """Names in messages, for each of `hashes`."""

    @classmethod
    def of(cls, paths: Sequence[Path | str], near: int = NEAR) -> Exclusion:
        """Read benchmarks: parquet files of cases, or folders of them; HPEditError if unreadable."""
        ids: dict[str, str] = {}
        shas: dict[str, str] = {}
        hashes: dict[int, str] = {}
        for path in map(Path, paths):
            for file in case_files(path):
                for case in iter_cases(file):
                    name = f"case {case.id} of {path.name}"
                    ids.setdefault(case.id, name)
                    ids.setdefault(case.source_id, name)
                    for image in case.sources:
                        sha, hashed = image_fingerprints(image)
                        shas.setdefault(sha, name)
                        hashes.setdefault(hashed, name)
        hashes.pop(NO_HASH, None)
        values = np.array(list(hashes), np.uint64)
        return cls(near, ids, shas, values, tuple(hashes.values()))

    def reason(self, id: str, source_id: str, sha: str, phash: int) -> str | None:
        """Why a photograph or case is excluded from training, by its ids and `image_fingerprints`; None if it isn't."""
        for name in (id, source_id):
            if name and name in self.ids:
                return f"it has the id {name} of {self.ids[name]}, which is excluded"
        if sha in self.shas:
            return f"it has the pixels of {self.shas[sha]}, which is excluded"
        if self.near and phash != NO_HASH and len(self.hashes):
            distances = np.bitwise_count(self.hashes ^ np.uint64(phash))
            nearest = int(distances.argmin())
            if distances[nearest] <= self.near:
                differ = f"{distances[nearest]} of 64 bits differ"
                return f"it looks like {self.names[nearest]}, which is excluded ({differ})"
        return None
