"""Ratings and judges' answers as tables."""
