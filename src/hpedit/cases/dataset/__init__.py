"""What a build hands on: shards with a card, plots and a sheet, and how they get to a hub."""
