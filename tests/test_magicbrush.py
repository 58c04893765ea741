"""The walk-through of docs/magicbrush.md, command by command, on a part of the photographs it speaks of."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.rate.answered_store import answer
from tests.rate.browser.study import Server
from tests.shared_data import shared_data
from typer.testing import CliRunner

from hpedit.cases.folder import CasesFolder
from hpedit.cases.pairs.pair_table import read_pairs
from hpedit.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "magicbrush.md"
PHOTOS = 24
COUNTED = ("hpedit cases build", "hpedit scorer fit", "hpedit ratings pairs", "hpedit bench build")
"""Commands whose figures are read here, as --json prints them."""
SERVE, STORE = "hpedit rate serve", "votes.sqlite"


def blocks() -> tuple[dict[str, str], list[str]]:
    """Files that the page gives, by name, and the commands that it gives, in its order."""
    files, commands = {}, []
    for text in re.findall(r"^```[a-z]*\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        if named := re.match(r"# ([a-z]+\.(?:py|yaml))\n", text):
            files[named[1]] = text
        else:
            parts = re.split(r"\n(?=hpedit |python )", text.strip("\n").replace("\\\n", " "))
            commands += [part for part in parts if part.startswith("hpedit ")]
    return files, commands


def some_photos(folder: Path) -> None:
    """A folder as the shared one, of the first photographs alone."""
    whole = shared_data("magicbrush", "edits.csv")
    folder.mkdir()
    rows = list(csv.DictReader((whole / "edits.csv").open(encoding="utf-8")))
    chosen = set(sorted({row["photo_id"] for row in rows})[:PHOTOS])
    kept = [row for row in rows if row["photo_id"] in chosen]
    ratings = list(csv.DictReader((whole / "human_ratings.csv").open(encoding="utf-8")))
    names = {row["edit_id"] for row in kept}
    for name, table in (("edits", kept), ("human_ratings", [row for row in ratings if row["edit_id"] in names])):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
    for row in kept:
        for column in ("source_file", "edited_file"):
            (folder / row[column]).parent.mkdir(exist_ok=True)
            shutil.copy(whole / row[column], folder / row[column])


def served(command: str) -> None:
    """The command's server starts and gives its page."""
    arguments = shlex.split(command)[3:]
    place = arguments.index("--db")
    options = [*arguments[1:place], *arguments[place + 2 :]]
    server = Server(Path(arguments[0]), Path(arguments[place + 1]), tuple(options)).start()
    try:
        with urllib.request.urlopen(server.url, timeout=30) as reply:
            assert reply.status == 200
    finally:
        server.stop()


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder after the whole walk, and what each command said."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("walk")
    some_photos(folder / "magicbrush")
    files, commands = blocks()
    assert set(files) == {"fetch.py", "cases.yaml", "prepare.py", "photos.yaml"}
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in files.items():
            (folder / name).write_text(text)
        runpy.run_path("prepare.py")
        for command in commands:
            if command.startswith(SERVE):
                served(command)
                continue
            if f"--db {STORE}" in command:
                vote(folder / STORE)
            asked = ["--json"] if command.startswith(COUNTED) else []
            result = CliRunner().invoke(app, shlex.split(command)[1:] + asked)
            assert result.exit_code == 0, (command, result.output, result.exception)
            said[command] = result.stdout
    return folder, said


def vote(store: Path) -> None:
    """What two people would say on the page: of one case that DALL-E 2 is better, of another that both are bad."""
    edits = [case.id for case in CasesFolder("runs/cases").kept()][:2]
    for number, (edit, value) in enumerate(zip(edits, ("A", "both_bad"), strict=True)):
        answer(store, "Ann", (edit, f"untouched source:{edit}"), value, client_id=str(number))


def output(said: dict[str, Any], start: str) -> Any:
    return next(text for command, text in said.items() if command.startswith(start))


@pytest.mark.slow
def test_cases_come_from_the_given_instructions_and_from_templates(walked: tuple[Path, dict[str, Any]]) -> None:
    folder, said = walked
    given = json.loads(output(said, "hpedit cases build cases.yaml"))
    rows = list(csv.DictReader((folder / "magicbrush" / "edits.csv").open()))
    assert given["kept"] == sum(row["category"] != "Attribute Changes" for row in rows)
    made = json.loads(output(said, "hpedit cases build photos.yaml"))
    assert made["duplicates"] == {"exact": 1, "near": 1}
    assert made["skipped"] == 4
    assert set(made["tasks"]) == {
        "addition", "removal", "swap", "background", "color", "bokeh", "relighting", "style"
    }  # fmt: skip
    reasons = (folder / "runs/photos/skipped.jsonl").read_text()
    for name in ("cut_off.jpg", "empty.jpg", "misnamed.png", "page.png"):
        assert name in reasons


@pytest.mark.slow
def test_people_are_heard_and_a_blind_judge_is_found_out(walked: tuple[Path, dict[str, Any]]) -> None:
    folder, said = walked
    fit = json.loads(output(said, "hpedit scorer fit"))
    assert fit["verdict"] == "no signal"
    table = output(said, "hpedit bench compare")
    assert "has no signal" in table
    compared = json.loads((folder / "runs/compare/compare.json").read_text())
    assert {verdict["tone"] for verdict in compared["verdicts"].values()} == {"warn"}
    people = next(one for one in compared["instruments"] if one["key"] == "human")
    assert 3.0 < people["overall"]["models"]["DALL-E 2"]["mean"] < 4.5
    assert compared["alarms"]["grid_energy"]["models"]["mini"]["alarm"], "the mini editor's blur is seen"


@pytest.mark.slow
def test_votes_become_pairs_and_cases_a_benchmark(walked: tuple[Path, dict[str, Any]]) -> None:
    folder, said = walked
    pairs = list(read_pairs(folder / "pairs.parquet"))
    assert [pair.preference.rejected for pair in pairs] == [f"untouched source:{pairs[0].case.id}"]
    assert json.loads(output(said, "hpedit ratings pairs"))["left_out"] == {"both bad": 1}
    assert json.loads(output(said, "hpedit bench build"))["cases"] > 20


@pytest.mark.slow
def test_the_public_set_is_laid_out_by_the_script_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    source = shared_data("magicbrush", "edits.csv")
    rows = list(csv.DictReader((source / "edits.csv").open(encoding="utf-8")))[:3]
    table = datasets.Dataset.from_list(
        [
            {
                "img_id": row["photo_id"],
                "turn_index": int(row["turn"]),
                "source_img": {"bytes": (source / row["source_file"]).read_bytes(), "path": None},
                "target_img": {"bytes": (source / row["edited_file"]).read_bytes(), "path": None},
                "instruction": row["instruction"],
            }
            for row in rows
        ]
    )
    images = {"source_img": datasets.Image(), "target_img": datasets.Image()}
    table = table.cast(datasets.Features({**table.features, **images}))
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *name, **split: asked.append((name, split)) or table)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fetch.py").write_text(blocks()[0]["fetch.py"])
    runpy.run_path("fetch.py")
    assert asked == [(("osunlp/MagicBrush",), {"split": "dev"})]
    (tmp_path / "cases.yaml").write_text(blocks()[0]["cases.yaml"])
    result = CliRunner().invoke(app, ["cases", "build", "cases.yaml", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["kept"] == 2, "the words of one name no task"
