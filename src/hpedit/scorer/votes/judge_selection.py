"""Select voting judges with signal, and the ridge penalty, by cross-validation by source photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpedit.scorer.votes.vote_model import MISSING, VoteModel, fit_votes, log_loss
from hpedit.stats.bootstrap import FloatArray, IntArray, bootstrap_by_source, source_index, weighted_mean

FOLDS = 5
MIN_VOTES = 50
"""Fewer votes of a judge can't tell it from chance."""
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0)
SINGLE_RIDGE = 3.0
RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class VoteSignal:
    """Whether a judge's votes predict people's."""

    votes: int
    gain: float
    """Reduction of the cross-validated log-loss against people's own shares, nats per pair; NaN with too few votes."""
    low: float
    reason: str
    """Empty if there is signal."""


def fit_combination(
    votes: IntArray, human: IntArray, sources: Sequence[str], judges: Sequence[str], seed: int
) -> tuple[VoteModel, dict[str, VoteSignal]]:
    """Select the judges with signal and the best ridge penalty, and fit their combination.

    Args:
        votes: (n, j), `MISSING` = none.
        human: (n,), none missing.
        sources: (n,) source ids.
        judges: (j,) names.
        seed: of the folds.

    Returns:
        The model of those judges, and the signal of every judge.
    """
    folds = folds_by_source(sources, seed)
    signals = {judge: vote_signal(votes[:, [n]], human, sources, folds, seed) for n, judge in enumerate(judges)}
    kept = [number for number, judge in enumerate(judges) if not signals[judge].reason]
    chosen, names = votes[:, kept], tuple(judges[number] for number in kept)
    losses = [cross_validated_loss(chosen, human, names, folds, ridge).mean() for ridge in RIDGES] if kept else [0.0]
    return fit_votes(chosen, human, names, RIDGES[int(np.argmin(losses))]), signals


def vote_signal(votes: IntArray, human: IntArray, sources: Sequence[str], folds: IntArray, seed: int) -> VoteSignal:
    """Test whether one judge's votes (n, 1) predict people's better than people's own shares, where it voted."""
    there = np.flatnonzero(votes[:, 0] != MISSING)
    count = len(there)
    if count < MIN_VOTES:
        return VoteSignal(count, np.nan, np.nan, f"{count} votes, fewer than {MIN_VOTES}" if count else "no vote")
    own, target, part = votes[there], human[there], folds[there]
    if (own == own[0]).all():
        return VoteSignal(count, 0.0, 0.0, f"all its {count} votes are the same")
    base = cross_validated_loss(own[:, :0], target, (), part, SINGLE_RIDGE)
    saved = base - cross_validated_loss(own, target, ("judge",), part, SINGLE_RIDGE)
    names = [sources[pair] for pair in there.tolist()]
    found = bootstrap_by_source(saved, names, weighted_mean, seed, RESAMPLES)
    reason = ""
    if not found.low > 0:
        reason = f"its votes save {found.value:.3f} nats a pair ({found.low:.3f} to {found.high:.3f})"
    if not reason and fit_votes(own, target, ("judge",), SINGLE_RIDGE).direction[0] < 0:
        # A reward must not rely on a judge being wrong; more likely the table's sides are swapped.
        reason = "votes against people: are its sides exchanged?"
    return VoteSignal(count, found.value, found.low, reason)


def cross_validated_loss(
    votes: IntArray, human: IntArray, judges: tuple[str, ...], folds: IntArray, ridge: float
) -> FloatArray:
    """Log-loss (n,) of each pair by a model fitted on the other folds."""
    loss = np.full(len(human), np.nan)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        loss[test] = log_loss(fit_votes(votes[train], human[train], judges, ridge).predict(votes[test]), human[test])
    return loss


def folds_by_source(sources: Sequence[str], seed: int, folds: int = FOLDS) -> IntArray:
    """Cross-validation fold (n,) of each pair: sources in random order, dealt out one by one."""
    names, index = source_index(sources)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray(order % folds)[index]
