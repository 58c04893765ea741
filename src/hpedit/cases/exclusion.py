"""What must not be trained on: the photographs of benches, by id, by pixels, and by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hpedit.cases.duplicates import NO_HASH, Hashes, fingerprints
from hpedit.cases.sources.ready import case_files
from hpedit.store.tables import iter_cases

NEAR = 6


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Everything of some benches that a photograph is held against. Plain data: it can be sent to another process."""

    near: int = NEAR
    """Bits of 64 in which perceptual hashes may differ and still be one photograph; 0 = pixels and ids alone."""
    ids: dict[str, str] = field(default_factory=dict)
    """Id of a case, or of its photograph -> what a message calls it."""
    shas: dict[str, str] = field(default_factory=dict)
    """Hash of the pixels of a source picture -> what a message calls it."""
    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Perceptual hashes of the source pictures that have one."""
    names: tuple[str, ...] = ()
    """What a message calls each of `hashes`."""

    @classmethod
    def of(cls, paths: Sequence[Path | str], near: int = NEAR) -> Exclusion:
        """Read benches: parquet files of cases, or folders of them; HPEditError for one that can't be read."""
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
                        sha, hashed = fingerprints(image)
                        shas.setdefault(sha, name)
                        hashes.setdefault(hashed, name)
        hashes.pop(NO_HASH, None)
        values = np.array(list(hashes), np.uint64)
        return cls(near, ids, shas, values, tuple(hashes.values()))

    def reason(self, id: str, source_id: str, sha: str, phash: int) -> str | None:
        """Why a photograph or case may not be trained on, in one line; None if it may.

        Args:
            id: Of the photograph or case.
            source_id: Of its photograph; may be empty.
            sha: `pixel_sha` of its picture.
            phash: `perceptual_hash` of its picture.
        """
        for name in (id, source_id):
            if name and name in self.ids:
                return f"it has the id {name} of {self.ids[name]}, which is excluded"
        if sha in self.shas:
            return f"it has the pixels of {self.shas[sha]}, which is excluded"
        if self.near and phash != NO_HASH and len(self.hashes):
            distances = np.bitwise_count(self.hashes ^ np.uint64(phash))
            nearest = int(distances.argmin())
            if distances[nearest] <= self.near:
                return (
                    f"it looks like {self.names[nearest]}, which is excluded ({distances[nearest]} of 64 bits differ)"
                )
        return None
