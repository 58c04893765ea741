"""Assignment of items to raters: overlap, order, sides, gold items and retests."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import count

import pytest

from hpedit.rate.assignment import BLOCK, RETEST_GAP, AssignmentPlan, HeldAssignment, NextItem
from hpedit.rate.items import RatedImage, RatedItem
from hpedit.ratings.store import AssignmentRow


def rated(name: str) -> RatedImage:
    return RatedImage(name, f"c{name}", "p", "color", "make it red", "m", "s", (), name, (4, 4))


def some_items(number: int, kind: str = "score", phase: str = "rate") -> list[RatedItem]:
    sides = 1 if kind == "score" else 2
    return [
        RatedItem(f"{phase}{n}", kind, phase, tuple(rated(f"{phase}{n}-{side}") for side in range(sides)), 3.0)  # type: ignore[arg-type]
        for n in range(number)
    ]


class PlanDriver:
    """Drives an `AssignmentPlan` as the rating service does, without a store."""

    def __init__(self, plan: AssignmentPlan) -> None:
        self.plan, self.numbers = plan, count(1)
        self.log: dict[int, list[AssignmentRow]] = defaultdict(list)

    def show(self, rater: int) -> HeldAssignment | None:
        found = self.plan.item_for(rater)
        if not isinstance(found, NextItem):
            return found
        edits = tuple(edit.edit_id for edit in found.item.edits)
        number = next(self.numbers)
        shown = AssignmentRow(
            number, f"{number}", rater, found.item.id, found.item.kind, found.phase,
            edits[::-1] if found.swapped else edits, found.item.expected,
        )  # fmt: skip
        self.log[rater].append(shown)
        return self.plan.issued(shown)

    def answer(self, holding: HeldAssignment, value: float | str = 3.0) -> None:
        self.plan.answered(holding.shown.opaque, next(self.numbers), value)

    def rate(self, rater: int, most: int = 10**6) -> int:
        for done in range(most):
            holding = self.show(rater)
            if holding is None:
                return done
            self.answer(holding)
        return most


def make(number: int = 60, kind: str = "score", **options: object) -> PlanDriver:
    settings: dict[str, object] = {"seed": "s", "overlap": 3, "lease": 60.0, **options}
    return PlanDriver(AssignmentPlan(some_items(number, kind), **settings))  # type: ignore[arg-type]


def seen(driver: PlanDriver, rater: int, phase: str = "rate") -> list[str]:
    return [shown.item for shown in driver.log[rater] if shown.phase == phase]


def test_every_item_gets_exactly_the_overlap() -> None:
    driver = make(60)
    # Five raters take turns, so that leases and answers mix.
    while any(driver.rate(rater, 1) for rater in range(1, 6)):
        pass
    raters = Counter(item for rater in driver.log for item in seen(driver, rater))
    assert set(raters.values()) == {3}
    assert all(len(set(seen(driver, rater))) == len(seen(driver, rater)) for rater in driver.log)
    assert driver.plan.progress(1).total == driver.plan.progress(1).done == len(seen(driver, 1))
    assert driver.plan.progress(6).total == 0


def test_overlap_is_complete_early() -> None:
    driver = make(240)
    for rater in (1, 2, 3):
        driver.rate(rater, BLOCK)
    assert set(seen(driver, 1)) == set(seen(driver, 2)) == set(seen(driver, 3))


def test_each_rater_has_an_order_of_their_own_that_the_seed_reproduces() -> None:
    orders = []
    for seed in ("s", "s", "t"):
        driver = make(60, seed=seed)
        for rater in (1, 2):
            driver.rate(rater)
        orders.append((seen(driver, 1), seen(driver, 2)))
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] != orders[0][1]
    assert set(orders[0][0]) == set(orders[0][1])


def test_sides_are_balanced_within_raters_and_items() -> None:
    driver = make(5 * BLOCK, "compare", overlap=4)
    for rater in (1, 2, 3, 4):
        driver.rate(rater)
    sides = {
        (rater, shown.item): shown.edit_ids[0].endswith("-1") for rater in driver.log for shown in driver.log[rater]
    }
    for rater in (1, 2, 3, 4):
        exchanged = sum(side for (who, _), side in sides.items() if who == rater)
        assert exchanged == 5 * BLOCK / 2
    for item in seen(driver, 1):
        assert sum(sides[rater, item] for rater in (1, 2, 3, 4)) == 2
    again = make(5 * BLOCK, "compare", overlap=4)
    again.rate(1)
    assert [shown.edit_ids for shown in again.log[1]] == [shown.edit_ids for shown in driver.log[1]]
    # The side cannot be predicted from the place in the order.
    first = [sides[1, item] for item in seen(driver, 1)]
    assert first != sorted(first)
    assert first[::2] != first[1::2]


def test_skipped_items_go_to_others() -> None:
    driver = make(5, overlap=1)
    while (holding := driver.show(1)) is not None:
        driver.answer(holding, "skip")
    assert driver.rate(2) == 5
    assert driver.rate(3) == 0


def test_gold_items_are_strewn_among_the_others() -> None:
    places = []
    for rater in (1, 2):
        driver = make(80, gold=some_items(6, phase="gold"))
        driver.rate(rater)
        phases = [shown.phase for shown in driver.log[rater]]
        assert Counter(phases) == {"rate": 80, "gold": 6}
        places.append([place for place, phase in enumerate(phases) if phase == "gold"])
        assert all(later - earlier <= 17 for earlier, later in zip(places[-1], places[-1][1:], strict=False))
    assert places[0] != places[1]


def test_few_items_still_have_their_gold() -> None:
    driver = make(3, gold=some_items(2, phase="gold"))
    assert driver.rate(1) == 5


@pytest.mark.parametrize("kind", ["score", "compare"])
def test_retests_repeat_an_item_later_with_sides_exchanged(kind: str) -> None:
    driver = make(80, kind, retests=4)
    driver.rate(1)
    log = driver.log[1]
    again = [(place, shown) for place, shown in enumerate(log) if shown.phase == "retest"]
    assert len(again) == len({shown.item for _, shown in again}) == 4
    for place, shown in again:
        first = next(number for number, other in enumerate(log) if other.item == shown.item)
        assert place - first > RETEST_GAP
        assert shown.edit_ids == log[first].edit_ids[::-1]


def test_a_retest_does_not_count_as_overlap() -> None:
    driver = make(30, overlap=2, retests=5)
    driver.rate(1)
    assert driver.rate(2) >= 30


def test_progress_ends_at_its_total() -> None:
    driver = make(40, gold=some_items(3, phase="gold"), practice=some_items(2, phase="practice"), retests=2)
    totals = []
    while (holding := driver.show(1)) is not None:
        totals.append(driver.plan.progress(1).total)
        driver.answer(holding)
    end = driver.plan.progress(1)
    assert (end.practice_done, end.practice_total, end.done, end.total) == (2, 2, 45, 45)
    # Retests are not counted in advance; all else is.
    assert totals[0] == 43


def test_undo_brings_the_item_back_first() -> None:
    driver = make(10)
    holding = driver.show(1)
    assert holding is not None
    driver.answer(holding)
    waiting = driver.show(1)
    assert driver.plan.progress(1).can_undo
    driver.plan.undone(holding.shown.opaque)
    assert driver.show(1) is holding
    assert not driver.plan.progress(1).can_undo
    driver.answer(holding)
    assert driver.show(1) is waiting


def test_a_lease_ends_by_the_monotonic_clock_alone() -> None:
    now = [0.0]
    driver = make(1, overlap=1, clock=lambda: now[0])
    holding = driver.show(1)
    assert holding is not None
    assert driver.show(2) is None
    now[0] = 60.5
    assert driver.plan.late(holding)
    assert driver.show(2) is not None
