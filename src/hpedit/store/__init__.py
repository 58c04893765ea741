"""Files that survive a kill: atomic writes, checkpoints, run folders, and tables of cases and edits."""
