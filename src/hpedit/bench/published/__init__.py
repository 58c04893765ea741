"""Published benchmarks: their cases for our scorers, their result folders as edits, their judges' files as scores."""

from __future__ import annotations

from hpedit.bench.published import gedit, imgedit
from hpedit.bench.published.published_benchmark import Benchmark

BENCHMARKS: dict[str, Benchmark] = {"gedit": gedit.BENCHMARK, "imgedit": imgedit.BENCHMARK}
"""Every published benchmark that can be read, by the name that the command takes."""
