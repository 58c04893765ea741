"""Join people's and judges' votes on pairs of edits: one row per pair, whatever the sides and the order of rows.

Every vote is swapped to the order of the two edits' ids. Of one voter's votes on one pair, equal ones count once;
contradictory ones (such as of a judge with position bias) are counted and left out. People decide by plurality; without
one, people have no vote on that pair. An empty or unreadable vote is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpedit.errors import HPEditError
from hpedit.ratings.responses import NO_VOTE, SKIP, SWAPPED_VOTE, VOTES
from hpedit.scorer.votes.vote_model import MISSING
from hpedit.stats.bootstrap import IntArray
from hpedit.store.csv_rows import CsvRow, index_csv_rows, read_csv_rows

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Votes:
    """The votes in one table, by voter and pair (ids in ascending order)."""

    by_voter: Mapping[str, Mapping[Pair, str]]
    repeated: int
    """Rows that repeat the voter's earlier vote on the pair, sides swapped or not."""
    contradictory: Mapping[str, int]
    """By voter, pairs with different votes: left out."""
    missing: int
    """Rows without a readable vote."""
    first_shown: Mapping[str, tuple[int, int]]
    """By voter: choices of the edit shown first, and all choices; without position bias about half."""


@dataclass(frozen=True, slots=True)
class VoteTable:
    """Pairs of edits with people's and judges' votes, in the order of their ids."""

    pairs: tuple[Pair, ...]
    sources: tuple[str, ...]
    human: IntArray
    """(n,) position in `VOTES`, `MISSING` = no vote."""
    judges: tuple[str, ...]
    votes: IntArray
    """(n, j)."""
    people: Votes
    machines: Votes
    undecided: int
    """Pairs on which people voted without a plurality."""
    cycles: int
    """Intransitive triples of edits by people's preferences; no score can order them."""


def load_votes(edits: Path, votes: Path, judge_votes: Path) -> VoteTable:
    """Read and join the tables of edits, people's votes and judges' votes.

    Args:
        edits: CSV of edits: edit_id, source_id.
        votes: CSV of people's votes: edit_a, edit_b, rater, vote.
        judge_votes: CSV of judges' votes: edit_a, edit_b, judge, vote.

    Raises:
        HPEditError: a file, column or name is missing, an edit is unknown or compared with itself, a vote is none of
            the four, the two edits of a pair are of different sources, or people and judges have no pair in common.
    """
    source = {
        edit: row.name("source_id")
        for (edit,), row in index_csv_rows(read_csv_rows(edits, ("edit_id", "source_id")), ("edit_id",)).items()
    }
    people, machines = _read(votes, "rater", source), _read(judge_votes, "judge", source)
    judges = tuple(sorted(machines.by_voter))
    opinions = _plurality(people)
    pairs = sorted({pair for own in (*people.by_voter.values(), *machines.by_voter.values()) for pair in own})
    human = [VOTES.index(opinions[pair]) if opinions.get(pair) else MISSING for pair in pairs]
    given = [[_position(machines.by_voter[judge].get(pair)) for judge in judges] for pair in pairs]
    table = VoteTable(
        pairs=tuple(pairs),
        sources=tuple(source[pair[0]] for pair in pairs),
        human=np.array(human, dtype=np.int64),
        judges=judges,
        votes=np.array(given, dtype=np.int64).reshape(len(pairs), len(judges)),
        people=people,
        machines=machines,
        undecided=sum(not vote for vote in opinions.values()),
        cycles=count_cycles({pair: vote for pair, vote in opinions.items() if vote}),
    )
    if not ((table.human != MISSING) & (table.votes != MISSING).any(axis=1)).any():
        raise HPEditError(f"{votes} and {judge_votes} have no pair in common", hint="their edit ids must agree")
    return table


def count_cycles(opinions: Mapping[Pair, str]) -> int:
    """Count intransitive triples, a > b > c > a, among decided pairs."""
    better: dict[str, set[str]] = {}
    for (first, second), vote in opinions.items():
        if vote in VOTES[:2]:
            winner, loser = (first, second) if vote == "A" else (second, first)
            better.setdefault(winner, set()).add(loser)
    closed = sum(a in better.get(c, ()) for a, losers in better.items() for b in losers for c in better.get(b, ()))
    return closed // 3


def _read(path: Path, voter: str, source: Mapping[str, str]) -> Votes:
    given: dict[str, dict[Pair, set[str]]] = {}
    first: dict[str, Counter[bool]] = {}
    repeated = missing = 0
    for row in read_csv_rows(path, ("edit_a", "edit_b", voter, "vote")):
        pair, vote = _pair(row, source), _vote(row)
        own = given.setdefault(row.name(voter), {})
        if vote is None:
            missing += 1
            continue
        if vote in VOTES[:2]:
            first.setdefault(row[voter], Counter())[vote == "A"] += 1
        turned = vote if (row["edit_a"], row["edit_b"]) == pair else SWAPPED_VOTE[vote]
        votes = own.setdefault(pair, set())
        repeated += turned in votes
        votes.add(turned)
    return Votes(
        by_voter={
            name: {pair: min(votes) for pair, votes in own.items() if len(votes) == 1} for name, own in given.items()
        },
        repeated=repeated,
        contradictory={
            name: count
            for name, own in sorted(given.items())
            if (count := sum(len(votes) > 1 for votes in own.values()))
        },
        missing=missing,
        first_shown={name: (sides[True], sides.total()) for name, sides in sorted(first.items())},
    )


def _pair(row: CsvRow, source: Mapping[str, str]) -> Pair:
    edits = (row.name("edit_a"), row.name("edit_b"))
    if edits[0] == edits[1]:
        raise HPEditError(f"{row.where}: edit {edits[0]!r} is compared with itself", hint="a vote is between two edits")
    for edit in edits:
        if edit not in source:
            raise HPEditError(f"{row.where}: edit {edit!r} is not among the edits")
    if source[edits[0]] != source[edits[1]]:
        raise HPEditError(f"{row.where}: the two edits are of different sources", hint="compare edits of one photo")
    return min(edits), max(edits)


def _vote(row: CsvRow) -> str | None:
    if row["vote"] in (*NO_VOTE, SKIP):
        return None
    if row["vote"] not in VOTES:
        raise HPEditError(
            f"{row.where}: vote is {row['vote']!r}", hint=f"a vote is one of {', '.join(VOTES)}, or empty"
        )
    return row["vote"]


def _plurality(people: Votes) -> dict[Pair, str]:
    """People's plurality vote on each pair they voted on; "" without a plurality."""
    counts: dict[Pair, Counter[str]] = {}
    for own in people.by_voter.values():
        for pair, vote in own.items():
            counts.setdefault(pair, Counter())[vote] += 1
    return {pair: _winner(votes.most_common(2)) for pair, votes in counts.items()}


def _winner(best: Sequence[tuple[str, int]]) -> str:
    return best[0][0] if len(best) == 1 or best[0][1] > best[1][1] else ""


def _position(vote: str | None) -> int:
    return MISSING if vote is None else VOTES.index(vote)
