"""From judges' answers to scores on the human scale; `calibration` is where to start."""
