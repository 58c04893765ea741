"""Who sees what, in which order, on which side.

The items lie in blocks in one order, drawn from the store's seed; a rater goes through the blocks in that order and
through each block in an order of their own. So overlap is complete early, also when raters stop half-way, and no two
raters see a block in the same order. In comparisons half of a block, drawn by the seed, is shown with sides exchanged,
and raters come in pairs of which one sees the complement of the other: sides are balanced within every rater and,
over the pair, within every item.

An item is taken while `overlap` raters have answered it or hold a lease on it. A lease is a matter of the process's
monotonic clock, so that no change of the wall clock ends or prolongs it; after a restart it starts anew. It only
frees the place: whoever held it can still answer, and that answer is overlap beyond what was asked. Gold items and
retests are strewn among the others at places drawn by the seed.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from hpedit.rate.items import Item
from hpedit.ratings.store import SKIP, Phase, Shown, Value

BLOCK = 24
"""Items that are rated to the full overlap before the next are begun: some twenty minutes of one rater's work."""
GOLD_EVERY, RETEST_EVERY = 8, 12
"""Rated items between two gold items, and between two retests."""
RETEST_GAP = 5
"""Decisions at least between an item and its retest, so that the first answer is not simply remembered."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a rater is to be given next; the caller records it, and then tells the plan (`issued`)."""

    item: Item
    phase: Phase
    swapped: bool
    """Whether the item's two edits are shown in the other order."""


@dataclass(slots=True, eq=False)
class Holding:
    """An assignment as the plan follows it."""

    shown: Shown
    deadline: float
    """On the monotonic clock, seconds."""
    change: int | None = None
    """The number of its standing answer."""
    value: Value | None = None
    """That answer."""

    def rated(self) -> bool:
        """Whether it has a standing answer that is a rating."""
        return self.change is not None and self.value != SKIP


@dataclass(slots=True)
class RaterState:
    """What one rater has been given."""

    number: int
    """0 for the first rater of the store."""
    open: list[Holding] = field(default_factory=list)
    """Without an answer, in the order in which they are shown."""
    seen: dict[str, Holding] = field(default_factory=dict)
    """By item; retests apart."""
    retests: dict[str, Holding] = field(default_factory=dict)
    answered: list[Holding] = field(default_factory=list)
    """With a standing answer, in the order of the answers."""
    counts: Counter[Phase] = field(default_factory=Counter)
    """Standing answers by phase."""
    rate: set[str] = field(default_factory=set)
    """The items of `seen` that are to be rated, neither practice nor gold."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rater is."""

    done: int
    total: int
    practice_done: int
    practice_total: int
    can_undo: bool


class Plan:
    """Decides what comes next. It knows only what it is told; the store tells it everything again at a start.

    choice = plan.next(rater)        # a Holding to show again, a Choice to record, or None: nothing is left
    choice = plan.after(rater, n)    # the same for the n-th after that one, for a page that loads it before it is due
    plan.issued(shown)
    plan.answered(shown.opaque, change, value)
    plan.undone(shown.opaque)
    """

    def __init__(
        self,
        items: Sequence[Item],
        *,
        seed: str,
        overlap: int,
        lease: float,
        gold: Sequence[Item] = (),
        practice: Sequence[Item] = (),
        retests: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.items = {item.id: item for item in (*items, *gold, *practice)}
        self._rate, self._gold, self._practice = list(items), list(gold), list(practice)
        self._rate_ids = {item.id for item in items}
        self._seed, self._overlap, self._lease, self._clock = seed, overlap, lease, clock
        self._retests = retests
        self._holdings: dict[str, Holding] = {}
        self._holders: dict[str, dict[int, Holding]] = {}
        self._raters: dict[int, RaterState] = {}
        self._complete: set[str] = set()

    @property
    def completed(self) -> int:
        """Items to be rated that have as many ratings as are wanted."""
        return len(self._complete)

    def rater(self, rater: int) -> RaterState:
        """What a rater has been given; an empty state for a new one."""
        return self._raters.setdefault(rater, RaterState(number=rater - 1))

    def holding(self, opaque: str) -> Holding | None:
        """The assignment of that name, or None."""
        return self._holdings.get(opaque)

    def issued(self, shown: Shown) -> Holding:
        """A rater was given something."""
        holding = Holding(shown, self._clock() + self._lease)
        state = self.rater(shown.rater)
        self._holdings[shown.opaque] = holding
        if shown.phase == "retest":
            state.retests[shown.item] = holding
        else:
            state.seen[shown.item] = holding
        # What an earlier start had to rate, and this one has not, is no part of the progress. What was gold then and is
        # to be rated now has this rater's rating already.
        if shown.phase != "retest" and shown.item in self._rate_ids:
            state.rate.add(shown.item)
            self._holders.setdefault(shown.item, {})[shown.rater] = holding
        state.open.append(holding)
        return holding

    def answered(self, opaque: str, change: int, value: Value) -> None:
        """The assignment has an answer."""
        holding = self._holdings[opaque]
        holding.change, holding.value = change, value
        state = self.rater(holding.shown.rater)
        state.answered.append(holding)
        state.counts[holding.shown.phase] += 1
        state.open.remove(holding)
        self._note(holding.shown.item)

    def undone(self, opaque: str) -> None:
        """Its answer was taken back: it is what the rater sees next."""
        holding = self._holdings[opaque]
        state = self.rater(holding.shown.rater)
        holding.change = holding.value = None
        holding.deadline = self._clock() + self._lease
        state.answered.remove(holding)
        state.counts[holding.shown.phase] -= 1
        state.open.insert(0, holding)
        self._note(holding.shown.item)

    def _note(self, item: str) -> None:
        """Keep the set of items that have all the ratings they need."""
        rated = sum(holding.rated() for holding in self._holders.get(item, {}).values())
        (self._complete.add if rated >= self._overlap else self._complete.discard)(item)

    def late(self, holding: Holding) -> bool:
        """Whether the lease is over."""
        return self._clock() > holding.deadline

    def next(self, rater: int) -> Holding | Choice | None:
        """What a rater sees now: what is open, else practice, due gold or retest, else the next of a block."""
        return self.after(rater, 0)

    def after(self, rater: int, count: int) -> Holding | Choice | None:
        """What a rater sees `count` items later; those before it must have been issued."""
        state = self.rater(rater)
        # An assignment whose place others have taken is passed over.
        due = [holding for holding in state.open if self._is_due(holding)]
        if len(due) <= count:
            return self._choose(state, rater)
        due[count].deadline = self._clock() + self._lease
        return due[count]

    def _is_due(self, holding: Holding) -> bool:
        return holding.shown.item in self.items and (not self.late(holding) or not self._is_full(holding.shown))

    def _is_full(self, shown: Shown) -> bool:
        """Whether others than its rater fill the item's overlap."""
        return shown.phase != "retest" and self._taken(shown.item, besides=shown.rater) >= self._overlap

    def _taken(self, item: str, besides: int | None = None) -> int:
        now = self._clock()
        holders = self._holders.get(item, {})
        return sum(
            rater != besides and (holding.rated() if holding.change is not None else holding.deadline >= now)
            for rater, holding in holders.items()
        )

    def _choose(self, state: RaterState, rater: int) -> Choice | None:
        for item in self._practice:
            if item.id not in state.seen:
                return Choice(item, "practice", self._bit("practice", rater, item.id))
        done = state.counts["rate"]
        gold = self._due_gold(state, done)
        if gold is not None:
            return Choice(gold, "gold", self._bit("gold", rater, gold.id))
        again = self._due_retest(state, done)
        if again is not None:
            return Choice(self.items[again.shown.item], "retest", not self._was_swapped(again.shown))
        return self._from_blocks(state)

    def _due_gold(self, state: RaterState, done: int) -> Item | None:
        order = self._shuffled(self._gold, "gold", state.number)
        places = self._places("gold", state.number, len(order), GOLD_EVERY)
        seen = sum(item.id in state.seen for item in order)
        if seen < len(order) and places[seen] <= done:
            return next(item for item in order if item.id not in state.seen)
        return None

    def _due_retest(self, state: RaterState, done: int) -> Holding | None:
        given = len(state.retests)
        if given >= self._retests or self._places("retest", state.number, self._retests, RETEST_EVERY)[given] > done:
            return None
        for holding in state.answered[: max(0, len(state.answered) - RETEST_GAP)]:
            shown = holding.shown
            # A skipped item has no first answer to be compared with.
            fit = shown.phase == "rate" and holding.rated() and shown.item in self.items
            if fit and shown.item not in state.retests:
                return holding
        return None

    def _places(self, what: str, number: int, count: int, every: int) -> list[int]:
        """After how many rated items each of `count` extra ones is due: one in every stretch, anywhere within it."""
        stretch = min(every, max(1, len(self._rate) // (count + 1)))
        draw = self._random(what, "places", number)
        return [index * stretch + draw.randint(1, stretch) for index in range(count)]

    def _from_blocks(self, state: RaterState) -> Choice | None:
        for number, block in enumerate(self._blocks):
            left = [item for item in block if item.id not in state.rate and item.id not in self._complete]
            free = [item for item in left if self._taken(item.id) < self._overlap]
            if free:
                order = self._shuffled(block, "order", number, state.number)
                item = next(item for item in order if item in free)
                return Choice(item, "rate", self._swap(number, item, state.number))
        return None

    @cached_property
    def _blocks(self) -> list[list[Item]]:
        order = self._shuffled(self._rate, "blocks")
        return [order[start : start + BLOCK] for start in range(0, len(order), BLOCK)]

    def _swap(self, number: int, item: Item, rater: int) -> bool:
        """The side in comparisons: half of the block is exchanged for one rater, the other half for the next."""
        pair, second = divmod(rater, 2)
        half = self._shuffled(self._blocks[number], "sides", number, pair)[: (len(self._blocks[number]) + 1) // 2]
        return (item in half) != bool(second)

    def _was_swapped(self, shown: Shown) -> bool:
        return shown.edit_ids != tuple(edit.edit_id for edit in self.items[shown.item].edits)

    def progress(self, rater: int) -> Progress:
        """How far the rater is; the total falls as others complete items."""
        state = self.rater(rater)
        rated = state.counts["rate"]
        done = rated + state.counts["gold"] + state.counts["retest"]
        waiting = sum(holding.shown.phase != "practice" and self._is_due(holding) for holding in state.open)
        free = len(self._rate) - len(self._complete) - len(state.rate - self._complete)
        reach = rated + free + waiting
        gold = self._places("gold", state.number, len(self._gold), GOLD_EVERY)
        left = sum(place <= reach for place in gold) - sum(item.id in state.seen for item in self._gold)
        return Progress(
            done=done,
            total=done + waiting + free + max(0, left),
            practice_done=state.counts["practice"],
            practice_total=len(self._practice),
            can_undo=bool(state.answered) and state.answered[-1].shown.phase != "practice",
        )

    def _shuffled(self, items: Sequence[Item], *what: object) -> list[Item]:
        order = sorted(items, key=lambda item: item.id)
        self._random(*what).shuffle(order)
        return order

    def _bit(self, *what: object) -> bool:
        return self._random(*what).random() < 0.5

    def _random(self, *what: object) -> random.Random:
        """Randomness that follows from the seed and what it is for, the same at every start."""
        return random.Random(hashlib.sha256("\0".join(map(str, (self._seed, *what))).encode()).digest())
