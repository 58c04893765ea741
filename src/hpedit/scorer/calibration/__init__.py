"""Calibration: from judges' answers to scores on the human scale. `calibration` predicts, `fit` fits."""
