"""Judges: whatever answers a question about pictures with probabilities over a few choices."""

from hpedit.judges.loading import load_judge

__all__ = ["load_judge"]
