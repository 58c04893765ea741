"""Judges: vision-language models that answer a question about images with probabilities over a few choices."""

from hpedit.judges.loading import load_judge

__all__ = ["load_judge"]
