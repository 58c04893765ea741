"""Recipes to plan, on a machine without GPU, hub or data unless a test brings them."""

import json
import os
from pathlib import Path

import pytest
from huggingface_hub import constants

from hpedit.config.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def recipe(tmp_path):
    """A shipped recipe by name with overrides, writing below tmp_path."""

    def load(name="mini", *overrides):
        output = f"output={tmp_path / 'run'}"
        return load_recipe(RECIPES / f"{name}.yaml", [output, *overrides])

    return load


@pytest.fixture(autouse=True)
def hermetic(tmp_path, monkeypatch):
    """No hub, an empty cache, and no nvidia-smi."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "WORLD_SIZE", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    # Child processes read the environment; in this one huggingface_hub read it when it was imported.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    path = [folder for folder in os.environ["PATH"].split(":") if not (Path(folder) / "nvidia-smi").exists()]
    monkeypatch.setenv("PATH", ":".join(path))


@pytest.fixture
def online(monkeypatch):
    """Ask this hub, for once."""

    def ask(endpoint):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)

    return ask


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A driver's command that reports GPUs, given as (name, MiB in all, MiB used)."""

    def install(*gpus, cuda="12.8"):
        rows = "\n".join(f"{name}, {total}, {used}" for name, total, used in gpus)
        script = f"#!/bin/sh\nif [ $# -gt 0 ]; then cat <<'EOF'\n{rows}\nEOF\n"
        script += f"else echo '| NVIDIA-SMI 570.1   Driver Version: 570.1   CUDA Version: {cuda}  |'; fi\n"
        folder = tmp_path / "driver"
        folder.mkdir(exist_ok=True)
        (folder / "nvidia-smi").write_text(script)
        (folder / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return install


@pytest.fixture
def scorer_folder(tmp_path):
    """A scorer's folder as `hpedit scorer fit` leaves it, as far as a plan reads it."""

    def make(judge="mini", verdict="ok", reason="", name="scorer", kept=2, probe=None):
        folder = tmp_path / name
        folder.mkdir()
        part = {"judge": judge, "questions": {"color": {"names": [f"q:{i}" for i in range(kept)]}}}
        blend = {"judges": [0], "weights": [1.0]}
        calibration = {"parts": [part], "blend": blend, "tasks": ["color", "style"], "verdict": verdict}
        (folder / "calibration.json").write_text(json.dumps(calibration | {"reason": reason}))
        judges = {judge: {"revision": None, "fingerprint": "x"}}
        (folder / "scorer.json").write_text(json.dumps({"judges": judges, "prompts": "x"}))
        if probe is not None:
            (folder / "probe.json").write_text(json.dumps(probe))
        return str(folder)

    return make


@pytest.fixture
def training_cases(make_case):
    return [make_case(f"case-{i}", "make it red", seed=10 * i) for i in range(4)]


@pytest.fixture
def cases_file(tmp_path, make_case):
    """A table of so many cases."""
    from hpedit.store.tables import write_cases

    def make(count, name="cases.parquet", **changes):
        write_cases(tmp_path / name, [make_case(f"case-{i}", seed=10 * i, **changes) for i in range(count)])
        return str(tmp_path / name)

    return make


@pytest.fixture
def preference_pairs(tmp_path, make_picture):
    """A table of so many rated pairs, as `hpedit ratings pairs` writes it."""
    from hpedit.cases.pairs.pair_table import _COLUMNS
    from hpedit.store.tables import encode_cell, write_parquet_table

    def make(count):
        empty = dict.fromkeys(_COLUMNS)
        texts = dict.fromkeys(("task", "instruction", "category", "origin", "licence"), "color")
        rows = []
        for number in range(count):
            one, two, three = (encode_cell(make_picture(seed=3 * number + i)) for i in range(3))
            named = {"case_id": f"case-{number}", "chosen_id": f"a{number}", "rejected_id": f"b{number}"}
            pictures = {"source": one, "chosen": two, "rejected": three}
            rest = {"source_id": f"photo-{number}", "weight": 1.0, "basis": "votes", "raters": 3, "simulated": True}
            rows.append((named["case_id"], empty | texts | named | pictures | rest))
        write_parquet_table(tmp_path / "pairs.parquet", _COLUMNS, rows)
        return tmp_path / "pairs.parquet"

    return make
