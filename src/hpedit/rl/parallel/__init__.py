"""Processes of one run: groups, sharding, the watchdog, signals."""
