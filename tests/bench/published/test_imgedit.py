"""ImgEdit-Bench as published: its description, its folders of results, its judge's answers, its rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.rate.serving import photo

from hpedit.bench.published import BENCHMARKS
from hpedit.bench.published.imgedit import TASK_OF_KIND, imgedit_score_tables, marks_of, task_of_item
from hpedit.bench.published.published_benchmark import write_benchmark
from hpedit.errors import HPEditError
from hpedit.store.images import png_bytes
from hpedit.store.tables import read_cases

IMGEDIT = BENCHMARKS["imgedit"]
DESCRIPTION = {
    "1082": {"id": "animal/1.png", "prompt": "Change the tortoise's shell texture.", "edit_type": "alter"},
    "1068": {"id": "animal/1.png", "prompt": "Change the color of the fur to white.", "edit_type": "alter"},
    "673": {"id": "style/2.png", "prompt": "Transfer the image into a watercolor style.", "edit_type": "style"},
    "281": {"id": "style/2.png", "prompt": "Change the beach to a mountain.", "edit_type": "background"},
    "303": {"id": "style/2.png", "prompt": "Blur the background for a bokeh effect.", "edit_type": "background"},
    "450": {"id": "style/2.png", "prompt": "Extract the top.", "edit_type": "extract"},
}


def answer(*marks: object) -> str:
    names = ("Prompt Compliance", "Visual Seamlessness", "Physical & Detail Fidelity", "More")
    lines = [f"{name}: {mark}  " for name, mark in zip(names, marks, strict=False)]
    return "\n".join(["Brief reasoning: the ratio is 3: 4 here: fine.", *lines])


def write_bench(folder: Path) -> Path:
    for name, number in (("animal/1.png", 1), ("style/2.png", 2)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png_bytes(photo(number)))
    (folder / "basic_edit.json").write_text(json.dumps(DESCRIPTION))
    return folder


def test_marks_are_read_as_their_script_reads_them() -> None:
    assert marks_of(answer(1, 4, 4)) == [1, 4, 4]
    assert marks_of("Style Fidelity: 1\nContent Preservation: 5") == [1, 5]
    assert marks_of("Prompt Compliance: 4/5\nQuality: four") == []
    assert marks_of({"error": "timeout"}) == []
    assert marks_of(answer(0, 4, 4)) == [], "0 is no mark: unscorable, not a failure"
    assert marks_of(answer(1, 4, 10)) == []


def test_a_case_is_the_mean_of_its_marks_and_overall_the_mean_of_nine_kinds(tmp_path: Path) -> None:
    items = {
        f"{kind}-{n}": {"id": f"{n}.jpg", "prompt": "x", "edit_type": kind} for kind in TASK_OF_KIND for n in (0, 1)
    }
    items["add-2"] = {"id": "3.jpg", "prompt": "x", "edit_type": "add"}
    (tmp_path / "d.json").write_text(json.dumps(items))
    answers: dict[str, object] = {key: answer(4, 4, 4) for key in items if not key.startswith("add")}
    answers |= {"add-0": answer(1, 1, 1), "add-1": answer(1, 4, 5), "add-2": {"error": "429"}}
    (tmp_path / "model_a").mkdir()
    (tmp_path / "model_a" / "result.json").write_text(json.dumps(answers))
    (table,) = imgedit_score_tables([tmp_path / "model_a"], tmp_path / "d.json")
    (column,) = table.columns
    # (1.00 + 3.33) / 2, since a case is rounded first.
    assert column.groups["add"] == 2.17
    assert column.overall == pytest.approx((2.165 + 8 * 4) / 9, abs=0.005)
    assert (table.model, table.unscorable, table.counts["add"]) == ("model_a", 1, 2)
    answers.pop("style-0")
    answers["action-0"] = answer(3, 4)
    (tmp_path / "model_a" / "result.json").write_text(json.dumps(answers))
    (table,) = imgedit_score_tables([tmp_path / "model_a" / "result.json"], tmp_path / "d.json")
    assert table.notes[1:] == (
        "no answer on 1 of 19 cases: style-0",
        "1 cases left out: other than 3 marks",
    )


def test_names_of_the_paper_are_the_kinds_of_the_data(tmp_path: Path) -> None:
    items = {kind: {"id": "a", "prompt": "x", "edit_type": kind} for kind in (*TASK_OF_KIND, "adjust", "hybrid")}
    (tmp_path / "d.json").write_text(json.dumps(items))
    (tmp_path / "r.json").write_text(json.dumps(dict.fromkeys(items, answer(2, 2, 2))))
    (table,) = imgedit_score_tables([tmp_path / "r.json"], tmp_path / "d.json")
    assert (table.counts["alter"], table.counts["compose"], table.columns[0].overall) == (2, 2, 2.0)


def test_uge_has_no_kinds(tmp_path: Path) -> None:
    items = {str(n): {"id": f"{n}.jpg", "prompt": "Remove the person."} for n in range(3)}
    (tmp_path / "UGE_edit.json").write_text(json.dumps(items))
    (tmp_path / "r.json").write_text(json.dumps({"0": answer(5, 5, 5), "1": answer(1, 1, 2), "2": "no idea"}))
    (table,) = imgedit_score_tables([tmp_path / "r.json"], tmp_path)
    assert table.columns[0].overall == pytest.approx((5 + 1.33) / 2, abs=0.006)
    assert (table.part, table.unscorable) == ("UGE", 1)
    assert task_of_item("UGE", "Remove the person.") == "removal"


def test_cases_of_the_eight_tasks_and_results_come_as_ours(tmp_path: Path) -> None:
    data, results = write_bench(tmp_path / "bench"), tmp_path / "m"
    results.mkdir()
    for key in ("1068", "303", "450"):
        (results / f"{key}.png").write_bytes(png_bytes(photo(int(key))))
    (results / "result.json").write_text("{}")
    made = write_benchmark(IMGEDIT, data, tmp_path / "out", "en", results)
    cases = {case.id: case for case in read_cases(tmp_path / "out" / "cases.parquet")}
    tasks = {"1068": "color", "673": "style", "281": "background", "303": "bokeh"}
    assert {case.id: case.task for case in cases.values()} == tasks
    assert cases["673"].source_id == cases["281"].source_id == "style/2.png"
    assert made["left_out"] == {"alter": 1, "extract": 1}
    assert {path.name for path in (tmp_path / "out" / "edits").iterdir()} == {"1068.png", "303.png"}
    assert sorted(made["edits"]["missing"]) == ["281", "673"]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "http://x/y.png", "C:\\x.png"])
def test_a_picture_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    data = write_bench(tmp_path / "bench")
    items = {"1": {"id": name, "prompt": "Remove it.", "edit_type": "remove"}}
    (data / "basic_edit.json").write_text(json.dumps(items))
    with pytest.raises(HPEditError, match=r"basic_edit\.json, 1: "):
        write_benchmark(IMGEDIT, data, tmp_path / "out", "en", None)
    assert not (tmp_path / "out" / "cases.parquet").exists()


@pytest.mark.parametrize("key", ["../../out", "a/b", ""])
def test_a_key_that_leads_out_of_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    bench = write_bench(tmp_path / "bench")
    (bench / "basic_edit.json").write_text(json.dumps({key: DESCRIPTION["673"]}))
    (tmp_path / "out.png").write_bytes(png_bytes(photo(3)))
    with pytest.raises(HPEditError, match="can't name a file"):
        write_benchmark(IMGEDIT, bench, tmp_path / "a" / "new", "en", tmp_path / "b" / "c")


def test_no_image_of_another_model_stays(tmp_path: Path) -> None:
    bench = write_bench(tmp_path / "bench")
    for model, names in (("first", ("673", "281")), ("second", ("673",))):
        (tmp_path / model).mkdir()
        for name in names:
            (tmp_path / model / f"{name}.png").write_bytes(png_bytes(photo(4)))
        found = write_benchmark(IMGEDIT, bench, tmp_path / "new", "en", tmp_path / model)
        assert "281" in found["edits"]["missing"] or model == "first"
        assert sorted(file.stem for file in (tmp_path / "new" / "edits").iterdir()) == sorted(names)


def test_faulty_files_are_named(tmp_path: Path) -> None:
    data = write_bench(tmp_path / "bench")
    with pytest.raises(HPEditError, match="kinds of ImgEdit's cases are needed"):
        imgedit_score_tables([data])
    (tmp_path / "r.json").write_text(json.dumps({"9999": answer(1, 1, 1)}))
    with pytest.raises(HPEditError, match="no case 9999"):
        imgedit_score_tables([tmp_path / "r.json"], data)
    (tmp_path / "r.json").write_text(json.dumps({"673": "silence"}))
    with pytest.raises(HPEditError, match="no answer with marks"):
        imgedit_score_tables([tmp_path / "r.json"], data)
    (tmp_path / "r.json").write_text('{"673": ')
    with pytest.raises(HPEditError, match="is not JSON"):
        imgedit_score_tables([tmp_path / "r.json"], data)
    with pytest.raises(HPEditError, match=r"has no basic_edit\.json"):
        write_benchmark(IMGEDIT, tmp_path, tmp_path / "out", "en", None)
    with pytest.raises(HPEditError, match="no language 'cn'"):
        write_benchmark(IMGEDIT, data, tmp_path / "out", "cn", None)


@pytest.mark.parametrize(
    "text",
    [
        "Prompt Compliance: 4.5\nVisual Seamlessness: 4\nFidelity: 4",
        "Objects seen: 2\nPrompt Compliance: 5\nVisual Seamlessness: 5\nFidelity: 5",
        "Prompt Compliance: 5",
    ],
)
def test_an_answer_without_exactly_three_marks_is_left_out_and_counted(text: str, tmp_path: Path) -> None:
    items = {str(n): {"id": f"{n}.jpg", "prompt": "Remove the person."} for n in range(2)}
    (tmp_path / "UGE_edit.json").write_text(json.dumps(items))
    (tmp_path / "r.json").write_text(json.dumps({"0": answer(3, 3, 3), "1": text}))
    (table,) = imgedit_score_tables([tmp_path / "r.json"], tmp_path)
    assert (table.columns[0].overall, table.unscorable) == (3.0, 1)
    assert "1 cases left out: other than 3 marks" in table.notes
