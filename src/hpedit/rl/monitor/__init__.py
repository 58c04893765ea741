"""Who looks on while a run trains: evaluations, alarms, logs, trackers. None of it affects the weights."""
