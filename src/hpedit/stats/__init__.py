"""Statistics that scorer, benchmark, ratings and training share."""
