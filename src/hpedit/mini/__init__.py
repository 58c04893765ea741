"""The mini world: scenes with exact targets, an oracle, simulated raters, and the weights built in it."""
