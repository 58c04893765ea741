"""Choosing instruction candidates towards a distribution: even where possible, rare cells whole, in any order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpedit.cases.balance import CandidatePool, choose_balanced, counts_by_task
from hpedit.cases.recipe import BalanceSection

InstructionCandidate = tuple[str, str, str]


def pool_of(candidates: list[InstructionCandidate], seed: int = 0) -> CandidatePool:
    """Task, category and photograph of each instruction candidate; its place is its number."""
    pool = CandidatePool(seed)
    for number, (task, category, photo) in enumerate(candidates):
        pool.add((number, 0, 0), (task, category), photo, f"do it {number if photo == '' else ''}")
    return pool


def taken(candidates: list[InstructionCandidate], **section: object) -> list[InstructionCandidate]:
    return [
        candidates[part] for part, _, _ in choose_balanced(pool_of(candidates), BalanceSection.model_validate(section))
    ]


def many(task: str, category: str, count: int) -> list[InstructionCandidate]:
    return [(task, category, f"{task}-{category}-{number}") for number in range(count)]


def test_tasks_are_level_and_a_rare_one_is_taken_whole() -> None:
    candidates = many("removal", "", 50) + many("swap", "", 50) + many("style", "", 4)
    counts = Counter(task for task, _, _ in taken(candidates, count=40))
    assert counts == {"removal": 18, "swap": 18, "style": 4}


def test_without_a_count_the_rarest_task_sets_the_level() -> None:
    candidates = many("removal", "", 50) + many("swap", "", 11) + many("style", "", 10)
    counts = Counter(task for task, _, _ in taken(candidates, slack=0.5))
    assert counts == {"removal": 15, "swap": 11, "style": 10}
    assert len(taken(candidates, tasks="as_found")) == 71


def test_categories_are_level_within_a_task() -> None:
    candidates = many("removal", "dog", 90) + many("removal", "cat", 9) + many("removal", "kite", 2)
    counts = Counter(category for _, category, _ in taken(candidates, count=21))
    assert counts == {"dog": 10, "cat": 9, "kite": 2}
    found = Counter(category for _, category, _ in taken(candidates, count=20, categories="as_found"))
    assert found["dog"] >= 17


def test_a_distribution_of_ones_own() -> None:
    candidates = many("removal", "dog", 40) + many("swap", "dog", 40) + many("style", "cat", 40)
    counts = Counter(task for task, _, _ in taken(candidates, count=30, tasks={"removal": 2.0, "swap": 1.0}))
    assert counts == {"removal": 20, "swap": 10}
    assert {c for _, c, _ in taken(candidates, categories={"cat": 1.0}, count=99)} == {"cat"}


def test_what_no_weight_names_does_not_raise_a_tasks_share() -> None:
    candidates = many("removal", "dog", 4) + many("removal", "kite", 90) + many("swap", "dog", 40)
    counts = Counter(task for task, _, _ in taken(candidates, categories={"dog": 1.0}, slack=0.5))
    assert counts == {"removal": 4, "swap": 6}


def test_one_photograph_gives_no_more_than_allowed() -> None:
    candidates = [(task, "", f"photo-{n}") for n in range(5) for task in ("removal", "swap", "style")]
    chosen = taken(candidates, per_photo=1)
    assert sorted(photo for _, _, photo in chosen) == [f"photo-{n}" for n in range(5)]
    assert max(Counter(task for task, _, _ in chosen).values()) == 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("removal", "swap", "style")), st.sampled_from("abc"), st.integers(0, 9)), max_size=40
    ),
    st.one_of(st.none(), st.integers(1, 30)),
    st.one_of(st.none(), st.integers(1, 3)),
    st.randoms(use_true_random=False),
)
def test_the_order_of_instruction_candidates_does_not_matter(
    rows: list[tuple[str, str, int]], count: int | None, per_photo: int | None, shuffler: random.Random
) -> None:
    candidates = sorted({(task, category, str(photo)) for task, category, photo in rows})
    other = list(candidates)
    shuffler.shuffle(other)
    section = {"count": count, "per_photo": per_photo}
    one, two = taken(candidates, **section), taken(other, **section)
    # Two drafts of one photograph and task that differ in category alone are told apart by their instruction only.
    assert Counter((task, photo) for task, _, photo in one) == Counter((task, photo) for task, _, photo in two)
    if count:
        assert len(one) <= count


def test_the_seed_changes_who_is_chosen_and_not_how_many() -> None:
    candidates = many("removal", "", 40)
    section = BalanceSection(count=10)
    first, second = (choose_balanced(pool_of(candidates, seed), section) for seed in (0, 1))
    assert len(first) == len(second) == 10
    assert first != second


@pytest.mark.parametrize("count", [None, 5])
def test_no_instruction_candidates_give_no_cases(count: int | None) -> None:
    assert choose_balanced(CandidatePool(0), BalanceSection(count=count)) == []


def test_counts_as_a_table() -> None:
    assert counts_by_task({("swap", "dog"): 2, ("addition", ""): 1, ("swap", "cat"): 0}) == {
        "addition": {"": 1},
        "swap": {"dog": 2},
    }
