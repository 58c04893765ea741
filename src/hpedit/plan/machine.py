"""Find the machine that a plan is for: this one, or another with a named GPU. No torch."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpedit.config.recipe import Recipe
from hpedit.plan.findings import Findings
from hpedit.plan.gpus import GPU, MIB, FoundGPU, gpu_by_driver_name, gpu_by_name, nvidia_gpus

BUSY: Final = 1024 * MIB
"""Bytes in use on a GPU above which another job is likely running."""
PORT: Final = 29500
"""Rendezvous port of a run's processes, torch's default."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that will run the recipe."""

    name: str
    kind: GPU | None
    """None for a CPU or a GPU that is not in the table."""
    accelerator: bool
    cuda: bool
    available: int | None
    """Free bytes of one GPU or of main memory; None = unknown."""
    gpus: int
    elsewhere: bool
    """Whether it is another machine: then it is no error if this one lacks something."""
    spare: int | None = None
    """GPUs here that the run does not use; None = unknown."""


def find_machine(recipe: Recipe, named: str | None, gpus: int, findings: Findings) -> Machine:
    """Find the machine, and add an error or warning for each of its problems."""
    device = recipe.editor.device
    if named is not None:
        kind = gpu_by_name(named)
        found = nvidia_gpus()
        here = any(gpu_by_driver_name(gpu.name, gpu.memory) == kind for gpu in found)
        if device == "cpu":
            findings.error("editor.device is cpu, and a GPU is named", hint="set editor.device to auto or cuda")
        return Machine(kind.name, kind, True, True, kind.memory, gpus, not here)
    if device == "mps":
        return Machine("Apple GPU", None, True, False, _available_memory(), 1, False)
    found = [] if device == "cpu" else nvidia_gpus()
    if found:
        return _machine_of_gpus(device, found, gpus, findings)
    if device.startswith("cuda"):
        hint = "name the GPU of the machine that will run it: hpedit plan RECIPE --gpu H100"
        findings.error(f"editor.device is {device}, and there is no NVIDIA GPU here", hint)
        return Machine("no GPU", None, True, True, None, gpus, False)
    return Machine("CPU", None, False, False, _available_memory(), gpus, False)


def _machine_of_gpus(device: str, found: list[FoundGPU], gpus: int, findings: Findings) -> Machine:
    number = int(device.partition(":")[2] or 0)
    if max(number + 1, gpus) > len(found):
        findings.error(
            f"there are {len(found)} GPUs here, and {'cuda:' + str(number) if number else str(gpus)} is asked for",
            hint="set editor.device or --gpus; --gpu NAME plans for another machine",
        )
    gpu = found[min(number, len(found) - 1)]
    if gpu.used > BUSY:
        hint = "the plan counts only the rest; another job may still grow"
        findings.warning(f"{gpu.used / MIB / 1024:.1f} GiB of the GPU are in use by something else", hint)
    _check_torch_cuda(gpu, findings)
    kind, spare = gpu_by_driver_name(gpu.name, gpu.memory), max(0, len(found) - gpus)
    return Machine(gpu.name, kind, True, True, gpu.memory - gpu.used, gpus, False, spare)


def _check_torch_cuda(gpu: FoundGPU, findings: Findings) -> None:
    """Add an error unless the installed torch can use this GPU; reads its version file, since importing it is slow."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        findings.error("torch is not installed", hint="pip install 'hp-edit[models]'")
        return
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    built = re.search(r"^cuda[^=]*= *'([\d.]+)'", text, re.MULTILINE)
    if built is None:
        hint = "install torch for CUDA, see pytorch.org"
        findings.error("there is a GPU, but the installed torch is built without CUDA", hint)
    elif gpu.driver_cuda and int(built[1].split(".")[0]) > int(gpu.driver_cuda.split(".")[0]):
        hint = "update the driver, or install torch for an older CUDA"
        findings.error(f"torch is built for CUDA {built[1]}, and the driver supports up to {gpu.driver_cuda}", hint)


def check_port(machine: Machine, findings: Findings) -> None:
    """Add a warning if the rendezvous port of several processes is in use."""
    if machine.gpus < 2 or machine.elsewhere:
        return
    port = int(os.environ.get("MASTER_PORT", PORT))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            hint = "give another: accelerate launch --main_process_port"
            findings.warning(f"port {port}, where the processes would meet, is in use", hint)


def _available_memory() -> int | None:
    """Available main memory in bytes on Linux; None elsewhere."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None
