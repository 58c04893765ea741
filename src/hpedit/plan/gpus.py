"""GPU data sheets (memory, bf16 rate, bandwidth), and the GPUs of this machine by nvidia-smi. No torch.

bf16 is the dense tensor-core rate with float32 accumulation: where a sheet gives it with sparsity, half of that. Memory
is what the driver reports, a little less than the name says.
Sheets: NVIDIA H100, H200, A100, L40S, L4, A6000 data sheets; the Ada and Blackwell architecture white papers for the
GeForce and RTX PRO cards; the Blackwell (HGX B200) data sheet.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hpedit.errors import HPEditError

MIB: Final = 2**20
SMI_TIMEOUT: Final = 3.0
"""Seconds to wait for nvidia-smi: a broken driver never answers."""


@dataclass(frozen=True, slots=True)
class GPU:
    """A kind of GPU by its data sheet."""

    name: str
    memory: int
    """Bytes."""
    flops: float
    """Dense bf16 FLOP per second."""
    bandwidth: float
    """Bytes per second."""


@dataclass(frozen=True, slots=True)
class FoundGPU:
    """A GPU of this machine."""

    name: str
    memory: int
    """Bytes."""
    used: int
    """Bytes in use."""
    driver_cuda: str = ""
    """Newest CUDA version that the driver supports; empty if unknown."""


GPUS: Final[Mapping[str, GPU]] = {
    "H100": GPU("H100 SXM 80 GB", 81_559 * MIB, 989e12, 3.35e12),
    "H100-PCIe": GPU("H100 PCIe 80 GB", 81_559 * MIB, 756e12, 2.0e12),
    "H100-NVL": GPU("H100 NVL 94 GB", 95_830 * MIB, 835e12, 3.9e12),
    "H200": GPU("H200 SXM 141 GB", 143_771 * MIB, 989e12, 4.8e12),
    "B200": GPU("B200 180 GB", 183_359 * MIB, 2250e12, 8.0e12),
    "A100": GPU("A100 SXM 80 GB", 81_920 * MIB, 312e12, 2.039e12),
    "A100-40": GPU("A100 40 GB", 40_960 * MIB, 312e12, 1.555e12),
    "L40S": GPU("L40S 48 GB", 46_068 * MIB, 362e12, 0.864e12),
    "L4": GPU("L4 24 GB", 23_034 * MIB, 121e12, 0.3e12),
    "A6000": GPU("RTX A6000 48 GB", 49_140 * MIB, 154.8e12, 0.768e12),
    "RTX-PRO-6000": GPU("RTX PRO 6000 96 GB", 97_887 * MIB, 503.8e12, 1.792e12),
    "RTX-4090": GPU("RTX 4090 24 GB", 24_564 * MIB, 165.2e12, 1.008e12),
    "RTX-5090": GPU("RTX 5090 32 GB", 32_607 * MIB, 209.5e12, 1.792e12),
}


def gpu_by_name(name: str) -> GPU:
    """Look up a GPU by name, whatever its spelling; HPEditError if it is not in the table."""
    wanted = _plain_name(name)
    for key, gpu in GPUS.items():
        if wanted in (_plain_name(key), _plain_name(gpu.name)):
            return gpu
    raise HPEditError(f"the GPU {name!r} is not in the table", hint=f"one of {', '.join(GPUS)}")


def gpu_by_driver_name(driver_name: str, memory: int) -> GPU | None:
    """Look up a GPU by the driver's name and its memory in bytes; None if it is not in the table."""
    plain = _plain_name(driver_name)
    keys = [
        key
        for key, gpu in GPUS.items()
        if abs(gpu.memory - memory) < 0.06 * gpu.memory
        and all(_plain_name(part) in plain for part in key.split("-") if part != "40")  # 40: by memory
    ]
    # The longest key: "H100 PCIe" is both an H100 and an H100-PCIe.
    return GPUS[max(keys, key=len)] if keys else None


def _plain_name(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def nvidia_gpus() -> list[FoundGPU]:
    """NVIDIA GPUs of this machine as nvidia-smi reports them; [] without a driver, or if it does not answer."""
    rows = _nvidia_smi("--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits")
    cuda = _driver_cuda_version() if rows else ""
    found = []
    for row in rows.splitlines():
        parts = [part.strip() for part in row.split(",")]
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            found.append(FoundGPU(parts[0], int(parts[1]) * MIB, int(parts[2]) * MIB, cuda))
    return found


def _driver_cuda_version() -> str:
    words = _nvidia_smi().replace("|", " ").split()
    places = [i for i, word in enumerate(words) if word == "Version:" and words[i - 1] == "CUDA"]
    return words[places[0] + 1] if places and places[0] + 1 < len(words) else ""


def _nvidia_smi(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=SMI_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
