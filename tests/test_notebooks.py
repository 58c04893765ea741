"""The notebooks run from top to bottom, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = ("calibrate_judge", "loop")


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def run(name: str, folder: Path) -> str:
    """Execute a notebook in an empty folder; returns what it printed."""
    notebook = read(name)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures, "a notebook shows pictures"
    return "".join(output.text for output in outputs if output.get("name") == "stdout")


def test_these_are_all_and_none_stores_outputs() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(NAMES)
    for name in NAMES:
        code = [cell for cell in read(name).cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
def test_the_loop_goes_round(tmp_path: Path) -> None:
    said = run("loop", tmp_path)
    assert "verdict: ok" in said
    assert "iteration 4: mean score" in said
    assert "gain by the oracle:" in said
    assert not list(tmp_path.iterdir()), "it leaves nothing where it was opened"


@pytest.mark.slow
def test_a_judge_is_calibrated_on_tables_of_ratings(tmp_path: Path) -> None:
    said = run("calibrate_judge", tmp_path)
    assert "answers by 5 raters" in said
    assert "model" in said, "the fit says which model it chose"
    assert "scorer - judge: pearson" in said
    assert "verdict: ok" in said
    assert "copy of the source" in said, "it is probed"
