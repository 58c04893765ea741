"""Parallel training: process groups, sharding, signals and a watchdog."""
