"""A benchmark of one's own: the choice is even and repeatable, and what people said of it is carried out."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from pathlib import Path

import pytest
from tests.rate.serving import make_edits, photo, serving

from hpedit.bench.benchmark_build import CASES, CHECKS, PROPOSED, BenchmarkSize, CaseEntry, build_bench, choose_balanced
from hpedit.bench.case_checks import CheckedCase, checked_case, read_checks
from hpedit.errors import HPEditError
from hpedit.ratings.store import REWORDED, RatingStore, StoredAnswer
from hpedit.records import Case
from hpedit.store.csv_rows import read_csv_rows
from hpedit.store.tables import iter_cases, read_cases, write_cases


def entries(count: int, tasks: int = 2, categories: int = 5, photos: int = 40) -> list[CaseEntry]:
    """Tasks and categories of very different frequency."""
    rng = random.Random(0)
    return [
        CaseEntry(
            id=f"c{number}",
            task=f"task{min(rng.randrange(tasks * 3), tasks - 1)}",
            category=f"cat{min(int(rng.expovariate(0.7)), categories - 1)}",
            source_id=f"p{rng.randrange(photos)}",
            instruction="do it",
        )
        for number in range(count)
    ]


def make_cases(folder: Path, per_task: int = 4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    cases = [
        Case(
            f"{task}-{number}",
            task,
            f"{task} thing {number}",
            (photo(10 * number + len(task)),),
            f"p{number}",
            f"k{number % 2}",
        )
        for task in ("color", "removal")
        for number in range(per_task)
    ]
    write_cases(folder / "cases.parquet", cases)
    return folder / "cases.parquet"


def answer(number: int, value: str, flags: tuple[str, ...] = ()) -> StoredAnswer:
    return StoredAnswer(
        id=number, client_id=str(number), rater=f"r{number}", kind="check", phase="rate", edit_ids=("c",), case_id="c",
        task="color", value=value, flags=flags, ms=0, time="", late=False, superseded_by=None, expected=None,
    )  # fmt: skip


def verdict(*values: str) -> CheckedCase:
    return checked_case("c", "make it red", [answer(number, value) for number, value in enumerate(values)])


def test_choice_is_even_over_categories_and_a_rare_one_gives_all_it_has() -> None:
    pool = entries(600)
    chosen = choose_balanced(pool, 50, seed=0)
    for task in ("task0", "task1"):
        there = Counter(entry.category for entry in pool if entry.task == task)
        got = Counter(entry.category for entry in chosen if entry.task == task)
        assert sum(got.values()) == 50
        full = [got[category] for category in there if got[category] < there[category]]
        assert max(full) - min(full) <= 1
        assert all(got[category] >= min(there[category], min(full)) for category in there)


def test_choice_spreads_over_photographs_before_it_repeats_one() -> None:
    pool = [CaseEntry(f"c{n}", "color", "cat", f"p{n % 10}", "x") for n in range(100)]
    assert len({entry.source_id for entry in choose_balanced(pool, 10, seed=3)}) == 10


def test_choice_does_not_depend_on_the_order_of_input_but_on_the_seed() -> None:
    pool = entries(300)
    shuffled = random.Random(1).sample(pool, len(pool))
    assert choose_balanced(pool, 20, 0) == choose_balanced(shuffled, 20, 0)
    assert choose_balanced(pool, 20, 0) != choose_balanced(pool, 20, 1)


def test_majority_mends_and_ties() -> None:
    assert (verdict("keep").decision, verdict("drop").decision) == ("kept", "dropped")
    assert verdict("keep", "keep", "drop").decision == "kept"
    assert verdict("keep", "drop").decision == "undecided"
    assert not verdict("keep", "drop").stays
    assert verdict("keep", "keep", REWORDED + "a").instruction == "make it red"
    mended = verdict(REWORDED + "a", "keep", REWORDED + "b", REWORDED + "b")
    assert (mended.decision, mended.instruction, mended.texts, mended.agreed) == ("mended", "b", ("a", "b"), False)
    assert verdict(REWORDED + "a", "keep").instruction == "a", "who mends has seen what is wrong"
    assert verdict(REWORDED + "a", REWORDED + "b", "keep").instruction == "a", "the earliest of equals"
    assert verdict("keep", "keep").agreed


def test_build_is_unchecked_first_and_the_same_twice(tmp_path: Path) -> None:
    source = make_cases(tmp_path / "in")
    result = build_bench(source, tmp_path / "out", BenchmarkSize(per_task=2, spare=0.5))
    assert (result["proposed"], result["cases"], result["checked"]) == (6, 4, None)
    first = {name: (tmp_path / "out" / name).read_bytes() for name in (PROPOSED, CASES, "build.json")}
    build_bench(source, tmp_path / "out", BenchmarkSize(per_task=2, spare=0.5))
    assert first == {name: (tmp_path / "out" / name).read_bytes() for name in first}
    for case in iter_cases(tmp_path / "out" / CASES):
        original = next(one for one in iter_cases(source) if one.id == case.id)
        assert case.source.tobytes() == original.source.tobytes()
        assert (case.instruction, case.source_id) == (original.instruction, original.source_id)
    with pytest.raises(HPEditError, match="per_task was 2, is now 3"):
        build_bench(source, tmp_path / "out", BenchmarkSize(per_task=3, spare=0.5))
    make_cases(tmp_path / "in", per_task=5)
    with pytest.raises(HPEditError, match="cases have changed"):
        build_bench(source, tmp_path / "out", BenchmarkSize(per_task=2, spare=0.5))


def test_checks_reach_the_benchmark(tmp_path: Path) -> None:
    """Real server, real store: a dropped case is replaced by a spare one, mended words are the case's from then on."""
    source, out, db = make_cases(tmp_path / "in"), tmp_path / "out", tmp_path / "check.sqlite"
    wanted = BenchmarkSize(per_task=2, spare=0.5)
    build_bench(source, out, wanted)
    unchecked = {case.id for case in read_cases(out / CASES)}
    dropped, mended = sorted(name for name in unchecked if name.startswith("color"))
    with serving(out / PROPOSED, db, kind="check", overlap=2) as running:
        for name in ("Anna", "Ben"):
            rater = running.rater(name)
            while (item := rater.next()) is not None:
                instruction = item["instruction"]
                case_id = instruction.replace(" thing ", "-")
                value, flags = "keep", []
                if case_id == dropped:
                    value, flags = "drop", ["vague"]
                elif case_id == mended and name == "Ben":
                    value = f"{REWORDED}=paint thing red"
                elif case_id.startswith("removal") and name == "Ben":
                    value = "skip"
                rater.answer(item, value, flags=flags)
    result = build_bench(source, out, wanted, db)
    cases = {case.id: case.instruction for case in read_cases(out / CASES)}
    assert dropped not in cases
    assert cases[mended] == "=paint thing red"
    assert len(cases) == 4, "a spare one stands in"
    assert result["tasks"]["color"] == {
        "there": 4, "proposed": 3, "chosen": 2, "kept": 1, "mended": 1, "dropped": 1, "undecided": 0, "unchecked": 0,
    }  # fmt: skip
    assert result["checked"]["reasons"] == {"vague": 2}
    assert result["checked"]["agreement"] == pytest.approx(2 / 3, abs=1e-4)
    assert [one["case_id"] for one in result["checked"]["disagreements"]] == [mended]
    rows = {row["case_id"]: row for row in read_csv_rows(out / CHECKS, ("case_id", "decision", "instruction"))}
    assert rows[mended]["instruction"] == "=paint thing red"
    assert "'=paint" in (out / CHECKS).read_text(), "no spreadsheet runs it"
    with pytest.raises(HPEditError, match="would undo it"):
        build_bench(source, out, wanted)


def test_store_of_other_cases_or_of_ratings_is_refused(tmp_path: Path) -> None:
    source, db = make_cases(tmp_path / "in"), tmp_path / "check.sqlite"
    build_bench(source, tmp_path / "out", BenchmarkSize(per_task=2, spare=0.0))
    with serving(source, db, kind="check") as running:
        rater = running.rater()
        with pytest.raises(HPEditError, match="holds no check yet"):
            read_checks(db)
        while (item := rater.next()) is not None:
            rater.answer(item, "keep")
    with pytest.raises(HPEditError, match="not proposed here"):
        build_bench(source, tmp_path / "out", BenchmarkSize(per_task=2, spare=0.0), db)
    with serving(make_edits(tmp_path / "edits"), tmp_path / "ratings.sqlite"):
        pass
    with pytest.raises(HPEditError, match="holds score answers, not checks"):
        read_checks(tmp_path / "ratings.sqlite")


def test_dropping_every_case_is_an_error_and_keeps_the_old_table(tmp_path: Path) -> None:
    source, out, db = make_cases(tmp_path / "in", 1), tmp_path / "out", tmp_path / "check.sqlite"
    build_bench(source, out, BenchmarkSize(1))
    before = (out / CASES).read_bytes()
    with serving(out / PROPOSED, db, kind="check") as running:
        rater = running.rater()
        while (item := rater.next()) is not None:
            rater.answer(item, "drop")
    with pytest.raises(HPEditError, match="no case remains"):
        build_bench(source, out, BenchmarkSize(1), db)
    assert (out / CASES).read_bytes() == before


def test_undo_of_a_check_leaves_the_case_unchecked(tmp_path: Path) -> None:
    source, db = make_cases(tmp_path / "in", 1), tmp_path / "check.sqlite"
    with serving(source, db, kind="check") as running:
        rater = running.rater()
        item = rater.next()
        assert item is not None
        rater.answer(item, REWORDED + "paint it")
        back = rater.ok(rater.undo())
        assert back["item"]["previous"] == REWORDED + "paint it"
        rater.answer(back["item"], "drop", str(uuid.uuid4()))
    with RatingStore.open(db) as store:
        assert [(one.value, one.superseded_by is None) for one in store.answers(include_superseded=True)] == [
            (REWORDED + "paint it", False),
            ("drop", True),
        ]
    assert [one.decision for one in read_checks(db).values()] == ["dropped"]


def test_a_table_without_cases_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="does not exist"):
        build_bench(tmp_path / "no", tmp_path / "out", BenchmarkSize())
    write_cases(tmp_path / "empty.parquet", [])
    with pytest.raises(HPEditError, match="holds no cases"):
        build_bench(tmp_path / "empty.parquet", tmp_path / "out", BenchmarkSize())
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    source = make_cases(tmp_path / "source")
    before = source.read_bytes()
    with pytest.raises(HPEditError, match=r"is not empty: it has cases\.parquet"):
        build_bench(source, source.parent, BenchmarkSize(1))
    with pytest.raises(HPEditError, match="is a file, not a folder"):
        build_bench(source, source, BenchmarkSize(1))
    assert source.read_bytes() == before
