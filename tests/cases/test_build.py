"""`hpedit cases build` from end to end: what it leaves, that it continues, what it refuses, and that it is exact."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from tests.cases.build_world import Brightness, contents, photograph, photographs, recipe
from tests.children import run_in_child
from tests.conftest import new_tiny_editor

from hpedit.cases.build import run_build
from hpedit.cases.build_stages import full_model_path
from hpedit.cases.decisions import make_case_id
from hpedit.cases.folder import CasesFolder
from hpedit.cases.instructions import templates
from hpedit.cases.recipe import CasesRecipe
from hpedit.cases.sources.ready import case_files
from hpedit.cases.summary import NO_ROOM, OTHER_WORDING
from hpedit.config.reading import read_recipe, recipe_text
from hpedit.editors.diffusers_editor import DiffusersEditor
from hpedit.errors import HPEditError
from hpedit.store.atomic import atomic_write, dump_json, read_json, read_jsonl
from hpedit.store.tables import iter_cases, write_cases

EDITS = {"editor": "mini", "steps": 2, "per_case": 2}
WORDINGS = {"per_photo": 2, "wordings": 3}
MINI = {"mini": "train", "count": 16}


def test_every_shipped_recipe_of_cases_loads_and_reads_back_equal(tmp_path: Path) -> None:
    shipped = sorted((Path(__file__).parents[2] / "recipes").glob("cases_*.yaml"))
    assert len(shipped) >= 4, "no recipes found: the test looks in the wrong place"
    for path in shipped:
        loaded = read_recipe(path, CasesRecipe, ["seed=7"])
        (tmp_path / "again.yaml").write_text(recipe_text(loaded))
        assert read_recipe(tmp_path / "again.yaml", CasesRecipe) == loaded


def test_photographs_become_cases_and_everything_left_out_is_named(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", 12)
    shutil.copy(photos / "00" / "0003.png", photos / "again.png")
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "page.png").write_text("<html>not found</html>")
    result = run_build(recipe(tmp_path / "out", [{"folder": str(photos), "licence": "CC0"}]))
    assert result["photos"] == 13
    assert result["skipped"] == 2
    assert result["duplicates"] == {"exact": 1, "near": 0}
    assert result["drafts"] == 24
    assert result["candidates"] == result["kept"] == sum(row["kept"] for row in result["tasks"].values())
    skipped = {row["id"] for row in read_jsonl(tmp_path / "out" / "skipped.jsonl")}
    assert skipped == {"0/torn.jpg", "0/page.png"}
    dropped = read_jsonl(tmp_path / "out" / "dropped.jsonl")
    assert [row["id"] for row in dropped if row["stage"] == "2-unique"] == ["0/again.png"]
    assert len([row for row in dropped if row["stage"] == "5-balance"]) == result["drafts"] - result["candidates"]
    cases = list(CasesFolder(tmp_path / "out").kept())
    assert len({case.id for case in cases}) == result["kept"]
    assert {case.licence for case in cases} == {"CC0"}
    # The dataset holds the same cases, and its readers find them.
    again = [case for file in case_files(tmp_path / "out") for case in iter_cases(file)]
    assert [(case.id, case.group_key) for case in again] == [(case.id, case.group_key) for case in cases]


def test_two_builds_are_equal_byte_for_byte_wherever_they_stand(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", 70)
    moved = tmp_path / "elsewhere" / "photos"
    shutil.copytree(photos, moved)
    run_build(recipe(tmp_path / "one", [{"folder": str(photos)}]))
    run_build(recipe(tmp_path / "two", [{"folder": "photos"}]), base=moved.parent)
    assert contents(tmp_path / "one" / "dataset") == contents(tmp_path / "two" / "dataset")
    assert str(tmp_path).encode() not in b"".join(contents(tmp_path / "one" / "dataset").values())


def test_the_same_command_does_nothing_again(tmp_path: Path) -> None:
    wanted = recipe(tmp_path / "out", [{"folder": str(photographs(tmp_path / "photos", 3))}])
    first = run_build(wanted)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != ".lock"}
    assert run_build(wanted) == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != ".lock"}


def test_a_changed_recipe_names_setting_and_stale_stages_and_update_makes_just_those(tmp_path: Path) -> None:
    sources = [{"folder": str(photographs(tmp_path / "photos", 4))}]
    run_build(recipe(tmp_path / "out", sources))
    photo_files = contents(tmp_path / "out" / "1-photos")
    changed = recipe(tmp_path / "out", sources, instructions={"per_photo": 3})
    with pytest.raises(HPEditError) as caught:
        run_build(changed)
    assert "stale: 4-drafts (instructions.per_photo was 2, is 3) and after it 5-balance, 6-edits" in str(caught.value)
    assert "--update" in caught.value.hint
    assert run_build(changed, update=True)["drafts"] == 12
    assert contents(tmp_path / "out" / "1-photos") == photo_files
    run_build(recipe(tmp_path / "fresh", sources, instructions={"per_photo": 3}))
    assert contents(tmp_path / "out" / "dataset") == contents(tmp_path / "fresh" / "dataset")


def test_changed_photographs_are_noticed(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", 3)
    wanted = recipe(tmp_path / "out", [{"folder": str(photos)}])
    run_build(wanted)
    photograph(99).save(photos / "00" / "0001.png")
    with pytest.raises(HPEditError, match=r"stale: 1-photos \(sources\[0\] has changed\) and after it 2-unique"):
        run_build(wanted)
    run_build(wanted, update=True)
    with pytest.raises(HPEditError, match=r"duplicates\.near was 6, is 3"):
        run_build(recipe(tmp_path / "out", [{"folder": str(photos)}], duplicates={"near": 3}))


def test_other_words_of_another_version_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = recipe(tmp_path / "out", [{"folder": str(photographs(tmp_path / "photos", 3))}])
    run_build(wanted)
    monkeypatch.setattr(templates, "STYLES", (*templates.STYLES, "a woodcut"))
    with pytest.raises(HPEditError, match=r"stale: 4-drafts \(instructions\.words has changed\)"):
        run_build(wanted)


def test_nothing_usable_is_an_error_that_names_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "empty.png").write_bytes(b"")
    with pytest.raises(HPEditError, match=r"no usable photograph: 1 were skipped, as 0/empty\.png: .*0 bytes"):
        run_build(recipe(tmp_path / "out", [{"folder": str(tmp_path / "photos")}]))


def test_no_candidate_is_an_error_that_names_why_instructions_were_rejected(tmp_path: Path, make_case) -> None:  # type: ignore[no-untyped-def]
    case = make_case()
    odd = type(case)(**{name: getattr(case, name) for name in case.__slots__} | {"instruction": "?!"})
    write_cases(tmp_path / "cases.parquet", [odd])
    with pytest.raises(HPEditError, match="of 0 instructions; of 1 rejected ones 1 since the instruction has no lett"):
        run_build(recipe(tmp_path / "out", [{"cases": str(tmp_path / "cases.parquet")}]))


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(HPEditError, match=r"not a run folder: it has thesis\.txt"):
        run_build(recipe(tmp_path / "out", [{"folder": str(photos)}]))


def test_near_duplicate_of_the_bench(tmp_path: Path, make_case) -> None:  # type: ignore[no-untyped-def]
    photos = photographs(tmp_path / "photos", 6)
    bench = make_case(sizes=((48, 48),))
    bench = type(bench)(**{n: getattr(bench, n) for n in bench.__slots__} | {"sources": (photograph(2),)})
    write_cases(tmp_path / "bench.parquet", [bench])
    # Equal pixels of one, another size of the other.
    photograph(2).resize((96, 96), Image.Resampling.BICUBIC).save(photos / "larger.png")
    section = {"exclude": (str(tmp_path / "bench.parquet"),)}
    result = run_build(recipe(tmp_path / "out", [{"folder": str(photos)}], duplicates=section))
    assert result["excluded"] == 2
    reasons = {row["id"]: row["reason"] for row in read_jsonl(tmp_path / "out" / "dropped.jsonl")}
    assert "pixels of case" in reasons["0/00/0002.png"]
    assert "looks like case" in reasons["0/larger.png"]


def test_a_duplicate_with_other_instructions_stays_for_them_as_one_unit(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        photograph(1).save(tmp_path / f"{name}.png")
    rows = [("a", "remove the cup"), ("b", "remove the cup"), ("c", "remove the plate")]
    lines = [json.dumps({"image": f"{name}.png", "instruction": text, "task": "removal"}) for name, text in rows]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n")
    result = run_build(recipe(tmp_path / "out", [{"table": str(tmp_path / "t.jsonl")}]))
    cases = list(CasesFolder(tmp_path / "out").kept())
    assert {case.instruction for case in cases} == {"remove the cup", "remove the plate"}
    assert len({case.source_id for case in cases}) == 1
    assert result["duplicates"]["exact"] == 1


def test_duplicates_bring_all_photographs_of_their_source_id_into_one_unit(tmp_path: Path) -> None:
    rows = []
    pictures = {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3, "f": 4}
    for (name, seed), source in zip(pictures.items(), ("p1", "p2", "p2", "p3", "p3", "p4"), strict=True):
        photograph(seed).save(tmp_path / f"{name}.png")
        text = {"image": f"{name}.png", "source_id": source, "instruction": f"remove cup {name}", "task": "removal"}
        rows.append(json.dumps(text) + "\n")
    (tmp_path / "t.jsonl").write_text("".join(rows))
    run_build(recipe(tmp_path / "out", [{"table": str(tmp_path / "t.jsonl")}]))
    units = {case.instruction[-1]: case.source_id for case in CasesFolder(tmp_path / "out").kept()}
    assert units == {"a": "p1", "b": "p1", "c": "p1", "d": "p1", "e": "p1", "f": "p4"}


def test_ids_can_name_files_and_stay_apart() -> None:
    assert re.fullmatch("0_a_b.jpg-style-[0-9a-f]{8}", make_case_id("0/a b.jpg", "f00d", "style", "x", ""))
    assert make_case_id("0/a", "f00d", "style", "x", "my case/1") == "my_case_1"
    assert make_case_id("0/a", "f00d", "style", "x", "../../etc") == "_.._etc"
    long = [make_case_id("0/" + "p" * 400 + end, "f00d", "style", "x", "") for end in "ab"]
    assert max(map(len, long)) <= 150
    assert len(set(long)) == 2


def test_ids_that_two_sources_share_are_told_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        photograph(len(name) + ord(name[0])).save(tmp_path / name / "p.png")
        line = {"id": "7", "image": "p.png", "instruction": "remove the cup", "task": "removal"}
        (tmp_path / name / "t.jsonl").write_text(json.dumps(line) + "\n")
    tables = [{"table": str(tmp_path / name / "t.jsonl")} for name in ("one", "two")]
    run_build(recipe(tmp_path / "out", tables))
    ids = [case.id for case in CasesFolder(tmp_path / "out").kept()]
    assert len(set(ids)) == 2
    assert all(name.startswith("7-") for name in ids)


def test_repeated_instructions_and_ids_of_one_photograph(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    photograph(1).save(photos / "a.png")
    said = [("1", "remove the cup"), ("", "remove the cup"), ("1", "remove the plate"), ("", "remove the fork")]
    lines = (json.dumps({"file_name": "a.png", "id": name, "instruction": text}) + "\n" for name, text in said)
    (photos / "metadata.jsonl").write_text("".join(lines))
    run_build(recipe(tmp_path / "out", [{"image_folder": str(photos)}], instructions={"by": "given"}))
    cases = {case.instruction: case.id for case in CasesFolder(tmp_path / "out").kept()}
    assert set(cases) == {"remove the cup", "remove the plate", "remove the fork"}
    assert len(set(cases.values())) == 3
    assert cases["remove the cup"].startswith("1-")
    assert cases["remove the plate"].startswith("1-")
    (dropped,) = read_jsonl(tmp_path / "out" / "dropped.jsonl")
    assert dropped["reason"] == "the photograph has it already"


def test_other_photographs_under_the_same_names_are_other_cases(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2), ("copy", 1)):
        (tmp_path / name).mkdir()
        photograph(seed).save(tmp_path / name / "0001.png")
        run_build(recipe(tmp_path / f"{name}-out", [{"folder": str(tmp_path / name)}]))
    one, two, copy = (
        {(case.id, case.source_id) for case in CasesFolder(tmp_path / f"{name}-out").kept()}
        for name in ("one", "two", "copy")
    )
    assert one == copy
    for place in (0, 1):
        assert not {names[place] for names in one} & {names[place] for names in two}
    # So that a bench of photographs with such names keeps nothing else out.
    section = {"exclude": (str(tmp_path / "one-out"),)}
    assert (
        "excluded"
        not in run_build(recipe(tmp_path / "two-again", [{"folder": str(tmp_path / "two")}], duplicates=section))[
            "stages"
        ]["2-unique"]
    )


def test_folders_of_models_are_found_from_where_workers_stand(tmp_path: Path) -> None:
    (tmp_path / "models" / "clip").mkdir(parents=True)
    (tmp_path / "mini").mkdir()
    assert full_model_path("models/clip", tmp_path) == str(tmp_path / "models" / "clip")
    for name in ("mini", "openai/clip-vit-large-patch14", "http://127.0.0.1:8000/v1#models/clip"):
        assert full_model_path(name, tmp_path) == name


def test_what_a_kill_left_half_written_is_cleared(tmp_path: Path) -> None:
    wanted = recipe(tmp_path / "out", [{"folder": str(photographs(tmp_path / "photos", 3))}], instructions=WORDINGS)
    run_build(wanted)
    whole = contents(tmp_path / "out" / "dataset")
    # As if the last stage had been killed over its card.
    record = tmp_path / "out" / "8-dataset" / "stage.json"
    atomic_write(record, dump_json({name: value for name, value in read_json(record).items() if name != "counts"}))
    (tmp_path / "out" / "result.json").unlink()
    (tmp_path / "out" / "dataset" / ".tmp-half.md").write_text("# Real")
    run_build(wanted)
    assert contents(tmp_path / "out" / "dataset") == whole


def test_wordings_are_told_from_what_has_no_room(tmp_path: Path) -> None:
    sources = [{"folder": str(photographs(tmp_path / "photos", 6))}]
    result = run_build(recipe(tmp_path / "out", sources, instructions=WORDINGS, balance={"count": 5}))
    dropped = read_jsonl(tmp_path / "out" / "dropped.jsonl")
    reasons = Counter(row["reason"] for row in dropped)
    assert result["drafts"] == 36
    assert reasons == {OTHER_WORDING: 24, NO_ROOM: 7}
    card = (tmp_path / "out" / "dataset" / "README.md").read_text()
    assert "| other wording of an instruction | 24 |" in card
    assert "| instruction without room in the balance | 7 |" in card


@pytest.mark.slow
def test_the_hard_are_kept_and_all_are_there_to_rate(tmp_path: Path, tiny_editor) -> None:  # type: ignore[no-untyped-def]
    sections = {"edits": EDITS, "filter": {"by": "drop-solved", "scorer": "given"}}
    wanted = recipe(tmp_path / "out", [MINI], **sections)
    result = run_build(wanted, editor=tiny_editor, scorer=Brightness())
    folder = CasesFolder(tmp_path / "out")
    every, kept = list(folder.candidates()), list(folder.kept())
    assert {case.id for case in kept} == {c.id for c in every if c.task != "style" and not c.id.endswith("0001")}
    assert all(case.oracle for case in kept)
    assert len(list(folder.edits())) == 32
    assert result["tasks"]["style"] == {"candidates": 2, "kept": 0, "solved": 1, "unscorable": 1}
    assert result["kept"] == len(kept)
    # The scorer changes: no edit is made again.
    edits = contents(tmp_path / "out" / "6-edits")
    other = Brightness()
    other.fingerprint = "another"
    with pytest.raises(HPEditError, match=r"stale: 6-scores \(filter\.scorer has changed\) and after it 7-filter"):
        run_build(wanted, editor=tiny_editor, scorer=other)
    run_build(wanted, editor=tiny_editor, scorer=other, update=True)
    assert contents(tmp_path / "out" / "6-edits") == edits


@pytest.mark.slow
def test_nothing_hard_is_an_error(tmp_path: Path, tiny_editor) -> None:  # type: ignore[no-untyped-def]
    sections = {
        "edits": EDITS,
        "filter": {"by": "drop-solved", "scorer": "given"},
        "balance": {"tasks": {"style": 1.0}},
    }
    with pytest.raises(HPEditError, match="nothing is left to train on"):
        run_build(recipe(tmp_path / "out", [MINI], **sections), editor=tiny_editor, scorer=Brightness())


def build_of_sixteen(out: Path, editor: DiffusersEditor) -> Path:
    """A build with edits and a hard filter of sixteen cases of the mini world."""
    sections = {"edits": EDITS, "filter": {"by": "drop-solved", "scorer": "given"}}
    run_build(recipe(out, [MINI], **sections), editor=editor, scorer=Brightness())
    return out


def build_until_killed(out: Path, last: int) -> None:
    """The build of sixteen, which ends as by a kill when it is about to put its `last`-th file into place."""
    counted, real = itertools.count(1), Path.replace

    def replace(path: Path, target: Path) -> Path:
        if next(counted) == last:
            os._exit(9)
        return real(path, target)

    Path.replace = replace  # type: ignore[assignment,method-assign]
    build_of_sixteen(out, new_tiny_editor())


@pytest.mark.slow
def test_killed_at_any_file_and_repeated_is_as_if_undisturbed(tmp_path: Path, tiny_editor: DiffusersEditor) -> None:
    whole = build_of_sixteen(tmp_path / "whole", tiny_editor)
    # Every fourth file, through all stages to the card.
    for last in range(2, 200, 4):
        status = run_in_child(build_until_killed, tmp_path / f"killed-{last}", last)
        assert status in (0, 9)
        killed = build_of_sixteen(tmp_path / f"killed-{last}", tiny_editor)
        assert contents(killed / "dataset") == contents(whole / "dataset")
        for name in ("skipped.jsonl", "dropped.jsonl", "result.json"):
            assert (killed / name).read_bytes() == (whole / name).read_bytes()
        if status == 0:
            break
    assert last > 30, "the builds were never killed, or not late"


@pytest.mark.slow
def test_a_build_that_is_killed_continues_to_the_same(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos", 200)
    command = [sys.executable, "-m", "hpedit", "cases", "build", str(tmp_path / "r.yaml")]
    (tmp_path / "r.yaml").write_text(f"output: {tmp_path}/killed\nsources:\n  - folder: {photos}\n")
    ended = []
    for stage in ("1-photos", "3-labels", "4-drafts", "candidates"):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 300
            # As soon as the stage has written its first file, in the middle of whatever comes next.
            while not list((tmp_path / "killed" / stage).glob("[!.]*.parquet")) and child.poll() is None:
                assert time.monotonic() < until, "the child made no progress"
                time.sleep(0.002)
        finally:
            child.kill()
            ended.append(child.wait())
    assert -signal.SIGKILL in ended, "each build was over before it could be killed"
    assert subprocess.run(command, capture_output=True, check=True).stdout
    run_build(recipe(tmp_path / "whole", [{"folder": str(photos)}]))
    assert contents(tmp_path / "killed" / "dataset") == contents(tmp_path / "whole" / "dataset")
    for name in ("skipped.jsonl", "dropped.jsonl", "result.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
