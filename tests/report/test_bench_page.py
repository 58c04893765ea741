"""The page of a comparison: whole with any number of models, safe with any text, and fit for a phone and for paper."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image
from tests.bench.made import SCORER, SECOND, planted, rows

from hpedit.bench.comparison import compare_models
from hpedit.bench.human import human_scores
from hpedit.records import Case, Edit, OracleKey, Rating
from hpedit.report.bench_page import render_bench_page, write_bench_page
from hpedit.report.bench_pictures import BenchPicture, collect_bench_pictures
from hpedit.report.picture_selection import Frame
from hpedit.store.tables import write_edits

CHROMIUM = Path("/usr/bin/chromium")
EVIL = "<script>alert(1)</script>\"'&\x00\ud800"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    both = ((SCORER, 0.1), (SECOND, -0.3))
    return [
        planted(root / label, label, rows(label, 48, 0.15 * place), both)
        for place, label in enumerate(("base", "a-model-with-quite-a-long-name", "third", "fourth"))
    ]


@pytest.fixture(scope="module")
def four(folders):
    return compare_models(folders)


def shown(labels):
    frame = Frame.of(Image.new("RGB", (32, 32), (200, 30, 30)))
    edits = dict.fromkeys(labels, frame) | {labels[-1]: None}
    scores = {"HP-Scorer": dict.fromkeys(labels, 3.2) | {labels[-1]: None}}
    return [
        BenchPicture("Largest losses", f"case-{EVIL}", "color", f"make it {EVIL}", frame, edits, scores, frame),
        BenchPicture("Random sample", "other", "no-such-task", "x", frame, edits, {}),
    ]


def test_every_model_instrument_and_picture_is_there(four):
    page = render_bench_page(four, shown([model["label"] for model in four["models"]]), command="hpedit bench compare")
    for text in ("against base", "third", "fourth", "Oracle", "HP-Scorer", "Second judge (other)", "no edit", "Holm"):
        assert text in page
    assert page.count('<article class="card">') == 3
    assert "third over" in page or "over third" in page


def test_text_of_others_is_shown_and_not_run(four):
    page = render_bench_page(four, shown([model["label"] for model in four["models"]]), command=EVIL)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    page.encode()


def test_one_photo_or_nothing_scored(tmp_path):
    for name, exact, count in (("one", True, 1), ("none", False, 2)):
        pair = [
            planted(tmp_path / name / label, label, rows(label, count, exact=exact), ())
            for label in ("base", "post")
        ]  # fmt: skip
        page = render_bench_page(compare_models(pair), [])
        assert ("Nothing was scored" in page) == (not exact)
        assert "nan" not in page.lower().replace("finance", "")


def test_the_same_figures_give_the_same_bytes(four, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_bench_page(tmp_path / name, four, shown([model["label"] for model in four["models"]]))
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


def test_pictures_are_losses_low_results_gains_and_a_sample(tmp_path):
    image = Image.new("RGB", (16, 16), (9, 9, 9))
    pair = []
    for label, shift in (("base", 0.0), ("post", 0.3)):
        table = rows(label, 40, shift)
        pair.append(planted(tmp_path / label, label, table))
        write_edits(
            tmp_path / label / "edits.parquet", [Edit(row.edit_id, row.case_id, "e", 0, image) for row in table]
        )
    cases = [
        Case(row.case_id, row.task, "x", (image,), row.source_id, oracle=OracleKey(image, Image.new("L", (16, 16))))
        for row in rows("c", 40)
    ]
    found = collect_bench_pictures(cases, pair, compare_models(pair)["instruments"], {})
    groups = [one.group for one in found]
    assert {name: groups.count(name) for name in groups} == {
        "Lowest results": 6, "Largest gains": 6, "Random sample": 6,
    }  # fmt: skip
    assert len({one.case_id for one in found}) == 18, "no case twice"
    lowest = [one for one in found if one.group == "Lowest results"]
    assert lowest[0].scores["Oracle"]["base"] == min(row.oracle for row in rows("c", 40))


def test_pictures_have_the_scores_and_titles_of_the_tables(tmp_path):
    image = Image.new("RGB", (16, 16), (9, 9, 9))
    pair = []
    twin = dataclasses.replace(SCORER, fingerprint="twin")
    for label in ("base", "post"):
        table = rows(label, 4, exact=False)
        both = ((SCORER, 0.2), (twin, 1.0), *(((SECOND, 0.0),) if label == "base" else ()))
        pair.append(planted(tmp_path / label, label, table, both))
        edits = [Edit(row.edit_id, row.case_id, "e", 0, image) for row in table]
        write_edits(tmp_path / label / "edits.parquet", edits)
    cases = [Case(row.case_id, row.task, "x", (image,), row.source_id) for row in rows("c", 4)]
    ratings = [Rating(f"{label}:case-{i}", "s", 3.5, simulated=True) for label in ("base", "post") for i in range(4)]
    human = human_scores(ratings, [rating.edit_id for rating in ratings])
    result = compare_models(pair, human)
    titles = [one["title"] for one in result["instruments"]]
    assert titles == ["HP-Scorer 1", "HP-Scorer 2", "Simulated raters"]
    for one in collect_bench_pictures(cases, pair, result["instruments"], human.means):
        assert list(one.scores) == titles
        assert sorted(scores["post"] for scores in one.scores.values()) == pytest.approx([3.2, 3.5, 4.0])


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="no Chromium at /usr/bin/chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_of_a_wide_screen_or_a_phone(four, tmp_path, width):
    from playwright.sync_api import sync_playwright

    page_file = write_bench_page(tmp_path, four, shown([model["label"] for model in four["models"]]))
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        try:
            page = browser.new_page(viewport={"width": width, "height": 900})
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
            page.goto(page_file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert errors == []
        finally:
            browser.close()
