"""HP-Scorer: a judge asked in a fixed way, calibrated on human ratings, and measured against them."""
