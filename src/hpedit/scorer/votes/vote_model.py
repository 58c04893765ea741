"""Several judges' votes between two edits, combined into the probabilities of the four answers people can give.

A multinomial logistic model whose parameters are tied so that exchanging the two edits exchanges A and B and nothing
else, whatever it was fitted on. With x_j the vote of judge j, +1 for A, -1 for B, else 0, and k_j its kind (a choice, a
tie, both bad; centred, 0 where the judge has no vote):

    logit A = b0 + sum_j v0_j . k_j + sum_j u_j x_j      logit tie      = b1 + sum_j v1_j . k_j
    logit B = b0 + sum_j v0_j . k_j - sum_j u_j x_j      logit both bad = 0

u, v have a ridge penalty. A judge that always answers the same carries no information and moves nothing; a missing vote
contributes nothing, and is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from hpedit.ratings.responses import VOTES
from hpedit.stats.bootstrap import FloatArray, IntArray

MISSING = -1
"""No vote, in an array of positions in `VOTES`."""
_A, _B, _TIE, _BOTH_BAD = range(len(VOTES))
_FREE_RIDGE = 1e-2
"""Ridge of the intercepts: enough to keep them finite where people never gave one of the answers."""


@dataclass(frozen=True, slots=True, eq=False)
class VoteModel:
    """A fitted combination of voting judges."""

    judges: tuple[str, ...]
    centre: FloatArray
    """(j, 3) shares of choices, ties and both-bad among each judge's votes."""
    direction: FloatArray
    """(j,) u."""
    kind: FloatArray
    """(2, j, 3) v0 and v1."""
    intercept: FloatArray
    """(2,) b0 and b1."""
    ridge: float

    def predict(self, votes: IntArray) -> FloatArray:
        """Probabilities (n, 4) in the order of `VOTES` from votes (n, j) of these judges."""
        side, kinds = _features(votes, self.centre)
        decided, tie = (np.tensordot(kinds, v, axes=2) + b for v, b in zip(self.kind, self.intercept, strict=True))
        lean = side @ self.direction
        return _softmax(np.column_stack([decided + lean, decided - lean, tie, np.zeros(len(votes))]))

    def weight(self) -> FloatArray:
        """(j,) the range of each judge's contribution to any logit."""
        kinds = np.eye(3)[None] - self.centre[:, None]
        parts = np.einsum("qjk,jmk->qjm", self.kind, kinds)
        return np.asarray(2 * np.abs(self.direction) + np.ptp(parts, axis=2).max(axis=0), dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Content as JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in ("centre", "direction", "kind", "intercept")}
        return {"judges": list(self.judges), "votes": list(VOTES), "ridge": self.ridge, **arrays}


def fit_votes(votes: IntArray, human: IntArray, judges: tuple[str, ...], ridge: float) -> VoteModel:
    """Fit the combination of judges' votes to people's votes.

    Args:
        votes: (n, j) of the judges, `MISSING` = no vote.
        human: (n,) people's, none missing.
        judges: (j,) names; with none the model is people's own shares, equal for A and B.
        ridge: penalty of the judges' weights, in votes: about as many people's votes pull a weight to 0.
    """
    centre = _centre(votes)
    side, kinds = _features(votes, centre)
    flat = kinds.reshape(len(votes), -1)
    j = len(judges)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        u, v, b = parameters[:j], parameters[j:-2].reshape(2, 3 * j), parameters[-2:]
        decided, tie, lean = flat @ v[0] + b[0], flat @ v[1] + b[1], side @ u
        p = _softmax(np.column_stack([decided + lean, decided - lean, tie, np.zeros(len(votes))]))
        value = -np.log(p[np.arange(len(human)), human]).sum()
        p[np.arange(len(human)), human] -= 1.0
        either = p[:, _A] + p[:, _B]
        slope = [
            side.T @ (p[:, _A] - p[:, _B]),
            flat.T @ either,
            flat.T @ p[:, _TIE],
            np.array([either.sum(), p[:, _TIE].sum()]),
        ]
        shrink = np.append(np.full(7 * j, ridge), [_FREE_RIDGE, _FREE_RIDGE])
        return value + (shrink * parameters**2).sum() / 2, np.concatenate(slope) + shrink * parameters

    found = minimize(loss, np.zeros(7 * j + 2), jac=True, method="L-BFGS-B").x
    return VoteModel(judges, centre, found[:j], found[j:-2].reshape(2, j, 3), found[-2:], ridge)


def most_probable_vote(probabilities: FloatArray) -> IntArray:
    """The most probable vote (n,); if A and B are level, tie or both bad, so that swapping edits changes nothing."""
    answer = probabilities.argmax(axis=1)
    level = np.isclose(probabilities[:, _A], probabilities[:, _B], rtol=1e-9, atol=0.0) & (answer <= _B)
    neither = _TIE + probabilities[:, _TIE:].argmax(axis=1)
    return np.asarray(np.where(level, neither, answer), dtype=np.int64)


def swap_votes(votes: IntArray) -> IntArray:
    """The same votes with the two edits swapped."""
    return np.array([_B, _A, _TIE, _BOTH_BAD, MISSING], dtype=np.int64)[votes]


def log_loss(probabilities: FloatArray, human: IntArray) -> FloatArray:
    """Log-loss (n,) of people's votes, in nats."""
    chosen: FloatArray = probabilities[np.arange(len(human)), human]
    return -np.log(np.maximum(chosen, 1e-12))


def _features(votes: IntArray, centre: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Side (n, j) and centred kind (n, j, 3) of each vote; 0 where it is missing."""
    side = (votes == _A).astype(np.float64) - (votes == _B)
    kinds = np.stack([(votes == _A) | (votes == _B), votes == _TIE, votes == _BOTH_BAD], axis=2).astype(np.float64)
    return side, np.where((votes == MISSING)[:, :, None], 0.0, kinds - centre)


def _centre(votes: IntArray) -> FloatArray:
    kinds = np.stack([(votes == _A) | (votes == _B), votes == _TIE, votes == _BOTH_BAD], axis=2)
    return np.asarray(kinds.sum(axis=0) / np.maximum((votes != MISSING).sum(axis=0), 1)[:, None], dtype=np.float64)


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    # Summed in an order that swapping A and B does not change, so that symmetry is exact.
    total = (powers[:, _A] + powers[:, _B]) + (powers[:, _TIE] + powers[:, _BOTH_BAD])
    return np.asarray(powers / total[:, None], dtype=np.float64)
