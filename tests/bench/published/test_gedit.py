"""GEdit-Bench as published: its parquet, its folders of results, its judge's files, its rule."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, Value
from tests.rate.serving import photo
from typer.testing import CliRunner

from hpedit.bench.published import BENCHMARKS
from hpedit.bench.published.gedit import TASK_OF_GROUP, gedit_score_tables, read_gedit_scores
from hpedit.bench.published.published_benchmark import score_tables_text, write_benchmark
from hpedit.cli import app
from hpedit.errors import HPEditError
from hpedit.store.images import png_bytes
from hpedit.store.tables import read_cases

GEDIT = BENCHMARKS["gedit"]
GROUPS = list(TASK_OF_GROUP)
FEATURES = Features(
    {"task_type": Value("string"), "key": Value("string"), "instruction": Value("string"),
     "instruction_language": Value("string"), "input_image": Image(), "input_image_raw": Image(),
     "Intersection_exist": Value("bool")}
)  # fmt: skip


def write_data(folder: Path) -> Path:
    """The data set as Hugging Face datasets writes it: every group once in each language, one photo for both."""
    rows: list[dict[str, Any]] = [
        {
            "task_type": group,
            "key": f"{number:032x}",
            "instruction": f"{language}: do {group}",
            "instruction_language": language,
            "input_image": photo(number),
            "input_image_raw": photo(number, (48, 32)),
            "Intersection_exist": number % 2 == 0,
        }
        for number, group in enumerate(GROUPS)
        for language in ("en", "cn")
    ]
    (folder / "data").mkdir(parents=True)
    Dataset.from_list(rows, features=FEATURES).to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))
    return folder


def write_scores(
    folder: Path,
    groups: dict[str, list[tuple[Any, Any, Any]]],
    *,
    model: str = "our_model_1",
    ending: str = "en_vie_score",
    language: str = "en",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for group, rows in groups.items():
        with (folder / f"{model}_{group}_{ending}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["key", "edited_image", "instruction", "sementics_score", "quality_score",
                             "intersection_exist", "instruction_language"])  # fmt: skip
            for number, (semantics, quality, intersection) in enumerate(rows):
                writer.writerow([f"{group}{number}", "x.png", "do", semantics, quality, intersection, language])
    return folder


def test_the_mean_is_over_groups_of_root_means_not_over_cases(tmp_path: Path) -> None:
    """By hand: ten groups hold one case of SC 9 and PQ 4, so O 6; the last holds (0, 10) three times and (10, 10)."""
    groups = {group: [(9, 4, True)] for group in GROUPS[:-1]}
    groups[GROUPS[-1]] = [(0, 10, False)] * 3 + [(10, 10, True)]
    everything, intersection = gedit_score_tables([write_scores(tmp_path, groups)])
    semantics, quality, overall = everything.columns
    assert overall.groups["color_alter"] == 6.0
    assert overall.groups["tone_transfer"] == 2.5
    assert overall.overall == pytest.approx((10 * 6 + 2.5) / 11, abs=1e-3)
    assert semantics.overall == pytest.approx((90 + 2.5) / 11, abs=1e-3)
    assert quality.overall == pytest.approx((40 + 10) / 11, abs=1e-3)
    assert overall.overall != pytest.approx(math.sqrt(semantics.overall * quality.overall), abs=0.01)
    assert intersection.columns[2].overall == pytest.approx((60 + 10) / 11, abs=1e-3)
    assert (everything.model, everything.part, intersection.part) == (
        "our_model_1",
        "en, all cases",
        "en, intersection",
    )
    assert sum(everything.counts.values()) == 14
    assert overall.ci95 is None or overall.ci95[0] <= overall.overall <= overall.ci95[1]


def test_a_score_that_is_not_there_is_left_out_and_counted_and_a_missing_group_has_no_overall(tmp_path: Path) -> None:
    groups = {group: [(8, 8, "False"), ("", 5, "False"), ("nan", 5, "False"), (11, 5, "False")] for group in GROUPS}
    table = gedit_score_tables([write_scores(tmp_path / "a", groups)])[0]
    assert (table.unscorable, table.columns[2].overall) == (33, 8.0)
    del groups["ps_human"]
    table = gedit_score_tables([write_scores(tmp_path / "b", groups)])[0]
    assert table.columns[2].overall is None
    assert table.columns[2].groups["ps_human"] is None
    assert "no score in ps_human" in score_tables_text([table])


def test_older_files_name_the_source_and_hold_both_languages(tmp_path: Path) -> None:
    for group in GROUPS:
        with (tmp_path / f"m_{group}_gpt_score.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["source_image", "edited_image", "instruction", "sementics_score", "quality_score",
                             "intersection_exist", "instruction_language"])  # fmt: skip
            for language, score in (("en", 4), ("cn", 9)):
                source = f"/r/m/fullset/{group}/{language}/abc_SRCIMG.png"
                writer.writerow([source, "e.png", "do", score, score, "True", language])
    (tmp_path / "m_combined_gpt_score.csv").write_text("ignored\n")
    assert gedit_score_tables([tmp_path], None, "en")[0].columns[2].overall == 4.0
    assert gedit_score_tables([tmp_path], None, "cn")[0].columns[2].overall == 9.0
    with pytest.raises(HPEditError, match="no language 'de'"):
        gedit_score_tables([tmp_path], None, "de")


def test_faulty_score_files_are_named(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "s", {"color_alter": [(1, 1, True)]})
    file = folder / "our_model_1_color_alter_en_vie_score.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    with pytest.raises(HPEditError, match="color_alter0 appears twice"):
        gedit_score_tables([folder])
    with pytest.raises(HPEditError, match="both color_alter"):
        gedit_score_tables([write_scores(tmp_path / "t", {"color_alter": [(1, 1, True)]}), folder])
    (tmp_path / "nothing").mkdir()
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(HPEditError, match=r"other\.csv is not a score file"):
        gedit_score_tables([tmp_path / "other.csv"])
    with pytest.raises(HPEditError, match="holds no score file"):
        gedit_score_tables([tmp_path / "nothing"])


def test_cases_and_results_come_as_ours(tmp_path: Path) -> None:
    data = write_data(tmp_path / "gedit")
    results = tmp_path / "results" / "m"
    for number, group in enumerate(GROUPS[:6]):
        for name in (f"{number:032x}.png", f"{number:032x}_SRCIMG.png"):
            path = results / "fullset" / group / "en" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png_bytes(photo(90 + number)))
    made = write_benchmark(GEDIT, data, tmp_path / "out", "en", results)
    assert made["cases"] == 7
    assert made["tasks"] == dict.fromkeys(
        ("addition", "background", "color", "relighting", "removal", "style", "swap"), 1
    )
    assert made["left_out"] == {group: 1 for group, task in sorted(TASK_OF_GROUP.items()) if task is None}
    cases = {case.task: case for case in read_cases(tmp_path / "out" / "cases.parquet")}
    assert cases["color"].instruction == "en: do color_alter"
    assert cases["color"].source.tobytes() == photo(1).tobytes()
    found = {path.stem for path in (tmp_path / "out" / "edits").iterdir()}
    assert found == {cases[task].id for task in ("background", "color", "style")}
    assert sorted(made["edits"]["missing"]) == sorted({case.id for case in cases.values()} - found)
    chinese = write_benchmark(GEDIT, data, tmp_path / "cn", "cn", None)
    other = {case.task: case for case in read_cases(tmp_path / "cn" / "cases.parquet")}
    assert chinese["cases"] == 7
    assert other["color"].id != cases["color"].id
    assert other["color"].source_id == cases["color"].source_id, "one photograph"


def test_other_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="holds no parquet"):
        write_benchmark(GEDIT, tmp_path, tmp_path / "out", "en", None)
    Dataset.from_dict({"a": [1]}).to_parquet(str(tmp_path / "x.parquet"))
    with pytest.raises(HPEditError, match="lacks the columns task_type"):
        write_benchmark(GEDIT, tmp_path, tmp_path / "out", "en", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(HPEditError, match="not a readable parquet"):
        write_benchmark(GEDIT, tmp_path, tmp_path / "out", "en", None)


def test_command_prints_a_table_that_fits_80_columns(tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "s", {group: [(8, 7, True), (6, 7, False)] for group in GROUPS})
    done = CliRunner().invoke(app, ["bench", "published", "gedit", "--scores", str(folder)])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert "| overall" in done.output
    as_json = CliRunner().invoke(app, ["bench", "published", "gedit", "--scores", str(folder), "--json"])
    tables = json.loads(as_json.output)
    assert tables[0]["columns"]["SC"]["overall"] == 7.0


@pytest.mark.parametrize("given", [["--edits", "e"], ["--out", "o"], ["--data", "d", "--edits", "e"]])
def test_an_option_that_would_do_nothing_is_an_error(tmp_path: Path, given: list[str]) -> None:
    result = CliRunner().invoke(app, ["bench", "published", "gedit", "--scores", str(tmp_path), *given])
    assert "give --data and --out" in str(getattr(result.exception, "hint", ""))


def test_missing_rows_are_counted_and_named(tmp_path: Path) -> None:
    whole = {group: [(8, 7, True), (6, 7, True)] for group in GROUPS}
    short = whole | {GROUPS[0]: [(8, 7, True)]}
    full, less = write_scores(tmp_path / "a", whole), write_scores(tmp_path / "b", short)
    for file in list(less.glob("*.csv")):
        file.rename(file.with_name(f"short_{file.name}"))
    notes = {(t.model, t.part): t.notes for t in gedit_score_tables([full, less])}
    (note,) = [n for (model, part), found in notes.items() for n in found if "no row" in n]
    assert note == f"no row for 1 of {2 * len(GROUPS)} cases: {GROUPS[0]}1"
    data = write_data(tmp_path / "gedit")
    assert any("no row for" in note for note in gedit_score_tables([full], data)[0].notes)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp"])
def test_a_source_of_any_suffix_names_its_case(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / "m_color_alter_gpt_score.csv"
    header = "source_image,edited_image,sementics_score,quality_score,intersection_exist,instruction_language"
    file.write_text(f"{header}\na/k1_SRCIMG.{suffix},e.{suffix},8,8,True,en\n")
    (row,) = read_gedit_scores(file, "color_alter", ("en",))
    assert row.key == "k1"
