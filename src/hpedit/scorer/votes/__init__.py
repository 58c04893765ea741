"""Judges that vote between two edits, combined."""
