"""Compare finished benchmarks and write the tables and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.bench.bench_folder import BenchFolder, refuse_foreign
from hpedit.bench.benchmark_run import cases_fingerprint
from hpedit.bench.commands import ASKED
from hpedit.bench.comparison import compare_models
from hpedit.bench.comparison_tables import TABLE, write_comparison_tables
from hpedit.bench.human import read_human_scores
from hpedit.cases.folder import load_cases
from hpedit.errors import HPEditError
from hpedit.progress import note
from hpedit.report.bench_page import write_bench_page
from hpedit.report.bench_pictures import BenchPicture, collect_bench_pictures
from hpedit.store.atomic import read_json, write_json


def compare_folders(
    paths: Sequence[Path], out: Path, *, ratings: Path | None = None, cases: Path | None = None, command: str = ""
) -> dict[str, Any]:  # fmt: skip
    """Compare finished benchmarks, the first being the reference, and write tables and page to `out`.

    Args:
        paths: Folders of `bench_editor` and `bench_external`.
        out: Folder for compare.json, .md, .csv, .tex and report.html.
        ratings: People's scores of the edits (.csv, .jsonl).
        cases: For the pictures of the page; None takes the file that the benchmarks were run on.
        command: which the page shows.

    Raises:
        HPEditError: see `compare_models`.
    """
    folders = [BenchFolder.open(path) for path in paths]
    if any(out.resolve() == folder.path.resolve() for folder in folders):
        raise HPEditError(f"{out} is the benchmark of a model", hint="choose another folder for the comparison")
    refuse_foreign(out, TABLE)
    human = read_human_scores(ratings, folders) if ratings else None
    result = compare_models(folders, human)
    pictures, caveat = _pictures(folders, cases, result["instruments"], human.means if human else {})
    if caveat:
        note(caveat)
    out.mkdir(parents=True, exist_ok=True)
    asked: dict[str, Any] = {"folders": [str(path.resolve()) for path in paths], "command": command}
    asked |= {"ratings": str(ratings.resolve()) if ratings else None, "cases": str(cases.resolve()) if cases else None}
    write_comparison_tables(out, result)
    write_bench_page(out, result, pictures, command="\n".join([*_commands(folders), command]))
    write_json(out / ASKED, asked)
    return result


def _commands(folders: Sequence[BenchFolder]) -> list[str]:
    """How the folders were made, as far as that is known."""
    asked = [folder.path / ASKED for folder in folders]
    return [command for file in asked if file.exists() and (command := read_json(file).get("command"))]


def report_again(out: Path) -> Path:
    """Write the tables and the page of a comparison again; returns the page's path."""
    asked = read_json(out / ASKED) if (out / ASKED).exists() else {}
    if "folders" not in asked:
        raise HPEditError(f"{out} is not the folder of a comparison", hint="`hpedit bench compare A B --out` makes one")
    compare_folders(
        [Path(path) for path in asked["folders"]], out,
        ratings=Path(asked["ratings"]) if asked["ratings"] else None,
        cases=Path(asked["cases"]) if asked["cases"] else None,
        command=asked["command"],
    )  # fmt: skip
    return out / "report.html"


def _pictures(
    folders: Sequence[BenchFolder], cases: Path | None, instruments: Sequence[Mapping[str, Any]],
    human: Mapping[str, float],
) -> tuple[list[BenchPicture], str]:  # fmt: skip
    """Pictures for the page, and why there are none."""
    asked = folders[0].path / ASKED
    path = cases or (Path(read_json(asked)["cases"]) if asked.exists() else None)
    if path is None or not path.exists():
        return [], f"no pictures on the page: {path or 'the file of cases'} is not there (--cases names it)"
    held_out = load_cases(path)
    if folders[0].cases is not None and cases_fingerprint(held_out) != folders[0].cases:
        if cases is not None:
            raise HPEditError(f"{cases} holds other cases than these benchmarks were run on", hint="leave --cases out")
        return [], f"no pictures on the page: {path} holds other cases by now"
    return collect_bench_pictures(held_out, folders, instruments, human), ""
