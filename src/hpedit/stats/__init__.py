"""Statistics shared by scorer, benchmark, ratings and training: bootstrap, correlation, agreement, paired tests."""
