"""What a training iteration costs: rows through the transformer, floating-point operations, memory, and a ceiling."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

TRAINED, RECOMPUTED = 3, 4
PAGE = 4096


@dataclass(slots=True)
class Rows:
    """Rows of forwards, told apart by whether a graph was kept."""

    plain: int = 0
    trained: int = 0

    def equivalents(self, recomputes: bool = False) -> int:
        """In forwards of one row: a backward counts two, recomputing one more."""
        return self.plain + self.trained * (RECOMPUTED if recomputes else TRAINED)


@contextmanager
def counted_rows(transformer: torch.nn.Module) -> Iterator[Rows]:
    """Count every forward of a transformer, whoever calls it."""
    rows = Rows()

    def note(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        n = len(kwargs["hidden_states"])
        if torch.is_grad_enabled():
            rows.trained += n
        else:
            rows.plain += n

    hook = transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def _attention_flops(q: tuple[int, ...], k: tuple[int, ...], *_args: Any, **_kwargs: Any) -> int:
    batch, heads, length, width = q
    return 4 * batch * heads * length * k[-2] * width


def _attention_backward_flops(_grad: Any, q: tuple[int, ...], k: tuple[int, ...], *_a: Any, **_k: Any) -> int:
    return int(2.5 * _attention_flops(q, k))


def flops_of(call: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products, convolutions and attention in a call."""
    aten = torch.ops.aten
    known: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        call()
    return int(counter.get_total_flops())


def product_ceiling(dtype: torch.dtype, device: torch.device, side: int = 1024, seconds: float = 0.3) -> float:
    """The most floating-point operations per second that square matrix products reach here, by CPU time on a CPU.

    On a CPU the seconds are those in which this thread ran, so that other processes on the machine do not count.
    """
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    on_cpu = device.type == "cpu"
    clock = time.thread_time if on_cpu else time.perf_counter
    best, until = 0.0, time.perf_counter() + seconds
    repeats = 1 if on_cpu else 50
    while time.perf_counter() < until or not best:
        began = clock()
        for _ in range(repeats):
            torch.mm(a, b)
        if not on_cpu:
            torch.cuda.synchronize()
        best = max(best, 2 * side**3 * repeats / (clock() - began))
    return best


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@contextmanager
def watched_memory(found: dict[str, int]) -> Iterator[None]:
    """Leave the most memory that was held within, above what was held at its start, in found["peak"]."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield
        found["peak"] = torch.cuda.max_memory_allocated()
        return
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    start, most, done = resident(), [0], threading.Event()

    def look() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], resident())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        found["peak"] = max(0, most[0] - start)
