"""Assignment of items to raters: who sees which item next, in which order, on which side.

The items form blocks in one order, drawn from the store's seed; a rater goes through the blocks in that order and
through each block in an order of their own. So overlap is complete early, even if raters stop half-way, and no two
raters see a block in the same order. In comparisons half of a block, drawn from the seed, is shown with sides swapped;
raters come in pairs with complementary halves: sides are balanced within every rater and, over the pair, within every
item.

An item is taken while `overlap` raters have answered it or hold a lease on it. Leases use the process's monotonic
clock, so that changes of the wall clock do not end or prolong them; a restart renews them. An expired lease only frees
the place: its holder can still answer, and that answer is extra overlap. Gold items and retests are scattered among
the others at places drawn from the seed.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hpedit.rate.items import RatedItem
from hpedit.ratings.responses import SKIP
from hpedit.ratings.store import AssignmentRow, RatingPhase, Value

BLOCK = 24
"""Items that are rated to the full overlap before the next block: about twenty minutes of one rater's work."""
GOLD_EVERY, RETEST_EVERY = 8, 12
"""Rated items from one gold item to the next, and from one retest to the next."""
RETEST_GAP = 5
"""Minimum number of decisions between an item and its retest, so that the first answer is not just remembered."""


@dataclass(frozen=True, slots=True)
class NextItem:
    """An item to assign to a rater next; the caller stores it, then calls `AssignmentPlan.issued`."""

    item: RatedItem
    phase: RatingPhase
    swapped: bool
    """Whether the item's two edits are shown in the other order."""


@dataclass(slots=True, eq=False)
class HeldAssignment:
    """An assignment in memory, with its lease and its current answer."""

    shown: AssignmentRow
    deadline: float
    """Seconds on the monotonic clock."""
    change: int | None = None
    """The number of its current answer."""
    value: Value | None = None

    def rated(self) -> bool:
        """Whether its current answer is a rating, not a skip."""
        return self.change is not None and self.value != SKIP


@dataclass(slots=True)
class RaterState:
    """All that one rater has been assigned."""

    number: int
    """0 for the first rater of the store."""
    open: list[HeldAssignment] = field(default_factory=list)
    """Unanswered, in the order in which they are shown."""
    seen: dict[str, HeldAssignment] = field(default_factory=dict)
    """By item, without retests."""
    retests: dict[str, HeldAssignment] = field(default_factory=dict)
    answered: list[HeldAssignment] = field(default_factory=list)
    """Those with a current answer, in the order of the answers."""
    counts: Counter[RatingPhase] = field(default_factory=Counter)
    """Current answers by phase."""
    rate: set[str] = field(default_factory=set)
    """The items of `seen` to be rated, neither practice nor gold."""


@dataclass(frozen=True, slots=True)
class RaterProgress:
    """How many items a rater has done, of how many."""

    done: int
    total: int
    practice_done: int
    practice_total: int
    can_undo: bool


class AssignmentPlan:
    """Chooses each rater's next item. It holds no data of its own: at start the store's rows are replayed into it.

    choice = plan.item_for(rater)    # a HeldAssignment to show again, a NextItem to store, or None: nothing is left
    plan.issued(shown)
    plan.answered(shown.opaque, change, value)
    plan.undone(shown.opaque)
    """

    def __init__(
        self, items: Sequence[RatedItem], *, seed: str, overlap: int, lease: float, gold: Sequence[RatedItem] = (),
        practice: Sequence[RatedItem] = (), retests: int = 0, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.items = {item.id: item for item in (*items, *gold, *practice)}
        self._rate, self._gold, self._practice = list(items), list(gold), list(practice)
        self._rate_ids = {item.id for item in items}
        self._seed, self._overlap, self._lease, self._clock = seed, overlap, lease, clock
        self._retests = retests
        self._holdings: dict[str, HeldAssignment] = {}
        self._holders: dict[str, dict[int, HeldAssignment]] = {}
        self._raters: dict[int, RaterState] = {}
        self._complete: set[str] = set()

    def rater(self, rater: int) -> RaterState:
        """A rater's state; empty for a new rater."""
        return self._raters.setdefault(rater, RaterState(number=rater - 1))

    def holding(self, opaque: str) -> HeldAssignment | None:
        """The assignment of that opaque name, or None."""
        return self._holdings.get(opaque)

    def issued(self, shown: AssignmentRow) -> HeldAssignment:
        """Record that an item was shown to a rater; its lease begins."""
        holding = HeldAssignment(shown, self._clock() + self._lease)
        state = self.rater(shown.rater)
        self._holdings[shown.opaque] = holding
        (state.retests if shown.phase == "retest" else state.seen)[shown.item] = holding
        # By today's list of items, not by the phase shown: items of an earlier start that are no longer rated do not
        # count as progress, and former gold items that are rated now have this rater's rating already.
        if shown.phase != "retest" and shown.item in self._rate_ids:
            state.rate.add(shown.item)
            self._holders.setdefault(shown.item, {})[shown.rater] = holding
        state.open.append(holding)
        return holding

    def answered(self, opaque: str, change: int, value: Value) -> None:
        """Record the answer to an assignment."""
        holding = self._holdings[opaque]
        holding.change, holding.value = change, value
        state = self.rater(holding.shown.rater)
        state.answered.append(holding)
        state.counts[holding.shown.phase] += 1
        state.open.remove(holding)
        self._update_complete(holding.shown.item)

    def undone(self, opaque: str) -> None:
        """Record that an answer was undone: its item is what the rater sees next."""
        holding = self._holdings[opaque]
        state = self.rater(holding.shown.rater)
        holding.change = holding.value = None
        holding.deadline = self._clock() + self._lease
        state.answered.remove(holding)
        state.counts[holding.shown.phase] -= 1
        state.open.insert(0, holding)
        self._update_complete(holding.shown.item)

    def _update_complete(self, item: str) -> None:
        """Update the set of items that have all the ratings they need."""
        rated = sum(holding.rated() for holding in self._holders.get(item, {}).values())
        (self._complete.add if rated >= self._overlap else self._complete.discard)(item)

    def late(self, holding: HeldAssignment) -> bool:
        """Whether the lease has expired."""
        return self._clock() > holding.deadline

    def item_for(self, rater: int, ahead: int = 0) -> HeldAssignment | NextItem | None:
        """A rater's current item: an open one, else practice, due gold or retest, else the next of a block.

        Args:
            ahead: the item so many after the current one; those before it must have been issued.
        """
        state = self.rater(rater)
        # An assignment whose place other raters have taken is skipped.
        due = [holding for holding in state.open if self._is_due(holding)]
        if len(due) <= ahead:
            return self._new_item(state, rater)
        due[ahead].deadline = self._clock() + self._lease
        return due[ahead]

    def _is_due(self, holding: HeldAssignment) -> bool:
        """Whether an open assignment is still to be shown: not if it is late and other raters fill its overlap."""
        shown = holding.shown
        if shown.item not in self.items:
            return False
        full = shown.phase != "retest" and self._taken(shown.item, besides=shown.rater) >= self._overlap
        return not (self.late(holding) and full)

    def _taken(self, item: str, besides: int | None = None) -> int:
        """How many raters have rated an item or hold a lease on it."""
        return sum(
            rater != besides and (holding.rated() if holding.change is not None else not self.late(holding))
            for rater, holding in self._holders.get(item, {}).items()
        )

    def _new_item(self, state: RaterState, rater: int) -> NextItem | None:
        for item in self._practice:
            if item.id not in state.seen:
                return NextItem(item, "practice", self._coin("practice", rater, item.id))
        done = state.counts["rate"]
        gold = self._due_gold(state, done)
        if gold is not None:
            return NextItem(gold, "gold", self._coin("gold", rater, gold.id))
        again = self._due_retest(state, done)
        if again is not None:
            return NextItem(self.items[again.shown.item], "retest", not self._was_swapped(again.shown))
        return self._next_from_blocks(state)

    def _due_gold(self, state: RaterState, done: int) -> RatedItem | None:
        order = self._shuffled(self._gold, "gold", state.number)
        places = self._due_places("gold", state, len(order), GOLD_EVERY)
        seen = sum(item.id in state.seen for item in order)
        if seen < len(order) and places[seen] <= done:
            return next(item for item in order if item.id not in state.seen)
        return None

    def _due_retest(self, state: RaterState, done: int) -> HeldAssignment | None:
        given = len(state.retests)
        if given >= self._retests or self._due_places("retest", state, self._retests, RETEST_EVERY)[given] > done:
            return None
        for holding in state.answered[: max(0, len(state.answered) - RETEST_GAP)]:
            item = holding.shown.item
            # A skipped item has no first answer to compare with.
            if holding.shown.phase == "rate" and holding.rated() and item in self.items and item not in state.retests:
                return holding
        return None

    def _due_places(self, what: str, state: RaterState, count: int, every: int) -> list[int]:
        """After how many rated items each of `count` extra ones is due: one in every stretch, anywhere within it."""
        stretch = min(every, max(1, len(self._rate) // (count + 1)))
        draw = self._random(what, "places", state.number)
        return [index * stretch + draw.randint(1, stretch) for index in range(count)]

    def _next_from_blocks(self, state: RaterState) -> NextItem | None:
        for number, block in enumerate(self._blocks):
            left = [item for item in block if item.id not in state.rate and item.id not in self._complete]
            free = [item for item in left if self._taken(item.id) < self._overlap]
            if free:
                order = self._shuffled(block, "order", number, state.number)
                item = next(item for item in order if item in free)
                return NextItem(item, "rate", self._swap(number, item, state.number))
        return None

    @cached_property
    def _blocks(self) -> list[list[RatedItem]]:
        order = self._shuffled(self._rate, "blocks")
        return [order[start : start + BLOCK] for start in range(0, len(order), BLOCK)]

    def _swap(self, number: int, item: RatedItem, rater: int) -> bool:
        """Whether a comparison's sides are swapped: half of the block for one rater, the other half for the next."""
        pair, second = divmod(rater, 2)
        half = self._shuffled(self._blocks[number], "sides", number, pair)[: (len(self._blocks[number]) + 1) // 2]
        return (item in half) != bool(second)

    def _was_swapped(self, shown: AssignmentRow) -> bool:
        return shown.edit_ids != tuple(edit.edit_id for edit in self.items[shown.item].edits)

    def progress(self, rater: int) -> RaterProgress:
        """How far the rater is; the total falls as other raters complete items."""
        state = self.rater(rater)
        rated = state.counts["rate"]
        done = rated + state.counts["gold"] + state.counts["retest"]
        waiting = sum(holding.shown.phase != "practice" and self._is_due(holding) for holding in state.open)
        free = len(self._rate) - len(self._complete) - len(state.rate - self._complete)
        reach = rated + free + waiting
        gold = self._due_places("gold", state, len(self._gold), GOLD_EVERY)
        left = sum(place <= reach for place in gold) - sum(item.id in state.seen for item in self._gold)
        return RaterProgress(
            done=done,
            total=done + waiting + free + max(0, left),
            practice_done=state.counts["practice"],
            practice_total=len(self._practice),
            can_undo=bool(state.answered) and state.answered[-1].shown.phase != "practice",
        )

    def _shuffled(self, items: Sequence[RatedItem], *what: object) -> list[RatedItem]:
        order = sorted(items, key=lambda item: item.id)
        self._random(*what).shuffle(order)
        return order

    def _coin(self, *what: object) -> bool:
        return self._random(*what).random() < 0.5

    def _random(self, *what: object) -> random.Random:
        """A random generator derived from the seed and its purpose, the same at every start."""
        return random.Random(hashlib.sha256("\0".join(map(str, (self._seed, *what))).encode()).digest())
