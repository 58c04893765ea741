"""Combine judges that vote between two edits (pairwise preferences)."""
