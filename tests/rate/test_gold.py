"""Items with a known answer: gold from a file, practice made of the photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.rate.serving import make_edits, serving

from hpedit.errors import HPEditError
from hpedit.rate.gold import split_gold, swap_sides
from hpedit.rate.image_cache import ImageCache
from hpedit.rate.items import compare_items, load_rated_images, score_items
from hpedit.rate.practice import COUNT, practice_items
from hpedit.ratings.agreement import agreement_of_file
from hpedit.ratings.responses import matches_expected


def gold_file(folder: Path, text: str) -> Path:
    file = folder / "gold.csv"
    file.write_text(text)
    return file


def test_gold_items_leave_the_pool(edits: Path, tmp_path: Path) -> None:
    rated_images = load_rated_images(edits, ImageCache(tmp_path / "cache"))
    rest, gold = split_gold(
        score_items(rated_images), gold_file(tmp_path, "edit_id,expected\ne0-0,5\ne1-1,0\n"), "score"
    )
    assert [(item.id, item.phase, item.expected) for item in gold] == [("e0-0", "gold", 5), ("e1-1", "gold", 0)]
    assert len(rest) == 6
    pairs = compare_items(rated_images)
    known = "edit_id,other_edit_id,expected\ne0-1,e0-0,A\ne1-0,e1-1,tie\n"
    _, gold = split_gold(pairs, gold_file(tmp_path, known), "compare")
    # A is the edit named first, whichever the item has first.
    assert [(item.first.edit_id, item.expected) for item in gold] == [("e0-0", "B"), ("e1-0", "tie")]
    assert (swap_sides("A"), swap_sides("tie"), swap_sides(3.0)) == ("B", "tie", 3.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("nobody,3", "not among the items"),
        ("e0-0,7", "expected is 7"),
        ("e0-0,good", "not a number"),
        ("e0-0,nan", "expected is nan"),
        ("e0-0,3\ne0-0,4", "gold twice"),
        ("\n".join(f"e{c}-{e},3" for c in range(4) for e in range(2)), "nothing is left"),
    ],
)
def test_wrong_gold_is_refused(edits: Path, tmp_path: Path, rows: str, message: str) -> None:
    items = score_items(load_rated_images(edits, ImageCache(tmp_path / "cache")))
    with pytest.raises(HPEditError, match=message):
        split_gold(items, gold_file(tmp_path, "edit_id,expected\n" + rows + "\n"), "score")


def test_gold_is_shown_as_any_other_item_and_recorded_as_gold(edits: Path, tmp_path: Path) -> None:
    gold = gold_file(tmp_path, "edit_id,other_edit_id,expected\ne0-0,e0-1,A\ne1-0,e1-1,B\n")
    with serving(edits, tmp_path / "r.sqlite", kind="compare", gold=gold) as app:
        anna = app.rater()
        while (item := anna.next()) is not None:
            assert item["phase"] == "rate"
            assert anna.answer(item, "A")["feedback"] is None
        answers = [answer for answer in app.store.answers() if answer.phase == "gold"]
        assert len(answers) == 2
        for answer in answers:
            better = {"c0": "e0-0", "c1": "e1-1"}[answer.case_id]
            assert answer.expected == "AB"[answer.edit_ids.index(better)]


def test_what_is_gold_no_more_is_not_rated_twice(edits: Path, tmp_path: Path) -> None:
    gold, db = gold_file(tmp_path, "edit_id,expected\ne0-0,5\ne1-1,0\n"), tmp_path / "r.sqlite"
    with serving(edits, db, gold=gold, overlap=2) as app:
        assert app.rater().rate_all() == 8
    with serving(edits, db, overlap=2) as app:
        anna = app.rater()
        assert anna.rate_all() == 0
        progress = anna.ok(anna.http.get("/api/next"))["progress"]
        assert (progress["done"], progress["total"]) == (8, 8)
        # Her answers to what was gold are ratings of it: one more fills the overlap.
        assert [app.rater("Berta").rate_all(), app.rater("Clara").rate_all()] == [8, 0]
    assert agreement_of_file(db)["answers"] == 16


@pytest.mark.parametrize("kind", ["score", "compare"])
def test_practice_is_made_of_the_runs_photographs(tmp_path: Path, kind: str) -> None:
    cache = ImageCache(tmp_path / "cache")
    rated_images = load_rated_images(make_edits(tmp_path / "edits", size=(48, 32)), cache)
    items = practice_items(rated_images, cache, kind, 10)  # type: ignore[arg-type]
    assert len(items) == COUNT == 10
    for item in items:
        source = cache.image(item.first.source)
        assert item.text
        assert item.phase == "practice"
        assert all(edit.size == source.size == cache.image(edit.picture).size for edit in item.edits)
        assert all(edit.editor == "practice" for edit in item.edits)
    if kind == "score":
        assert [item.expected for item in items].count(0) == 4
        copy = items[1]
        assert (copy.expected, copy.first.picture) == (0, copy.first.source)
    else:
        assert {item.expected for item in items} == {"A", "B", "both_bad"}
        # No pair shows the same picture twice.
        assert all(len({edit.picture for edit in item.edits}) == 2 for item in items)


def test_practice_on_a_single_photograph_and_none_at_all(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "cache")
    rated_images = load_rated_images(make_edits(tmp_path / "edits", cases=1, editors=1), cache)
    items = practice_items(rated_images, cache, "score", 10)
    assert cache.image(items[7].first.picture).tobytes() != cache.image(items[7].first.source).tobytes()
    assert practice_items(rated_images, cache, "score", 0) == []


def test_an_answer_one_off_is_right() -> None:
    assert matches_expected(4.0, 5.0)
    assert not matches_expected(3.5, 5.0)
    assert matches_expected("A", "A")
    assert not matches_expected("tie", "A")
