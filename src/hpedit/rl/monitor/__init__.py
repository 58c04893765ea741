"""Monitoring of a training run: held-out evaluations, alarms, logs, trackers. None of it affects the weights."""
