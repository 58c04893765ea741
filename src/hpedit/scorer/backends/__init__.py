"""Judges: whatever answers a question about pictures with probabilities over a few choices."""
