"""Human ratings: the database, import and export, inter-rater agreement and rater quality control."""
