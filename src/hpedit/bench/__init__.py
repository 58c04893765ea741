"""The benchmark: the same cases and seeds for every model, and what the paired scores say."""
