"""Losses: pure functions of tensors, one file an algorithm, each per sample: the caller sets the normalisation."""
