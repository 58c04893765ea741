"""Degenerate edits that a reward must not like."""
