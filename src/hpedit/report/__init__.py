"""The report: one self-contained HTML page with its JSON twin."""
