"""Evaluate scorers: agreement with people, reliability, learning curves, with intervals by photo."""
