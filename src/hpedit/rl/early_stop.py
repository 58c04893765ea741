"""Which look was best, and whether a run has gone on for too long without a better one."""

from __future__ import annotations

from hpedit.rl.looks import HeldOutTable, Look

SECOND = "second"
"""The instrument that decides where there is one; without it the scorer must, which the policy learns to please."""


def deciding(table: HeldOutTable, main: str) -> str:
    """Name of the instrument that says which weights are best."""
    return SECOND if SECOND in table.base.scores else main


def best_look(table: HeldOutTable, instrument: str) -> Look | None:
    """The look with the highest mean gain, the first of equals; None if none could be scored."""
    gains = [(look, table.gain(look, instrument)) for look in table.looks]
    known = [(gain.value, look) for look, gain in gains if gain is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def stop_reason(table: HeldOutTable, instrument: str, patience: int) -> str | None:
    """Why the run should stop: the last `patience` looks brought no new best. None while it should not."""
    best = best_look(table, instrument)
    if not patience or best is None:
        return None
    since = sum(look.step > best.step for look in table.looks)
    if since < patience:
        return None
    return f"no better held-out {instrument} since iteration {best.step}, for {since} looks"
