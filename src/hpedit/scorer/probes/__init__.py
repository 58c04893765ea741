"""Probe a scorer for reward hacking with degenerate edits, which must score below honest ones."""
