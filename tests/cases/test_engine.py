"""Engines: the same files from Ray's workers as from this process, though one of them dies on the way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cases.build_world import Brightness, contents, photographs, recipe

from hpedit.cases import steps
from hpedit.cases.build import run_build
from hpedit.cases.engine import load_engine
from hpedit.cases.engine.protocol import Counts
from hpedit.cases.source_items import Chunk
from hpedit.errors import HPEditError


@dataclass(frozen=True)
class Refuses:
    """A task whose model is not there, or which fails at one chunk."""

    at_once: bool
    models: bool = False

    def open(self) -> Callable[[int], Counts]:
        if self.at_once:
            raise HPEditError("no such model", hint="name another")

        def work(number: int) -> Counts:
            if number == 1:
                raise HPEditError("chunk 1 is damaged")
            return {"items": 1}

        return work


@dataclass(frozen=True)
class Dies(steps.ReadPhotos):
    """Reads photographs; the first worker to come to chunk 1 is killed there, its file half done."""

    def open(self) -> Callable[[Chunk], Counts]:
        read = super().open()
        mark = self.out / "died"

        def work(chunk: Chunk) -> Counts:
            if chunk.number == 1 and not mark.exists():
                mark.touch()
                (self.out / steps.PHOTOS / ".tmp-half.parquet").write_bytes(b"PAR1")
                os.kill(os.getpid(), signal.SIGKILL)
            return read(chunk)

        return work


def test_the_local_engine_loads_nothing_for_no_chunks() -> None:
    assert list(load_engine("local", None).map(Refuses(True), [])) == []
    with pytest.raises(HPEditError, match="no such model"):
        list(load_engine("local", None).map(Refuses(True), [0]))


def test_unknown_engines_and_useless_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="unknown engine 'dask'"):
        load_engine("dask", None)
    with pytest.raises(HPEditError, match="has a single process"):
        load_engine("local", 4)
    with pytest.raises(HPEditError, match="ray cannot use"):
        run_build(recipe(tmp_path / "out", [{"mini": "train"}]), engine="ray", scorer=Brightness())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine with two CPUs, so two workers; classes of this file travel by value."""
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    engine = load_engine("ray", 2)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield engine
    ray.shutdown()


@pytest.mark.slow
def test_ray_hands_a_workers_error_on_as_it_is(cluster: Any) -> None:
    with pytest.raises(HPEditError, match="no such model") as caught:
        list(cluster.map(Refuses(True), [0, 1]))
    assert caught.value.hint == "name another"
    with pytest.raises(HPEditError, match="chunk 1 is damaged"):
        list(cluster.map(Refuses(False), [0, 1, 2]))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_gives_the_same_bytes_though_a_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [{"folder": str(photographs(tmp_path / "photos", 200))}]
    run_build(recipe(tmp_path / "local", sources))
    monkeypatch.setattr(steps, "ReadPhotos", Dies)
    run_build(recipe(tmp_path / "ray", sources), engine="ray", workers=2)
    assert (tmp_path / "ray" / "died").exists()
    differing = ("recipe.yaml", "metrics.jsonl", "log.txt", "died", "1-photos/.tmp-half.parquet")
    one, two = (contents(tmp_path / name, *differing) for name in ("local", "ray"))
    assert one == two
