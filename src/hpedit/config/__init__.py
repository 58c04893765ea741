"""Recipes: schema of a training run, YAML reading, errors with file and line. No torch."""
