"""Edits made elsewhere: matched by case id, what is odd about them is named, and they are scored as a model's own."""

import pytest
from PIL import Image
from tests.bench.test_benchmark_run import Brightness, exact
from tests.conftest import picture

from hpedit.bench.bench_folder import EDITS, ROWS, BenchFolder, Instrument
from hpedit.bench.benchmark_run import run_external
from hpedit.bench.commands import BenchJudges, bench_external
from hpedit.bench.comparison import compare_models
from hpedit.bench.external_edits import match_edits
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.tables import write_cases

BRIGHT = Instrument("brightness", "scorer", "brightness")


@pytest.fixture
def cases(make_case):
    return [exact(make_case(f"set/{i}:a", seed=i)) for i in range(3)]


@pytest.fixture
def edits(tmp_path, cases):
    """An image a case, one in a folder of its own, in three formats."""
    folder = tmp_path / "edits"
    (folder / "more").mkdir(parents=True)
    for name, case in zip(("set_0_a.png", "set_1_a.webp", "more/set_2_a.JPG"), cases, strict=True):
        Image.eval(case.source, lambda value: value // 2).save(folder / name)
    return folder


def run(edits, cases, out, label="theirs", **options):
    found = match_edits(edits, cases)
    return run_external(
        found.edits(label), cases, out, label=label, fingerprint=found.fingerprint, missing=found.absent,
        instruments=[(BRIGHT, options.pop("scorer", Brightness()))], **options,
    )  # fmt: skip


def test_images_are_matched_by_case_id_and_scored(edits, cases, tmp_path):
    folder = run(edits, cases, tmp_path / "out")
    rows = {row.case_id: row for row in folder.rows()}
    assert set(rows) == {case.id for case in cases}
    assert all(row.score is not None and row.oracle is not None for row in rows.values())
    assert rows["set/0:a"].edit_id == "theirs:set/0:a"
    assert rows["set/0:a"].alarms["closeness"] < 1 == rows["set/0:a"].source_alarms["closeness"]


def test_what_is_scored_is_not_scored_again(edits, cases, tmp_path):
    first = run(edits, cases, tmp_path / "out")
    before = [(first.path / name).read_bytes() for name in (EDITS, ROWS)]
    scorer = Brightness()
    again = run(edits, cases, tmp_path / "out", scorer=scorer)
    assert scorer.asked == []
    assert again.rows() == first.rows()
    assert [(first.path / name).read_bytes() for name in (EDITS, ROWS)] == before


def test_other_images_under_the_same_names_are_another_benchmark(edits, cases, tmp_path):
    run(edits, cases, tmp_path / "out")
    picture(seed=77).save(edits / "set_0_a.png")
    with pytest.raises(HPEditError, match=r"other inputs: recipe\.editor"):
        run(edits, cases, tmp_path / "out")


def test_other_names_of_the_edits_are_another_benchmark(edits, cases, tmp_path):
    """Ratings go by the names: keeping the old ones without a word would lose people's scores."""
    write_cases(tmp_path / "cases.parquet", cases)
    options = (edits, tmp_path / "cases.parquet", tmp_path / "out", BenchJudges())
    bench_external(*options)
    with pytest.raises(HPEditError, match=r"other inputs: recipe\.edit_ids was .*, is now .\{case\}") as caught:
        bench_external(*options, edit_ids="{case}")
    assert "another output folder" in str(caught.value.hint)
    with pytest.raises(HPEditError, match="all edits the same"):
        bench_external(edits, tmp_path / "cases.parquet", tmp_path / "new", BenchJudges(), edit_ids="mine")
    assert not (tmp_path / "new").exists()


def test_missing_damaged_extra_and_resized_images_are_named(edits, cases, tmp_path, capsys):
    write_cases(tmp_path / "cases.parquet", cases)
    (edits / "set_0_a.png").write_bytes((edits / "set_0_a.png").read_bytes()[:60])
    (edits / "set_1_a.webp").unlink()
    (edits / "notes.txt").write_text("x")
    picture().save(edits / "set_9_a.png")
    picture(64, 48).save(edits / "more" / "set_2_a.JPG")
    options = (edits, tmp_path / "cases.parquet", tmp_path / "out", BenchJudges())
    with pytest.raises(HPEditError) as caught:
        bench_external(*options)
    assert "1 case has no image: set/1:a" in caught.value.message
    assert "1 image is damaged: set/0:a (set_0_a.png" in caught.value.message
    assert "--allow-missing" in str(caught.value.hint)
    said = capsys.readouterr().err
    assert "2 files" in said
    assert "notes.txt, set_9_a.png" in said
    assert "set/2:a: 64 x 48 for 32 x 32" in said
    folder = bench_external(*options, allow_missing=True)
    rows = {row.case_id: row for row in folder.rows()}
    assert rows["set/1:a"].missing == "no image"
    assert str(rows["set/0:a"].missing).startswith("damaged: ")
    assert rows["set/0:a"].oracle is None, "never 0"
    assert folder.result["extra"] == ["notes.txt", "set_9_a.png"]
    assert folder.result["sizes"] == {"set/2:a": {"source": [32, 32], "edit": [64, 48]}}


def test_a_model_that_lacks_an_edit_takes_the_case_from_all(edits, cases, tmp_path):
    whole = run(edits, cases, tmp_path / "whole", label="whole")
    (edits / "set_1_a.webp").unlink()
    part = run(edits, cases, tmp_path / "part", label="part")
    result = compare_models([whole, part])
    assert [one["overall"]["n"] for one in result["instruments"]] == [2, 2]
    assert result["models"][1]["missing"] == 1


def test_two_images_of_a_case_or_none_are_refused(edits, cases, tmp_path):
    picture().save(edits / "set_0_a.bmp")
    with pytest.raises(HPEditError, match=r"two images of case set/0:a: set_0_a\.bmp and set_0_a\.png"):
        match_edits(edits, cases)
    with pytest.raises(HPEditError, match="is not a folder"):
        match_edits(tmp_path / "nowhere", cases)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HPEditError, match="no image named by a case's id"):
        match_edits(tmp_path / "empty", cases)


def test_a_link_out_of_the_folder_is_not_followed(edits, cases, tmp_path):
    (edits / "set_0_a.png").rename(tmp_path / "secret.png")
    (edits / "set_0_a.png").symlink_to(tmp_path / "secret.png")
    found = match_edits(edits, cases)
    assert found.missing == ("set/0:a",)
    assert found.extra == ("set_0_a.png",)


def test_ids_that_would_share_a_file_are_refused(edits, make_case):
    with pytest.raises(HPEditError, match="would both have the image"):
        match_edits(edits, [make_case("a:b"), make_case("a/b")])
    exactly = [make_case("a_b"), make_case("a:b")]
    with pytest.raises(HPEditError, match="no image"):
        match_edits(edits, exactly)


def test_edits_of_no_case_twice_or_too_few_are_refused(cases, tmp_path):
    def edit(case_id):
        return match_edits_of(case_id)

    with pytest.raises(HPEditError, match="2 cases have no edit"):
        run_external([edit("set/0:a")], cases, tmp_path / "a", label="x", fingerprint="f")
    with pytest.raises(HPEditError, match="has one already"):
        run_external([edit("set/0:a"), edit("set/0:a")], cases, tmp_path / "b", label="x", fingerprint="f")
    assert not (tmp_path / "a" / EDITS).exists()


def match_edits_of(case_id):
    from hpedit.records import Edit

    return Edit(f"x:{case_id}", case_id, "given", 0, picture(seed=55))


def test_the_untouched_source_is_seen(cases, tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    for number, case in enumerate(cases):
        case.source.save(folder / f"set_{number}_a.png")
    copies = run(folder, cases, tmp_path / "a", label="copies")
    halves = run_external(
        (match_edits_of(case.id) for case in cases), cases, tmp_path / "b", label="noise", fingerprint="f",
        instruments=[(BRIGHT, Brightness())],
    )  # fmt: skip
    result = compare_models([halves, copies])
    assert result["untouched"] == {"noise": 0.0, "copies": 1.0}
    closeness = result["alarms"]["closeness"]["models"]["copies"]
    assert closeness["mean"] == 1.0
    assert not closeness["alarm"], "three photos are too few for an alarm"


def test_a_folder_of_something_else_does_not_open(tmp_path):
    with pytest.raises(HPEditError, match="not the folder of a benchmark"):
        BenchFolder.open(tmp_path)


def test_case_without_a_target_has_no_oracle(tmp_path):
    case = Case("c", "color", "make it red", (picture(),), "p")
    folder = run_external([match_edits_of("c")], [case], tmp_path / "o", label="x", fingerprint="f")
    assert folder.rows()[0].oracle is None
