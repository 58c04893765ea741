"""The dataset of a build: parquet shards, card, charts and contact sheet, and its push to a hub."""
